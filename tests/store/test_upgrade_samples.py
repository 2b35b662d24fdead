"""A database of revision 0002 with samples in it: they tell the same after the upgrade, and views stay."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import inspect, text

from heliograph_store.maintenance import SamplePolicy, Thinned, thin_samples
from heliograph_store.migrate import check, current, head, migrate
from heliograph_store.read.samples import task_samples
from heliograph_store.schema import IS_SHARED, LEVEL_SHIFT, PER_MINUTE
from heliograph_store.store import Store, connect
from tests.store.older import upgrade_to, views_before_0003

AT = 1_790_000_000_000_000
MINUTE = 60_000_000
FAR = 1 << 36
"""The first task of a second origin."""
TASKS = (0, 1, 1999, 2000, 2001, 2002, 9999, FAR, FAR + 5)
AGENTS = (0.0, 0.044, 0.473, 12.0, 33.333, 100.0, 317.207)
"""Rounded to thousandths of a percent, as agents do."""
OTHERS = (0.0300385745, 1 / 3, 1e-300, 64.32450771331787)
"""As psutil told Parsl, or anybody else us."""


def sample(run: int, task: int, at: int, **more: Any) -> dict[str, Any]:
    row = {
        "run": run, "task": task, "try_": 0, "at": at, "host": 1, "pid": 7, "level": 0, "cpu_user": 1, "cpu_system": 2,
        "rss": 1 << 40, "peak_rss": None, "vms": 4, "threads": 5, "children": 6, "read_bytes": 7, "write_bytes": 8,
        "ctx_voluntary": 9, "ctx_involuntary": 10, "memory_percent": None, "status": 1, "cpu_num": 3, "shared": 0,
        "last": 0, "interval": 10.0,
    }  # fmt: skip
    assert row.keys() >= more.keys()
    return row | more


def recorded() -> list[dict[str, Any]]:
    """Two runs; every percentage and every combination of flags."""
    percents = (*AGENTS, *OTHERS, None)
    return [
        sample(run, task, AT + i, memory_percent=percents[i % len(percents)], level=(0, 1, 2, None)[i % 4],
               shared=(0, 1)[i // 4 % 2], last=(0, 1)[i // 8 % 2], peak_rss=(None, i)[i % 2], pid=7 + run)
        for run in (1, 2)
        for task in TASKS
        for i in range(24)
    ]  # fmt: skip


def fill(store: Store, rows: list[dict[str, Any]]) -> None:
    with store.transaction() as connection:
        for run in (1, 2):
            connection.execute(text("INSERT INTO runs (run, first_seen) VALUES (:run, 1)"), {"run": f"run-{run}"})
        connection.execute(text("INSERT INTO hosts (name) VALUES ('n1')"))
        connection.execute(text("INSERT INTO names (name) VALUES ('sleeping')"))
        columns = ", ".join(rows[0])
        marks = ", ".join(f":{column}" for column in rows[0])
        connection.execute(text(f"INSERT INTO samples ({columns}) VALUES ({marks})"), rows)


@pytest.fixture
def old(database_url: str) -> str:
    store = connect(database_url)
    with store.transaction() as connection:
        upgrade_to(connection, "0002")
        views_before_0003(connection)
    fill(store, recorded())
    store.close()
    return database_url


def told(url: str) -> list[dict[str, Any]]:
    """What users of SQL see."""
    store = connect(url)
    with store.connection() as connection:
        found = connection.execute(
            text("SELECT * FROM resource ORDER BY run_id, task_id, timestamp, psutil_process_pid")
        ).mappings()
        rows = [dict(row) for row in found]
    store.close()
    return rows


def parted(rows: list[dict[str, Any]]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Percentages, and all else."""
    name = "psutil_process_memory_percent"
    return [row[name] for row in rows], [{k: v for k, v in row.items() if k != name} for row in rows]


def near(percent: float | None) -> Any:
    """The same but for the last bit, and exactly the same when an agent measured it."""
    return percent if percent is None or percent in AGENTS else pytest.approx(percent, rel=1e-15, abs=0)


def test_the_view_tells_the_same(old: str) -> None:
    before, rest = parted(told(old))
    assert len(before) == 2 * len(TASKS) * 24
    assert current(old) == "0002"
    assert migrate(old) == head()
    after, same = parted(told(old))
    assert same == rest
    assert set(before) >= {None, *AGENTS}
    assert after == [near(percent) for percent in before]


def test_readers_and_retention_tell_the_same(old: str) -> None:
    migrate(old)
    store = connect(old)
    check(store)
    by_key = {(row["run"], row["task"], row["at"]): row for row in recorded()}
    for run in (1, 2):
        for task in TASKS:
            found = task_samples(store, run, task)
            assert len(found) == 24
            for one in found:
                row = by_key[run, task, one.at]
                assert (one.shared, one.last, one.peak_rss) == (bool(row["shared"]), bool(row["last"]), row["peak_rss"])
                assert (one.rss, one.pid, one.host, one.status) == (1 << 40, row["pid"], "n1", "sleeping")
                assert one.memory_percent == near(row["memory_percent"])
    # All of a task stands in one minute, and what was thinned to a summary stays one.
    removed = thin_samples(store, SamplePolicy(minute_after=MINUTE), now=AT + 10 * MINUTE)
    assert removed == Thinned(samples=2 * len(TASKS) * 23, node_samples=0)
    with store.connection() as connection:
        # The last of them had no level, and was of a shared process.
        assert set(connection.scalars(text("SELECT flags FROM samples"))) == {PER_MINUTE << LEVEL_SHIFT | IS_SHARED}
    store.close()


def test_whole_thousandths_take_few_bytes(old: str) -> None:
    """On SQLite a real number without a fraction is stored as an integer: the reason for it all."""
    migrate(old)
    store = connect(old)
    with store.connection() as connection:
        found = set(connection.scalars(text("SELECT memory_milli FROM samples WHERE memory_milli IS NOT NULL")))
    store.close()
    assert {milli for milli in found if milli.is_integer()} == {round(percent * 1000) for percent in AGENTS}
    assert len(found) == len(AGENTS) + len(OTHERS)


def test_views_of_users_stay(old: str) -> None:
    store = connect(old)
    with store.transaction() as connection:
        connection.execute(text("CREATE VIEW mine AS SELECT run_id, psutil_process_memory_percent AS m FROM resource"))
        connection.execute(text("CREATE VIEW rss AS SELECT run, rss FROM samples"))
        if store.sqlite:  # it will not work any more, and is in nobody's way; PostgreSQL refuses to take its column
            connection.execute(text("CREATE VIEW gone AS SELECT last FROM samples"))
    migrate(old)
    with store.connection() as connection:
        count = 2 * len(TASKS) * 24
        assert connection.scalar(text("SELECT count(*) FROM mine WHERE run_id IN ('run-1', 'run-2')")) == count
        assert connection.scalar(text("SELECT max(m) FROM mine")) == max(AGENTS)
        assert connection.scalar(text("SELECT count(rss) FROM rss")) == count
    store.close()


def test_what_no_share_can_be_keeps_nobody_from_upgrading(database_url: str) -> None:
    store = connect(database_url)
    with store.transaction() as connection:
        upgrade_to(connection, "0002")
    fill(store, [sample(1, 1, AT, memory_percent=1.7e308), sample(2, 1, AT, memory_percent=-1.7e308)])
    assert migrate(database_url) == head()
    with store.connection() as connection:
        assert connection.scalars(text("SELECT memory_milli FROM samples")).all() == [None, None]
    store.close()


def test_a_broken_upgrade_leaves_the_database_as_it_was(old: str) -> None:
    before = told(old)
    store = connect(old)
    with store.transaction() as connection:
        # In the way of the last thing that the upgrade does.
        if store.sqlite:
            connection.execute(text("CREATE VIEW samples_small AS SELECT 1 AS x"))
        else:
            connection.execute(text("CREATE VIEW uses AS SELECT last FROM samples"))
    with pytest.raises(Exception, match=r"samples_small|depend"):
        migrate(old)
    assert current(old) == "0002"
    assert told(old) == before
    with store.transaction() as connection:
        connection.execute(text("DROP VIEW samples_small" if store.sqlite else "DROP VIEW uses"))
    store.close()
    assert migrate(old) == head()


def test_partitions_stay(postgres_url: str) -> None:
    store = connect(postgres_url)
    with store.transaction() as connection:
        upgrade_to(connection, "0002")
        for statement in (
            "CREATE TABLE parted (LIKE samples INCLUDING ALL) PARTITION BY LIST (run)",
            "DROP TABLE samples",
            "ALTER TABLE parted RENAME TO samples",
            "CREATE TABLE samples_1 PARTITION OF samples FOR VALUES IN (1)",
            "CREATE TABLE samples_rest PARTITION OF samples DEFAULT",
        ):
            connection.execute(text(statement))
        views_before_0003(connection)
    fill(store, recorded())
    before, _ = parted(told(postgres_url))
    migrate(postgres_url)
    after, _ = parted(told(postgres_url))
    assert after == [near(percent) for percent in before]
    with store.connection() as connection:
        assert {c["name"] for c in inspect(connection).get_columns("samples_1")} >= {"flags", "memory_milli"}
        assert connection.scalar(text("SELECT count(*) FROM samples_1")) == len(TASKS) * 24
    store.close()
