"""The documentation is run: its Python, its commands, its links, and its rule to speak of itself alone."""

import argparse
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heliograph.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command of the command line and its parser, nested ones as 'runs list'."""
    found: dict[str, argparse.ArgumentParser] = {}

    def collect(parser: argparse.ArgumentParser, prefix: str) -> None:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, child in action.choices.items():
                    found[f"{prefix}{name}"] = child
                    collect(child, f"{prefix}{name} ")

    collect(build_parser(), "")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_and_option_exists(page: Path) -> None:
    known = commands()
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"(?:^|`)heliograph ([a-z].*?)(?:`|$)", text, re.MULTILINE):
        words = line.split(" -- ")[0].split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0].rstrip(",")
        assert name in known, f"{page.name}: heliograph {line}"
        options = {o for action in known[name]._actions for o in action.option_strings}
        for word in words:
            assert not word.startswith("--") or word in options, f"{page.name}: {word} of heliograph {name}"


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    internal = {"embedded", "agent"}  # started by Heliograph itself
    missing = {name.split()[0] for name in commands()} - internal - set(re.findall(r"heliograph ([a-z-]+)", readme))
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_json_in_the_documentation_is_json() -> None:
    for page in PAGES:
        for block in blocks(page, "json"):
            json.loads(block)


def test_the_readmes_parsl_configuration_is_one() -> None:
    code = blocks(ROOT / "README.md", "python")[0]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert type(names["config"]).__name__ == "Config"


@pytest.mark.slow
def test_the_readmes_plain_python_is_recorded(tmp_path: Path) -> None:
    """As a person runs it: nothing set up, and a database with the tasks a moment later."""
    (tmp_path / "squares.py").write_text(blocks(ROOT / "README.md", "python")[1], encoding="utf-8")
    environment = {**os.environ, "HELIOGRAPH_STATE_DIR": str(tmp_path / "state")}
    ran = subprocess.run(
        [sys.executable, "squares.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str([x * x for x in range(10)])
    database, end, counted = tmp_path / "runinfo" / "monitoring.db", time.monotonic() + 60, 0
    while counted < 10 and time.monotonic() < end:
        time.sleep(0.5)
        if database.exists():
            connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
            try:
                sql = "SELECT COUNT(*) FROM status WHERE task_status_name = 'exec_done'"
                counted = connection.execute(sql).fetchone()[0]
            except sqlite3.OperationalError:  # not migrated yet
                counted = 0
            finally:
                connection.close()
    assert counted == 10


def test_the_documented_sql_runs_on_a_new_database(tmp_path: Path) -> None:
    database = tmp_path / "new.db"
    command = [sys.executable, "-m", "heliograph.cli", "migrate", "--database", f"sqlite:///{database}"]
    subprocess.run(command, check=True, capture_output=True)
    connection = sqlite3.connect(database)
    try:
        for page in PAGES:
            for block in blocks(page, "sql"):
                connection.execute(block)
    finally:
        connection.close()


def test_the_reference_is_what_the_code_says() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout
