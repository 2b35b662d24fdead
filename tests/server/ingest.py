"""A generator with a ledger of its own, and a writer process that can be killed: what the loss tests stand on.

In: a bus URL, a database URL, misfortunes and when they strike. Out: the set of facts in the ledger, and in the store.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from sqlalchemy import text

from heliograph.bus import BusFull, BusUnavailable, Outgoing, open_publisher
from heliograph.messages import Batch, Class, Record, Source, TaskSample, TaskState, encode
from heliograph_store.errors import StoreUnavailable
from heliograph_store.store import connect

log = logging.getLogger("loss")
STATES = ("pending", "launched", "running", "exec_done")
START = 1_700_000_000_000_000
Fact = tuple[str, int, str, int]
"""(run, task, state or 'sample', time): what one record must leave in the store."""
PER_BATCH = 50


def records(run: str, tasks: int) -> Iterator[tuple[Fact, Record]]:
    """Five records a task, each of which leaves exactly one fact."""
    for number in range(tasks):
        for rank, state in enumerate(STATES):
            at = START + number * 100 + rank
            yield (run, number, state, at), TaskState(at=at, origin="parsl", number=number, try_=0, state=state)
        at = START + number * 100 + 50
        sample = TaskSample(at=at, origin="parsl", number=number, try_=0, host="node", pid=number + 1, rss=number)
        yield (run, number, "sample", at), sample


def batches(run: str, tasks: int) -> Iterator[tuple[list[Fact], Outgoing]]:
    """Batches of one class each, as an agent makes them."""
    held: dict[Class, list[tuple[Fact, Record]]] = {Class.STATES: [], Class.SAMPLES: []}
    offset = 0
    for fact, record in records(run, tasks):
        cls = Class.SAMPLES if fact[2] == "sample" else Class.STATES
        held[cls].append((fact, record))
        if len(held[cls]) == PER_BATCH:
            yield _batch(run, cls, held[cls], offset)
            offset += PER_BATCH
            held[cls] = []
    for cls, left in held.items():
        if left:
            yield _batch(run, cls, left, offset)
            offset += len(left)


def _batch(run: str, cls: Class, some: Sequence[tuple[Fact, Record]], offset: int) -> tuple[list[Fact], Outgoing]:
    batch = Batch(
        version=1,
        run=run,
        cls=cls.value,
        agent="generator",
        host="node",
        boot="boot",
        sources=[Source(journal="generator", offsets=list(range(offset, offset + len(some))))],
        records=[msgspec.Raw(encode(record)) for _, record in some],
    )
    return [fact for fact, _ in some], Outgoing(run=run, cls=cls, body=encode(batch))


def stored(database: str) -> set[Fact]:
    """Every fact in the store."""
    found: set[Fact] = set()
    with closing(connect(database, read_only=True)) as store, store.connection() as connection:
        columns = ", ".join(f"tries.{state}" for state in STATES)
        for run, task, *times in connection.execute(
            text(f"SELECT runs.run, tries.task, {columns} FROM tries JOIN runs ON runs.id = tries.run")
        ):
            found |= {(run, task, state, at) for state, at in zip(STATES, times, strict=True) if at is not None}
        for run, task, at in connection.execute(
            text("SELECT runs.run, samples.task, samples.at FROM samples JOIN runs ON runs.id = samples.run")
        ):
            found.add((run, task, "sample", at))
    return found


class Counting:
    """How many facts the store has now; the last known number while it is away."""

    def __init__(self, database: str) -> None:
        self._store = connect(database, read_only=True)
        self.last = 0

    def __call__(self) -> int:
        columns = " + ".join(f"count({state})" for state in STATES)
        try:
            with self._store.connection() as connection:
                states = connection.scalar(text(f"SELECT {columns} FROM tries")) or 0
                self.last = int(states) + int(connection.scalar(text("SELECT count(*) FROM samples")) or 0)
        except StoreUnavailable:
            pass
        return self.last

    def close(self) -> None:
        self._store.close()


class Generator(threading.Thread):
    """Publishes until the bus has confirmed everything, whatever happens to it; only then is a fact in the ledger."""

    def __init__(self, bus: str, *, run: str, tasks: int, count: Callable[[], int], ahead: int = 6000) -> None:
        super().__init__(name="generator", daemon=True)
        self.ledger: set[Fact] = set()
        self.refused = 0
        self._bus, self._run, self._tasks = bus, run, tasks
        self._count, self._ahead = count, ahead

    def run(self) -> None:
        publisher = None
        for facts, outgoing in batches(self._run, self._tasks):
            while len(self.ledger) - self._count() > self._ahead:
                time.sleep(0.02)  # stay ahead of the writer, so that every kill finds something in flight
            while True:
                try:
                    publisher = publisher or open_publisher(self._bus, name="generator")
                    publisher.publish([outgoing])
                    break
                except (BusUnavailable, BusFull):
                    self.refused += 1
                    if publisher is not None:
                        publisher.close()
                    publisher = None
                    time.sleep(0.1)
            self.ledger.update(facts)
        if publisher is not None:
            publisher.close()


@dataclass
class WriterProcess:
    """`heliograph writer`, as an operator starts it; started again after each kill."""

    bus: str
    database: str
    folder: Path
    kills: int = 0
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        environment = {
            **os.environ,
            "HELIOGRAPH_BUS": self.bus,
            "HELIOGRAPH_DATABASE": self.database,
            "HELIOGRAPH_WRITE_BATCHES": "8",  # small commits: kills strike between many of them
            "HELIOGRAPH_LINGER": "0.02",
            "HELIOGRAPH_HEALTH_PORT": "0",
            **self.environment,
        }
        with (self.folder / "writer.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "heliograph_server", "writer"], env=environment, stdout=output, stderr=output
            )

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"the writer ended by itself, see {self.folder}/writer.log"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        self.start()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()

    def output(self) -> str:
        return (self.folder / "writer.log").read_text(errors="replace")


@dataclass(frozen=True, kw_only=True)
class Misfortune:
    """Something that strikes when the store holds this part of all facts."""

    at: float
    name: str
    strike: Callable[[], None]


def ingest(
    generator: Generator,
    writer: WriterProcess,
    count: Callable[[], int],
    plan: Sequence[Misfortune],
    *,
    total: int,
    patience: float,
) -> list[str]:
    """Let everything happen, and wait until the store has as many facts as were generated; returns what struck."""
    told: list[str] = []
    waiting = sorted(plan, key=lambda m: m.at)
    end = time.monotonic() + patience
    writer.start()
    generator.start()
    while (have := count()) < total:
        assert time.monotonic() < end, f"{have} of {total} after {patience} s; {told}; {writer.output()[-3000:]}"
        while waiting and have >= waiting[0].at * total:
            misfortune = waiting.pop(0)
            told.append(f"{misfortune.name}: {have} stored, {len(generator.ledger) - have} in flight")
            log.warning("%s", told[-1])
            misfortune.strike()
        time.sleep(0.02)
    assert not waiting, f"the store was complete before {[m.name for m in waiting]} could strike"
    generator.join(30)
    return told
