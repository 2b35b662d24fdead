"""PostgreSQL as a store: restarts in the middle, several writers and runs, rights of a reader."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from heliograph.messages import Batch
from heliograph_store import schema
from heliograph_store.errors import StoreUnavailable
from heliograph_store.migrate import migrate
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.fixtures.postgres import PostgresServer
from tests.store.fresh import expected_rollups, stored_rollups
from tests.store.stream import batches, content, numbered, recorded_run


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    migrate(postgres_url)
    opened = connect(postgres_url)
    yield opened
    opened.close()


def stream(seed: int, tasks: int, size: int, runs: int = 1) -> list[Batch]:
    random = Random(seed)
    records = [r for i in range(runs) for r in recorded_run(random, tasks=tasks, run=f"run-{i}")]
    shuffled = numbered(records)
    random.shuffle(shuffled)
    return batches(shuffled, size)


def _scalar(store: Store, sql: str) -> object:
    with store.connection() as connection:
        return connection.scalar(text(sql))


@pytest.mark.parametrize("hard", [False, True], ids=["restart", "crash"])
def test_restarted_in_the_middle(store: Store, postgres_server: PostgresServer, hard: bool) -> None:
    parts = stream(1, 60, 30)
    writer = Writer(store)
    half = len(parts) // 2
    for part in parts[:half]:
        writer.write([part])
    if hard:
        postgres_server.kill()
    else:
        postgres_server.stop()
    with pytest.raises(StoreUnavailable):
        writer.write([parts[half]])
    postgres_server.start()
    for part in parts:
        writer.write([part])
    assert len(content(store)["tasks"]) == 60
    assert stored_rollups(store) == expected_rollups(store)


def test_cut_off_inside_a_transaction(store: Store) -> None:
    """The server ends the writer's connection while it waits for its turn: nothing of the batch is there."""
    parts = stream(2, 20, 10**6)
    seen: list[BaseException] = []

    def work() -> None:
        try:
            Writer(store).write(parts)
        except StoreUnavailable as error:
            seen.append(error)

    with store.transaction() as holder:
        holder.execute(text("LOCK TABLE run_states IN ACCESS EXCLUSIVE MODE"))  # written last
        thread = threading.Thread(target=work)
        thread.start()
        waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        # Connections of their own: within one transaction the server shows the same activity for ever.
        while not _scalar(store, f"SELECT count(*) {waiting}"):
            time.sleep(0.02)
        _scalar(store, f"SELECT pg_terminate_backend(pid) {waiting}")
        thread.join(20)
    assert len(seen) == 1
    assert not any(content(store).values())
    Writer(store).write(parts)
    assert len(content(store)["tasks"]) == 20


def test_writers_of_many_runs_at_once(store: Store) -> None:
    parts = stream(3, 30, 25, runs=6)
    failures: list[BaseException] = []

    def work(share: list[Batch]) -> None:
        try:
            writer = Writer(store)
            for at in range(0, len(share), 4):
                writer.write(share[at : at + 4])
        except BaseException as error:
            failures.append(error)

    # Every batch goes to two of the four writers: redelivery while the first delivery is being written.
    threads = [threading.Thread(target=work, args=(parts[i % 2 :: 2],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(content(store)["tasks"]) == 180
    assert stored_rollups(store) == expected_rollups(store)


def test_a_reader_cannot_write(store: Store, postgres_url: str) -> None:
    reader = connect(postgres_url, read_only=True)
    with pytest.raises(DBAPIError, match="read-only"), reader.transaction() as connection:
        connection.execute(schema.runs.insert().values(run="x"))
    reader.close()


def test_holds_what_sqlite_holds(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('other') / 'other.db'}"
    migrate(url)
    other = connect(url)
    parts = stream(4, 60, 200, runs=2)
    Writer(store).write(parts)
    Writer(other).write(parts)
    assert content(store) == content(other)
    other.close()
