"""Plain-Python runs in processes of their own, read back from their journals."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from heliograph.journal import Journal, Route
from heliograph.journal_reader import Reader
from heliograph.messages import AnyRecord, Record, decode

R = TypeVar("R", bound=Record)


def recorded(state: Path) -> list[AnyRecord]:
    """All records in all journals of a state folder."""
    found: list[AnyRecord] = []
    for folder in sorted(state.glob("*/journals/*")):
        reader = Reader(folder)
        while got := reader.read():
            found += [decode(record.payload) for record in got]
        reader.close()
    return found


@dataclass(frozen=True)
class Outcome:
    """How a program ended, and what it recorded."""

    code: int
    out: str
    err: str
    records: list[AnyRecord]

    def of(self, kind: type[R], **wanted: Any) -> list[R]:
        return [
            r for r in self.records
            if isinstance(r, kind) and all(getattr(r, name) == value for name, value in wanted.items())
        ]  # fmt: skip

    def one(self, kind: type[R], **wanted: Any) -> R:
        found = self.of(kind, **wanted)
        assert len(found) == 1, found
        return found[0]


@dataclass(frozen=True)
class Program:
    """Runs programs in a folder of their own with no agent; the bus is a spool that nobody reads."""

    folder: Path
    environ: dict[str, str]

    @property
    def state(self) -> Path:
        return Path(self.environ["HELIOGRAPH_STATE_DIR"])

    def command(self, *command: str, stdin: str = "", **environ: str) -> Outcome:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ | environ, input=stdin, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr, recorded(self.state))

    def python(self, text: str, **environ: str) -> Outcome:
        """Run this text as a program file (spawned processes import it again)."""
        file = self.folder / "program.py"
        file.write_text(textwrap.dedent(text))
        return self.command(sys.executable, str(file), **environ)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("HELIOGRAPH_", "PARSL_"))}
    environ |= {
        "HELIOGRAPH_STATE_DIR": str(tmp_path / "state"),
        "HELIOGRAPH_AGENT": "off",
        "HELIOGRAPH_BUS": f"spool:{tmp_path}/spool",
    }
    (tmp_path / "work").mkdir()
    return Program(folder=tmp_path / "work", environ=environ)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def open_journal(state: Path) -> Iterator[Callable[[], Journal]]:
    made: list[Journal] = []

    def opened() -> Journal:
        made.append(Journal.open(Route(run="r"), folder=state, start_agent=False))
        return made[-1]

    yield opened
    for journal in made:
        journal.close()
