"""The services that benchmarks measure, each a process of its own, and what they use of the machine.

In: a folder. Out: a running broker, database and writers; CPU seconds and resident memory of each by name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from sqlalchemy import text

from heliograph_store.errors import StoreUnavailable
from heliograph_store.migrate import migrate
from heliograph_store.store import Store, connect
from tests.fixtures.broker import Broker
from tests.fixtures.postgres import PostgresServer

HIGH = "vm_memory_high_watermark.absolute = 4GB\n"


@contextmanager
def rabbitmq() -> Iterator[Broker]:
    """A RabbitMQ of its own."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who is told to end ends it, too
    broker = Broker(Path(tempfile.mkdtemp(prefix="heliograph-bench-rabbitmq-")))
    settings = broker.folder / "rabbitmq.conf"
    settings.write_text(settings.read_text().replace("vm_memory_high_watermark.absolute = 1GB\n", HIGH))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def role(folder: Path, command: str, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A role of the server: `python -m heliograph_server …`."""
    environment = {**os.environ, **settings}
    with (folder / f"{command}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "heliograph_server", command], env=environment, stdout=log, stderr=log, cwd=folder
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def writers(folder: Path, bus: str, database: str, ports: Sequence[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A writer for each port, where it tells its metrics, on a database that is made before they start."""
    migrate(database)
    with ExitStack() as stack:
        started = []
        for number, port in enumerate(ports):
            own = folder / f"writer-{number}"
            own.mkdir(exist_ok=True)
            settings = {"HELIOGRAPH_BUS": bus, "HELIOGRAPH_DATABASE": database, "HELIOGRAPH_HEALTH_PORT": str(port)}
            started.append(stack.enter_context(role(own, "writer", settings)))
        yield started


@dataclass
class Usage:
    """CPU seconds and resident bytes of process trees, by name."""

    roots: dict[str, int]
    since: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.since = {name: self._cpu(pid) for name, pid in self.roots.items()}

    def cpu(self) -> dict[str, float]:
        """Seconds since this was made."""
        return {name: self._cpu(pid) - self.since[name] for name, pid in self.roots.items()}

    def memory(self) -> dict[str, int]:
        return {name: sum(self._memory(p) for p in _tree(pid)) for name, pid in self.roots.items()}

    def _cpu(self, pid: int) -> float:
        total = 0.0
        for process in _tree(pid):
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _memory(self, process: psutil.Process) -> int:
        with suppress(psutil.Error):
            # Shared pages would be counted once a process of PostgreSQL.
            info = process.memory_full_info()
            return int(getattr(info, "pss", info.uss))
        return 0


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


class Stored:
    """How many records a database holds, of a stream of states and samples in which each leaves one time or row."""

    def __init__(self, url: str) -> None:
        self.store: Store = connect(url, read_only=True)

    def samples(self) -> int:
        return self._number("SELECT (SELECT count(*) FROM samples) + (SELECT count(*) FROM node_samples)")

    def times(self, *states: str) -> int:
        return self._number(f"SELECT {' + '.join(f'count({state})' for state in states)} FROM tries")

    def runs(self) -> int:
        """Those that told of their start."""
        return self._number("SELECT count(started) FROM runs")

    def ended(self) -> int:
        return self._number("SELECT count(ended) FROM runs")

    def _number(self, query: str) -> int:
        try:
            with self.store.connection() as connection:
                return int(connection.scalar(text(query)) or 0)
        except StoreUnavailable:
            return -1

    def close(self) -> None:
        self.store.close()


def until(done: Callable[[], bool], seconds: float = 300, pause: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {seconds} s")
        time.sleep(pause)
