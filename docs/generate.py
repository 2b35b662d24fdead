"""Makes `reference.md` from the code (commands, settings, kinds of records, tables), and the list of modules in
`architecture.md`.

In: the code itself. Out: the pages, or with `--check` exit status 1 when one of them is not what the code says.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from heliograph import messages
from heliograph.cli import build_parser
from heliograph.parsl import MonitoringHub
from heliograph_server.settings import SECRETS, Settings
from heliograph_store import schema

REFERENCE, ARCHITECTURE = (Path(__file__).with_name(name) for name in ("reference.md", "architecture.md"))
ROOT = Path(__file__).parents[1]
PACKAGES = (
    "agents/heliograph",
    "services/store/heliograph_store",
    "services/writer/heliograph_writer",
    "services/hub/heliograph_hub",
    "services/dashboard/heliograph_dashboard",
    "services/filewatch/heliograph_filewatch",
    "services/server/heliograph_server",
)
MODULES = re.compile(r"(?<=<!-- modules -->\n).*?(?=<!-- end of modules -->)", re.DOTALL)


def cell(text: object) -> str:
    """Text that may stand in a table's cell."""
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def commands() -> Iterator[str]:
    """Each command with its options."""
    yield "## Commands\n"
    for name, parser in _parsers(build_parser(), ""):
        options = [a for a in parser._actions if a.help != argparse.SUPPRESS and a.dest != "help"]
        leaf = [a for a in options if not isinstance(a, argparse._SubParsersAction)]
        yield f"### `heliograph {name}`\n\n{cell(parser.description or '')}\n"
        if leaf:
            yield "| argument | meaning |\n|---|---|"
            yield from (f"| `{cell(_shown(a))}` | {cell(a.help or '')} |" for a in leaf)
            yield ""


def _parsers(parser: argparse.ArgumentParser, prefix: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield f"{prefix}{name}", child
                yield from _parsers(child, f"{prefix}{name} ")


def _shown(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    return f"{name} {action.metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else name


def settings() -> Iterator[str]:
    """The server's settings."""
    yield "## Settings of the server\n"
    yield "From the environment, or without the prefix and in lower case from the TOML file that"
    yield "`HELIOGRAPH_CONFIG` names. Those marked *secret* may come from a file: `HELIOGRAPH_…_FILE`.\n"
    yield "| variable | default | meaning |\n|---|---|---|"
    for name, field in Settings.model_fields.items():
        mark = " *(secret)*" if name in SECRETS else ""
        yield f"| `HELIOGRAPH_{name.upper()}` | `{cell(field.default)}` | {cell(field.description)}{mark} |"
    yield ""


def monitoring_hub() -> Iterator[str]:
    """The class for `parsl.Config`."""
    yield "## `heliograph.parsl.MonitoringHub`\n"
    yield "| argument | default |\n|---|---|"
    for parameter in inspect.signature(MonitoringHub).parameters.values():
        default = "required" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
        yield f"| `{parameter.name}` | {cell(default)} |"
    yield f"\n{inspect.getdoc(MonitoringHub)}\n"


def kinds() -> Iterator[str]:
    """The message contract."""
    yield f"## Kinds of records (schema version {messages.SCHEMA_VERSION})\n"
    for tag, kind in {**messages.KINDS, **messages.COMMANDS}.items():
        yield f"### `{tag}` ({messages.CLASS_OF[kind].value})\n\n{cell(inspect.getdoc(kind) or '')}\n"
        names = [f"`{f.name}`" + ("" if f.required else "?") for f in msgspec.structs.fields(kind)]
        yield f"Fields in order: {', '.join(names)}\n"


def tables() -> Iterator[str]:
    """The tables of the store."""
    yield "## Tables\n"
    yield "Times are microseconds since the epoch in UTC, durations microseconds, sizes bytes, NULL is unknown.\n"
    yield "| table | key | other columns |\n|---|---|---|"
    for table in schema.metadata.sorted_tables:
        key = ", ".join(c.name for c in table.primary_key.columns)
        rest: list[Any] = [c.name for c in table.columns if not c.primary_key]
        yield f"| `{table.name}` | {key} | {', '.join(rest)} |"
    yield ""


def modules() -> Iterator[str]:
    """Every module with the first sentence of its docstring, package by package."""
    for top in PACKAGES:
        folder = ROOT / top
        files = [path for path in folder.rglob("*.py") if "versions" not in path.parts]
        for package in sorted({path.parent for path in files}):
            name = ".".join(package.relative_to(folder.parent).parts)
            yield f"\n### `{name}`\n\n{_purpose(package / '__init__.py')}\n\n| module | what it is for |\n|---|---|"
            for path in sorted(path for path in files if path.parent == package and path.stem != "__init__"):
                yield f"| `{path.stem}` | {cell(_purpose(path))} |"
    yield ""


def _purpose(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.?])\s", paragraph, maxsplit=1)[0]


def architecture() -> str:
    """The architecture's page with the modules that there are."""
    listing = "\n".join(modules()) + "\n"
    return MODULES.sub(lambda _: listing, ARCHITECTURE.read_text(encoding="utf-8"))


def reference() -> str:
    """The whole page of the reference."""
    parts = [commands(), settings(), monitoring_hub(), kinds(), tables()]
    return "# Reference\n\nMade from the code by `docs/generate.py`.\n\n" + "\n".join(
        line for part in parts for line in part
    )


def main() -> int:
    """Write the pages, or check them."""
    stale = 0
    for path, text in ((REFERENCE, reference().rstrip() + "\n"), (ARCHITECTURE, architecture())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if sys.argv[1:] == ["--check"]:
            print(f"{path.name} is not what the code says; run: python docs/generate.py")
            stale = 1
        else:
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
