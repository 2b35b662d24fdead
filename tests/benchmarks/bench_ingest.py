"""Records a second into the store: every stage alone and all of them together, next to the least that could be done.

In: `python -m tests.benchmarks.bench_ingest [--quick] [--json FILE]`. Out: figures. The stream is states, samples,
nodes and what comes with them, of six runs, ten samples a task; broker, PostgreSQL and writers are processes of their
own. 'Raw' is `executemany` or COPY of the rows that came out of it, into tables without an index, by the same driver.
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
from pathlib import Path
from typing import Any

import psycopg

from heliograph.bus import open_consumer, open_publisher
from heliograph.bus.amqp.topology import declare
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.benchmarks.frame import Figure, at_least, report, told
from tests.benchmarks.mixed import Stream, stream
from tests.benchmarks.parsl_manager import messages_per_second
from tests.benchmarks.services import Stored, Usage, postgres, rabbitmq, until, writers
from tests.fixtures.broker import Broker

PER_WRITE = 32
"""Batches in a commit when there is no end of them: what the writer's loop comes to by itself."""
PATIENCE = 240.0
TABLES = ("tasks", "tries", "edges", "samples", "node_samples")
RECORDS = re.compile(r"^heliograph_writer_records_total\{[^}]*\} (\S+)$", re.MULTILINE)


def write_alone(url: str, mixed: Stream) -> tuple[float, float]:
    """Records a second by the clock and by this process's CPU time, without a bus."""
    migrate(url)
    batches = mixed.batches()
    with closing(connect(url)) as store:
        writer = Writer(store)
        gc.collect()
        began, cpu = time.perf_counter(), time.process_time()
        for at in range(0, len(batches), PER_WRITE):
            writer.write(batches[at : at + PER_WRITE])
        return mixed.records / (time.perf_counter() - began), mixed.records / (time.process_time() - cpu)


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

    def timed(self, records: int, running: Sequence[Any]) -> dict[str, float]:
        """From the first commit, whose records do not count, to the last: records a second of the clock, and a second
        of the writers' processor time."""
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
        return {"rate": left / (time.perf_counter() - first[0]), "cpu": left / cpu}


def drained(broker: Broker, mixed: Stream, database: str, *, count: int = 1, beside: bool = False) -> dict[str, float]:
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


def figures(quick: bool) -> list[Figure]:
    tasks = 3000 if quick else 20_000
    mixed = stream(runs=6, tasks=tasks, samples=10)
    found = [told(3, "records in the stream", mixed.records, "records", f"{tasks} tasks, 6 runs")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall, cpu = write_alone(f"sqlite:///{folder / 'alone.db'}", mixed)
        found += [told(3, "writer alone, SQLite", wall, "records/s", f"{cpu:,.0f} a CPU second")]
        rows = rows_of(folder / "alone.db")
        found += [told(3, "raw executemany of these rows", mixed.records / raw_sqlite(folder / "raw.db", rows),
                       "records/s", f"{sum(map(len, rows.values())):,} rows")]  # fmt: skip
        with rabbitmq() as broker:
            found += _through(broker, mixed, folder)
            with postgres() as server:
                found += _postgres(broker, mixed, server, rows)
    rate = messages_per_second(300 if quick else 3000)
    return [*found, told(3, "Parsl's database manager, alone", rate, "messages/s", "SQLite, start, end, two samples")]


def _through(broker: Broker, mixed: Stream, folder: Path) -> list[Figure]:
    with offered(broker, mixed) as (url, took):
        found = [told(3, "publishing to RabbitMQ, confirmed", mixed.records / took, "records/s", "one agent")]
        found += [told(3, "taking from RabbitMQ", mixed.records / consume(url, mixed), "records/s")]
    full = drained(broker, mixed, f"sqlite:///{folder / 'full.db'}")
    beside = drained(broker, mixed, f"sqlite:///{folder / 'beside.db'}", beside=True)
    return [
        *found,
        at_least(3, "RabbitMQ to SQLite, one writer", full["rate"], "records/s", 100_000, _a_second(full)),
        told(3, "the same while it is published", beside["rate"], "records/s", _a_second(beside)),
    ]


def _postgres(broker: Broker, mixed: Stream, server: Any, rows: dict[str, list[tuple[Any, ...]]]) -> list[Figure]:
    wall, cpu = write_alone(server.create(), mixed)
    raw = mixed.records / raw_postgres(server.create(), rows)
    one = drained(broker, mixed, server.create())
    three = drained(broker, mixed, server.create(), count=3)
    return [
        told(3, "writer alone, PostgreSQL", wall, "records/s", f"{cpu:,.0f} a CPU second"),
        told(3, "raw COPY of these rows", raw, "records/s"),
        at_least(3, "RabbitMQ to PostgreSQL, one writer", one["rate"], "records/s", 60_000, _a_second(one)),
        at_least(3, "three writers, times one", three["rate"] / one["rate"], "times", 1, f"{three['rate']:,.0f}/s"),
    ]


def _a_second(of: dict[str, float]) -> str:
    return f"{of['cpu']:,.0f} a CPU second of the writer"


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
