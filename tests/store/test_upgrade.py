"""A database of revision 0001 with runs in it comes to this version's schema as if they had been written there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from heliograph_store import schema
from heliograph_store.migrate import check, current, head, migrate
from heliograph_store.read.apps import app_summaries
from heliograph_store.read.runs import find_run
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.fresh import expected_rollups, stored_rollups
from tests.store.older import upgrade_to
from tests.store.stream import batches, content, numbered, recorded_run

OLD_ROLLUPS = ("run_states", "run_buckets")


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Store]:
    """Two runs, written by this version."""
    url = f"sqlite:///{tmp_path / 'recorded.db'}"
    migrate(url)
    store = connect(url)
    records = [r for run in ("run-1", "run-2") for r in recorded_run(Random(9), tasks=70, run=run)]
    Writer(store).write(batches(numbered(records), 300))
    yield store
    store.close()


@pytest.fixture
def old(database_url: str, recorded: Store) -> str:
    """The same rows in a database of revision 0001: without what came with 0002."""
    store = connect(database_url)
    with store.transaction() as connection:
        upgrade_to(connection, "0001")
        found = inspect(connection)
        with recorded.connection() as source:
            for name in set(found.get_table_names()) - {"alembic_version", "meta"}:
                table = schema.metadata.tables[name]
                columns = [column["name"] for column in found.get_columns(name)]
                rows = [_as_before(name, dict(row)) for row in source.execute(select(table)).mappings()]
                if rows:
                    marks = ", ".join(f":{column}" for column in columns)
                    names = ", ".join(columns)
                    connection.execute(text(f"INSERT INTO {name} ({names}) VALUES ({marks})"), rows)
        for dictionary in ("apps", "hosts", "names", "runs"):
            if not store.sqlite:
                newest = f"(SELECT max(id) FROM {dictionary})"
                connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{dictionary}', 'id'), {newest})"))
    store.close()
    return database_url


def _as_before(table: str, row: dict[str, Any]) -> dict[str, Any]:
    if table != "samples":
        return row
    flags, milli = row["flags"], row["memory_milli"]
    old = {"level": 0, "last": flags & 1, "shared": flags >> 1 & 1}
    return row | old | {"memory_percent": None if milli is None else milli / 1000}


def test_all_that_is_derived_is_made_anew(old: str, recorded: Store) -> None:
    assert current(old) == "0001"
    assert migrate(old) == head() == current(old)
    store = connect(old)
    check(store)
    assert content(store) == content(recorded)
    assert stored_rollups(store) == expected_rollups(store)
    run, same = find_run(store, "run-2"), find_run(recorded, "run-2")
    assert run is not None
    assert same is not None
    assert app_summaries(store, run.id) == app_summaries(recorded, same.id) != []
    with store.connection() as connection:
        assert connection.scalar(text("SELECT count(*) FROM workflow")) == 2  # the views are there
    store.close()


def test_writing_goes_on_after_it(old: str) -> None:
    migrate(old)
    store = connect(old)
    records = numbered(recorded_run(Random(10), tasks=90, run="run-1"))
    Writer(store).write(batches(records, 200))
    assert stored_rollups(store) == expected_rollups(store)
    assert len(content(store)["tasks"]) == 90 + 70
    store.close()
