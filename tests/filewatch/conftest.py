"""A place of its own for each test: a state folder, a folder to watch, and no process left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from heliograph.filewatch.config import Rule, WatchConfig
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.rules import rules_of
from heliograph.messages import FileCallback, FileFound, Record, WatchClosed, WatchOpened

T = TypeVar("T", bound=Record)


class Place:
    """Where one test watches."""

    def __init__(self, top: Path) -> None:
        self.state, self.root, self.notes = top / "state", top / "root", top / "notes"
        self.root.mkdir()
        self.notes.mkdir()

    def write(self, name: str, text: str = "x", *, age: float = 0.0) -> str:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if age:
            os.utime(path, (time.time() - age, time.time() - age))
        return str(path)

    def processes(self, *words: str) -> list[int]:
        """Living processes with this test's state folder in their environment, and these words in their command."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"HELIOGRAPH_STATE_DIR={self.state}".encode() in (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                dead = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] in {b"Z", b"X"}
            except OSError:
                continue
            if mine and not dead and all(word in command for word in words) and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        return found

    def close(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path)
    monkeypatch.setenv("HELIOGRAPH_STATE_DIR", str(made.state))
    monkeypatch.setenv("HELIOGRAPH_AGENT", "off")
    for name in ("HELIOGRAPH_BUS", "HELIOGRAPH_RUN", "HELIOGRAPH_SITE_FILE"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield made
    finally:
        made.close()


class Watched:
    """An engine, and all that it reported."""

    def __init__(self, config: WatchConfig) -> None:
        self.records: list[Record] = []
        self.engine = Engine(config, report=self.records.append)

    def of(self, kind: type[T]) -> list[T]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def found(self) -> list[str]:
        return [record.path for record in self.of(FileFound)]

    @property
    def calls(self) -> list[FileCallback]:
        return self.of(FileCallback)

    @property
    def opened(self) -> list[WatchOpened]:
        return self.of(WatchOpened)

    @property
    def closed(self) -> list[WatchClosed]:
        return self.of(WatchClosed)

    def go_on(self, until: Callable[[], object], seconds: float = 20.0) -> None:
        """Step until something holds."""
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, f"did not come about; reported: {self.records}"
            self.engine.wait(min(0.1, self.engine.step(time.monotonic())))

    def finish(self, seconds: float = 20.0) -> int:
        return self.engine.finish(time.monotonic() + seconds)


@pytest.fixture
def watching(place: Place) -> Iterator[Callable[..., Watched]]:
    """Makes engines on the place's folder, and ends them."""
    made: list[Watched] = []

    def make(callback: Any = None, pattern: Any = r"\.dat$", filetype: Any = None, **more: Any) -> Watched:
        path = more.pop("path", None)
        rules: tuple[Rule, ...] = rules_of(callback, pattern, filetype, path, root=str(place.root))
        settings = {"watch": "w", "interval": 0.1, "settle": 0.1, "events": False, "root": str(place.root), **more}
        made.append(Watched(WatchConfig(rules=rules, **settings)))
        return made[-1]

    yield make
    for one in made:
        one.engine.close("test")


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.05)
