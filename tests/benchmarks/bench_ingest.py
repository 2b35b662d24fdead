"""Records a second into the store: every stage alone and all of them together, next to the least that could be done.

In: `python -m tests.benchmarks.bench_ingest [--quick] [--json FILE]`. Out: figures. The stream is states, samples,
nodes and what comes with them, of six runs, ten samples a task; broker, PostgreSQL and writers are processes of their
own. 'Raw' is `executemany` or COPY of the rows that came out of it, into tables without an index, by the same driver.
Every stage runs three times, all of them in turn, and its best counts, with the middle one beside it: whoever else is
on the machine only ever takes from it.
"""

from __future__ import annotations

import gc
import re
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from heliograph.bus import open_consumer, open_publisher
from heliograph.bus.amqp.topology import declare
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.benchmarks.frame import Figure, at_least, progress, report, told
from tests.benchmarks.mixed import Stream, stream
from tests.benchmarks.parsl_manager import messages_per_second
from tests.benchmarks.services import Stored, Usage, postgres, rabbitmq, until, writers
from tests.fixtures.broker import Broker
from tests.fixtures.postgres import PostgresServer

PER_WRITE = 128
"""Batches in a commit when there is no end of them."""
SQLITE = "RabbitMQ to SQLite, one writer"
ONE, THREE = "RabbitMQ to PostgreSQL, one writer", "the same, three writers"
GOALS = {SQLITE: 100_000, ONE: 60_000}
PATIENCE = 240.0
TABLES = ("tasks", "tries", "edges", "samples", "node_samples")
RECORDS = re.compile(r"^heliograph_writer_records_total\{[^}]*\} (\S+)$", re.MULTILINE)


def write_alone(url: str, mixed: Stream) -> Stage:
    """In this process, without a bus."""
    migrate(url)
    batches = mixed.batches()
    with closing(connect(url)) as store:
        writer = Writer(store)
        gc.collect()
        began, cpu = time.perf_counter(), time.process_time()
        for at in range(0, len(batches), PER_WRITE):
            writer.write(batches[at : at + PER_WRITE])
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        return Stage(rate=mixed.records / wall, cpu=mixed.records / cpu)


def rows_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


def raw_sqlite(path: Path, rows: dict[str, list[tuple[Any, ...]]]) -> float:
    """Seconds for the same rows with `executemany`."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for table, some in rows.items():
            connection.execute(f"CREATE TABLE {table} ({','.join(f'c{i}' for i in range(len(some[0])))})")
        began = time.perf_counter()
        for table, some in rows.items():
            marks = ",".join("?" * len(some[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", some)
        connection.commit()
        return time.perf_counter() - began


def raw_postgres(url: str, rows: dict[str, list[tuple[Any, ...]]]) -> float:
    """Seconds for the same rows with COPY, into tables like ours but without an index."""
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for table in rows:
            connection.execute(f"CREATE TABLE raw_{table} (LIKE {table})")  # type: ignore[call-overload]
        began = time.perf_counter()
        for table, some in rows.items():
            with connection.cursor().copy(f"COPY raw_{table} FROM STDIN") as copy:  # type: ignore[call-overload]
                for row in some:
                    copy.write_row(row)
        return time.perf_counter() - began


@contextmanager
def offered(broker: Broker, mixed: Stream) -> Iterator[tuple[str, float]]:
    """A vhost in whose queues the whole stream waits; with the seconds that publishing took."""
    url = declared(broker)
    yield url, publish(url, mixed)


def declared(broker: Broker) -> str:
    url = broker.new_url()
    declare(url)
    return url


def publish(url: str, mixed: Stream) -> float:
    """Seconds until the broker has confirmed everything, four batches at a time."""
    with closing(open_publisher(url, name="bench")) as publisher:
        publisher.publish([])
        began = time.perf_counter()
        for at in range(0, len(mixed.out), 4):
            publisher.publish(mixed.out[at : at + 4])
        return time.perf_counter() - began


def consume(url: str, mixed: Stream) -> float:
    """Seconds to take everything from the broker and acknowledge it, with nothing done to it."""
    with closing(open_consumer(url, name="bench")) as consumer:
        left = len(mixed.out)
        began = time.perf_counter()
        while left:
            taken = consumer.receive(64, 10.0)
            consumer.ack(taken)
            left -= len(taken)
        return time.perf_counter() - began


class Writers:
    """Writers as processes, watched through their metrics: asking the database would cost what is measured."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports

    def records(self) -> float:
        total = 0.0
        for port in self._ports:
            with suppress(OSError):
                text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
                total += sum(map(float, RECORDS.findall(text)))
        return total

    def timed(self, records: int, running: Sequence[Any]) -> Stage:
        """From the first commit, whose records do not count, to the last."""
        first: tuple[float, float] | None = None
        usage = Usage({})
        deadline = time.monotonic() + PATIENCE
        while (now := self.records()) < records:
            if now and first is None:
                first = (time.perf_counter(), now)
                usage = Usage({f"writer {i}": one.pid for i, one in enumerate(running)})
            if time.monotonic() > deadline:
                raise TimeoutError(f"{now:.0f} of {records} records in {PATIENCE} s")
            time.sleep(0.05)
        if first is None:
            raise ValueError("all of it was one commit: the stream is too short")
        left, cpu = records - first[1], sum(usage.cpu().values())
        return Stage(rate=left / (time.perf_counter() - first[0]), cpu=left / cpu)


def drained(broker: Broker, mixed: Stream, database: str, *, count: int = 1, beside: bool = False) -> Stage:
    """What writers do with a full queue; or with one that is filled at the same time. All of it is stored once."""
    ports = _free_ports(count)
    with tempfile.TemporaryDirectory() as name, _full_or_empty(broker, mixed, beside) as bus:
        with writers(Path(name), bus, database, ports) as running:
            filling = threading.Thread(target=publish, args=(bus, mixed)) if beside else None
            if filling:
                filling.start()
            found = Writers(ports).timed(mixed.records, running)
            if filling:
                filling.join()
        with closing(Stored(database)) as stored:
            until(lambda: stored.samples() == mixed.samples, 30)
    return found


@contextmanager
def _full_or_empty(broker: Broker, mixed: Stream, empty: bool) -> Iterator[str]:
    if empty:
        yield declared(broker)
        return
    with offered(broker, mixed) as (url, _):
        yield url


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Records a second: by the clock, and by the processor time of who wrote them, where that was taken."""

    rate: float
    cpu: float = 0.0


def figures(quick: bool) -> list[Figure]:
    tasks, rounds = (3000, 1) if quick else (60_000, 3)
    mixed = stream(runs=6, tasks=tasks, samples=10)
    taken: list[dict[str, Stage]] = []
    with tempfile.TemporaryDirectory() as name, rabbitmq() as broker, postgres() as server:
        for number in range(rounds):
            folder = Path(name) / str(number)
            folder.mkdir()
            taken.append(stages(broker, server, mixed, folder))
            progress(f"round {number + 1} of {rounds}")
    rate = messages_per_second(300 if quick else 3000)
    return [
        told(3, "records in the stream", mixed.records, "records", f"{tasks} tasks, 6 runs"),
        *(_figure(name, [one[name] for one in taken]) for name in taken[0]),
        _times([one[ONE] for one in taken], [one[THREE] for one in taken]),
        told(3, "Parsl's database manager, alone", rate, "messages/s", "SQLite, start, end, two samples"),
    ]


def stages(broker: Broker, server: PostgresServer, mixed: Stream, folder: Path) -> dict[str, Stage]:
    """Every stage once."""
    alone = f"sqlite:///{folder / 'alone.db'}"
    found = {"writer alone, SQLite": write_alone(alone, mixed)}
    rows = rows_of(folder / "alone.db")
    found["raw executemany of these rows"] = Stage(rate=mixed.records / raw_sqlite(folder / "raw.db", rows))
    with offered(broker, mixed) as (url, took):
        found["publishing to RabbitMQ, confirmed"] = Stage(rate=mixed.records / took)
        found["taking from RabbitMQ"] = Stage(rate=mixed.records / consume(url, mixed))
    found[SQLITE] = drained(broker, mixed, f"sqlite:///{folder / 'full.db'}")
    found["the same while it is published"] = drained(broker, mixed, f"sqlite:///{folder / 'beside.db'}", beside=True)
    found["writer alone, PostgreSQL"] = write_alone(server.create(), mixed)
    found["raw COPY of these rows"] = Stage(rate=mixed.records / raw_postgres(server.create(), rows))
    found[ONE] = drained(broker, mixed, server.create())
    found[THREE] = drained(broker, mixed, server.create(), count=3)
    return found


def _figure(name: str, taken: Sequence[Stage]) -> Figure:
    best = max(taken, key=lambda one: one.rate)
    note = f"{best.cpu:,.0f} a CPU second of the writer" if best.cpu else ""
    if len(taken) > 1:
        note = "; ".join(filter(None, [note, f"the middle one {median(one.rate for one in taken):,.0f}"]))
    goal = GOALS.get(name)
    if goal is None:
        return told(3, name, best.rate, "records/s", note)
    return at_least(3, name, best.rate, "records/s", goal, note)


def _times(one: Sequence[Stage], three: Sequence[Stage]) -> Figure:
    best = max(stage.rate for stage in three)
    times = best / max(stage.rate for stage in one)
    each = ", ".join(f"{b.rate / a.rate:.2f}" for a, b in zip(one, three, strict=True))
    return at_least(3, "three writers, times one", times, "times", 1, f"{best:,.0f}/s; round by round {each}")


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
