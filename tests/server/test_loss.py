"""Nothing is lost and nothing is counted twice, whoever is killed on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from tests.fixtures.broker import Broker
from tests.fixtures.postgres import PostgresServer
from tests.server.ingest import Counting, Generator, Misfortune, WriterProcess, ingest, stored

TASKS = 10_400
TOTAL = TASKS * 5
KILLS = 10


def writer_kills(writer: WriterProcess) -> list[Misfortune]:
    """Ten, spread evenly over the ingest."""
    return [Misfortune(at=(i + 0.5) / (KILLS + 0.5), name="writer killed", strike=writer.kill) for i in range(KILLS)]


def check(database: str, generator: Generator, told: list[str]) -> None:
    """Every fact once, and rollups that equal a count of the rows."""
    assert stored(database) == generator.ledger
    assert len(generator.ledger) == TOTAL >= 50_000
    in_flight = [int(m[1]) for line in told if (m := re.search(r"(\d+) in flight", line))]
    assert sum(n > 0 for n in in_flight) >= KILLS, told
    with closing(connect(database, read_only=True)) as store, store.connection() as connection:
        assert connection.scalar(text("SELECT count(*) FROM tasks")) == TASKS
        assert connection.scalar(text("SELECT sum(tasks) FROM run_states")) == TASKS
        assert connection.scalar(text("SELECT sum(entered) FROM run_buckets")) == TASKS * 4


def lose(
    tmp_path: Path, bus: str, database: str, others: Callable[[], list[Misfortune]] = list, patience: float = 200
) -> tuple[Generator, list[str]]:
    migrate(database)
    with closing(Counting(database)) as count:
        generator = Generator(bus, run="loss", tasks=TASKS, count=lambda: count.last)
        writer = WriterProcess(bus=bus, database=database, folder=tmp_path)
        try:
            plan = [*writer_kills(writer), *others()]
            told = ingest(generator, writer, count, plan, total=TOTAL, patience=patience)
        finally:
            assert writer.stop() == 0
    assert writer.kills == KILLS
    check(database, generator, told)
    return generator, told


@pytest.mark.slow
def test_spool_and_sqlite_while_the_writer_is_killed_ten_times(tmp_path: Path) -> None:
    database = tmp_path / "heliograph.db"
    lose(tmp_path, f"spool:{tmp_path}/spool", f"sqlite:///{database}")
    left = [name for _, _, names in os.walk(tmp_path / "spool") for name in names if name != "lock"]
    assert left == [], "what was written is gone from the spool"


@pytest.mark.slow
def test_rabbitmq_and_postgresql_while_all_of_them_are_killed(
    tmp_path: Path, broker: Broker, postgres_server: PostgresServer, postgres_url: str
) -> None:
    def restart_postgres() -> None:
        postgres_server.kill()
        postgres_server.start()

    def others() -> list[Misfortune]:
        return [
            Misfortune(at=0.3, name="RabbitMQ killed and restarted", strike=broker.restart),
            Misfortune(at=0.5, name="PostgreSQL killed and restarted", strike=restart_postgres),
            Misfortune(at=0.7, name="RabbitMQ killed and restarted", strike=broker.restart),
        ]

    generator, told = lose(tmp_path, broker.new_url(), postgres_url, others)
    assert generator.refused > 0, "the generator noticed nothing of the broker's death"
    assert len(told) == KILLS + 3
