"""From the process that records to the database, nothing is lost and nothing counted twice, whoever is killed."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from heliograph.route import RouteFile, write_route
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from tests.fixtures.broker import Broker
from tests.fixtures.postgres import PostgresServer
from tests.server.ingest import Counting, Fact, Misfortune, WriterProcess, stored

log = logging.getLogger("loss")
PROCESSES, PACE = 4, 105.0
"""Processes that record, and the tasks a second of each; a task is five records."""
LEAST = 50_000
KILLS = 10


class Node:
    """Processes that record on one node, and its agent, which they start again whenever it is gone."""

    def __init__(self, folder: Path, bus: str) -> None:
        self._folder, self._state = folder, folder / "state"
        (folder / "run").mkdir()
        write_route(folder / "run", RouteFile(bus=bus))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._counted: dict[Path, tuple[int, int]] = {}
        self.agents_killed = 0

    def start(self) -> None:
        environment = {**os.environ, "HELIOGRAPH_STATE_DIR": str(self._state)}
        for number in range(PROCESSES):
            words = [f"loss-{number}", self._folder / "run", self._ledger(number), PACE]
            command = [sys.executable, "-m", "tests.e2e.recording", *map(str, words)]
            self._processes.append(subprocess.Popen(command, env=environment, cwd=Path(__file__).parent.parent.parent))

    def end(self) -> None:
        """Let the processes record their last, and end."""
        (self._folder / "run" / "stop").touch()
        for process in self._processes:
            assert process.wait(30) == 0

    def kill_agent(self) -> None:
        end = time.monotonic() + 15
        while not (agents := self.agents()):
            assert time.monotonic() < end, "nobody started an agent"
            time.sleep(0.05)
        time.sleep(random.uniform(0.0, 0.3))  # at some moment of its work
        for agent in agents:
            os.kill(agent, signal.SIGKILL)
        self.agents_killed += 1

    def agents(self) -> list[int]:
        """Processes that hold the agent's lock: not those that are just trying to."""
        held = {os.stat(path).st_ino for path in self._state.glob("*/agent.lock")}
        found = []
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            _, kind, _, mode, pid, place, *_ = line.replace("-> ", "").split()
            if (kind, mode) == ("FLOCK", "WRITE") and int(place.rpartition(":")[2]) in held:
                found.append(int(pid))
        return found

    def recorded(self) -> int:
        """How many records the journals have taken, by the ledgers."""
        total = 0
        for ledger in self._folder.glob("ledger-*"):
            position, lines = self._counted.get(ledger, (0, 0))
            with ledger.open("rb") as file:
                file.seek(position)
                more = file.read()
            self._counted[ledger] = position + len(more), lines + more.count(b"\n")
            total += self._counted[ledger][1]
        return total

    def ledger(self) -> Iterator[Fact]:
        for number in range(PROCESSES):
            for line in self._ledger(number).read_text(encoding="ascii").splitlines():
                task, state, at = line.split()
                yield f"loss-{number}", int(task), state, int(at)

    def left(self) -> list[str]:
        """Journals that are not shipped and deleted; an agent ends a few seconds after the last one."""
        return [str(path) for path in self._state.glob("*/journals/*")]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for agent in self.agents():
            os.kill(agent, signal.SIGKILL)

    def _ledger(self, number: int) -> Path:
        return self._folder / f"ledger-{number}"


def spread(name: str, strike: Callable[[], None], count: int = KILLS, start: float = 0.5) -> list[Misfortune]:
    return [Misfortune(at=(n + start) / (count + 0.5), name=name, strike=strike) for n in range(count)]


def beside(strike: Callable[[], None], threads: list[threading.Thread]) -> Callable[[], None]:
    """What takes seconds strikes while the others go on."""

    def run() -> None:
        threads.append(threading.Thread(target=strike))
        threads[-1].start()

    return run


def survive(tmp_path: Path, bus: str, database: str, others: list[Misfortune], threads: list[threading.Thread]) -> None:
    migrate(database)
    node, writer = Node(tmp_path, bus), WriterProcess(bus=bus, database=database, folder=tmp_path)
    plan = [*spread("agent killed", node.kill_agent), *spread("writer killed", writer.kill, start=0.9), *others]
    with closing(Counting(database)) as count:
        try:
            writer.start()
            node.start()
            told = strike(plan, node, count, patience=100)
            for thread in threads:
                thread.join()
            node.end()
            wait_for(lambda: count() >= node.recorded(), 60, lambda: f"{count()} of {node.recorded()} stored; {told}")
            wait_for(lambda: not node.left() and not node.agents(), 30, lambda: str(node.left()))
        finally:
            node.stop()
            assert writer.stop() == 0
    assert (node.agents_killed, writer.kills) == (KILLS, KILLS)
    assert all(in_flight > 0 for _, in_flight in told), told
    check(database, set(node.ledger()))


def strike(plan: list[Misfortune], node: Node, count: Counting, *, patience: float) -> list[tuple[str, int]]:
    """Spread over the recording, and never before something new was stored since the last one: else the same
    processes would die again and again before they did anything. Returns what struck, with the number in flight."""
    told: list[tuple[str, int]] = []
    waiting, before, end = sorted(plan, key=lambda misfortune: misfortune.at), 0, time.monotonic() + patience
    while waiting or node.recorded() < LEAST:
        recorded, have = node.recorded(), count()
        assert time.monotonic() < end, f"{have} of {recorded} stored; {told}"
        if waiting and recorded >= waiting[0].at * LEAST and before < have < recorded:
            misfortune, before = waiting.pop(0), have
            told.append((misfortune.name, recorded - have))
            log.warning("%s: %d recorded, %d in flight", misfortune.name, recorded, recorded - have)
            misfortune.strike()
        time.sleep(0.02)
    return told


def wait_for(condition: Callable[[], bool], patience: float, told: Callable[[], str]) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.05)


def check(database: str, ledger: set[Fact]) -> None:
    """Every record once, and rollups that equal a count of the rows."""
    assert len(ledger) >= LEAST
    assert stored(database) == ledger
    with closing(connect(database, read_only=True)) as store, store.connection() as connection:
        rollup = connection.execute(text("SELECT run, app, state, tasks FROM run_states WHERE tasks <> 0")).all()
        fresh = "SELECT run, app, progress & 15, COUNT(*) FROM tasks GROUP BY run, app, progress & 15"
        assert sorted(map(tuple, rollup)) == sorted(map(tuple, connection.execute(text(fresh)).all()))
        assert connection.scalar(text("SELECT SUM(entered) FROM run_buckets")) == sum(
            state != "sample" for _, _, state, _ in ledger
        )
        assert connection.scalar(text("SELECT COUNT(*) FROM aside")) == 0
        assert connection.scalar(text("SELECT COALESCE(SUM(samples + states + control), 0) FROM journals")) == 0


@pytest.mark.slow
def test_spool_and_sqlite(tmp_path: Path) -> None:
    survive(tmp_path, f"spool:{tmp_path}/spool", f"sqlite:///{tmp_path / 'heliograph.db'}", [], [])
    # What an agent was writing when it was killed has a name ending in .tmp: never told as shipped, removed later.
    left = [name for _, _, names in os.walk(tmp_path / "spool") for name in names if name != "lock"]
    assert [name for name in left if not name.endswith(".tmp")] == []


@pytest.mark.slow
def test_rabbitmq_and_postgresql(
    tmp_path: Path, broker: Broker, postgres_server: PostgresServer, postgres_url: str
) -> None:
    def restart_postgres() -> None:
        postgres_server.kill()
        postgres_server.start()

    threads: list[threading.Thread] = []
    others = [
        Misfortune(at=0.25, name="RabbitMQ killed and restarted", strike=beside(broker.restart, threads)),
        Misfortune(at=0.7, name="PostgreSQL killed and restarted", strike=beside(restart_postgres, threads)),
    ]
    survive(tmp_path, broker.new_url(), postgres_url, others, threads)
