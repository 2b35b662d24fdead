"""A place of its own for each test: state folder, run directory, bus; and every agent started there is ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heliograph import bus, state
from heliograph import messages as m
from heliograph.journal import now
from heliograph.route import Route, RouteFile, write_route


class Place:
    """Everything that one test's agent touches."""

    def __init__(self, top: Path) -> None:
        self.state, self.run_dir, self.spool = top / "state", top / "run", top / "bus"
        self.run_dir.mkdir()
        self.ids: Counter[str] = Counter()
        self.by_run: dict[str, list[m.AnyRecord]] = {}
        self.open: list[object] = []
        self.state_ids: set[str] = set()
        self.records: list[m.AnyRecord] = []
        self._consumer: bus.Consumer | None = None

    def known_route(self) -> None:
        write_route(self.run_dir, RouteFile(bus=f"spool:{self.spool}"))

    def route(self, **more: object) -> Route:
        return Route(run="run-1", run_dir=str(self.run_dir), **more)  # type: ignore[arg-type]

    @property
    def namespace(self) -> Path:
        return state.namespace_folder(self.state)

    def agents(self) -> list[int]:
        """Pids of the agents that work in this state folder."""
        # One that forks on its way into the background can slip past a single look.
        return self._looked_up() or self._looked_up()

    def _looked_up(self) -> list[int]:
        found = []
        for process in Path("/proc").iterdir():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                mine = f"HELIOGRAPH_STATE_DIR={self.state}".encode() in (process / "environ").read_bytes().split(b"\0")
                running = (process / "stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
            except OSError:
                continue
            if b"heliograph.agent" in words and mine and running:
                found.append(int(process.name))
        return found

    def start_agent(self, **environ: str) -> subprocess.Popen[bytes]:
        """An agent in the foreground."""
        return subprocess.Popen(
            [sys.executable, "-m", "heliograph.agent"],
            env={**os.environ, "HELIOGRAPH_STATE_DIR": str(self.state), **environ},
            stderr=subprocess.DEVNULL,
        )

    def receive(self, seconds: float, *, until: Callable[[], bool] = lambda: False, spool: Path | None = None) -> None:
        """Take what arrives on the bus, for so long or until the condition holds."""
        consumer = self._consumer or bus.open_consumer(f"spool:{spool or self.spool}", name="test")
        self._consumer = consumer
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not until():
            deliveries = consumer.receive(100, 0.2)
            for delivery in deliveries:
                batch = m.decode_batch(delivery.body)
                records, aside = m.decode_records(batch)
                assert not aside
                self.ids.update(m.record_ids(batch))
                self.records += records
                self.by_run.setdefault(batch.run, []).extend(records)
                if batch.cls == m.Class.STATES.value:
                    self.state_ids.update(m.record_ids(batch))
            consumer.ack(deliveries)

    def of(self, kind: type[m.Record]) -> list[m.AnyRecord]:
        return [record for record in self.records if isinstance(record, kind)]

    def runs_with(self, kind: type[m.Record]) -> set[str]:
        return {run for run, records in self.by_run.items() if any(isinstance(r, kind) for r in records)}

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        for pid in self.agents():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(tmp_path)
    monkeypatch.setenv("HELIOGRAPH_STATE_DIR", str(made.state))
    for name in ("HELIOGRAPH_BUS", "HELIOGRAPH_TOKEN", "HELIOGRAPH_AGENT", "HELIOGRAPH_SITE_FILE"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield made
    finally:
        made.close()


def task(number: int, text: str | None = None) -> m.TaskState:
    at, mono = now()
    return m.TaskState(at=at, mono=mono, origin="o", number=number, try_=0, state="running", fail_history=text)


def wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come about in time"
        time.sleep(0.05)
