"""Parsl's view names over the store: columns, types, local times, NOT NULL, and that conditions reach the keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pytest
from parsl.monitoring.db_manager import Database
from sqlalchemy import inspect, text

from heliograph.messages import (
    BlockState,
    NodeSeen,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    TaskDescribed,
    TaskRunning,
    TaskSample,
    TaskState,
)
from heliograph_store.migrate import migrate
from heliograph_store.store import Store, connect
from heliograph_store.views import VIEWS, create_views, drop_views
from heliograph_store.write import Writer
from tests.store.stream import batch

AT = 1_790_000_000_123_456  # 2026-09-21 14:13:20.123456 UTC
SECOND = 1_000_000
PARSL = Database.Base.metadata.tables


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def write(store: Store, *records: Record, run: str = "run-1") -> None:
    writer = Writer(store)
    for i, record in enumerate(records):
        result = writer.write([batch([record], run=run, offsets=[i])])
        assert not result.aside


def rows(store: Store, query: str) -> list[dict[str, Any]]:
    with store.connection() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def column(store: Store, query: str) -> list[Any]:
    return [next(iter(row.values())) for row in rows(store, query)]


def local(value: object) -> str:
    """Both databases' times in SQLite's form."""
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else str(value)


def state(name: str, at: int, *, number: int = 0, try_: int = 0, **more: Any) -> TaskState:
    return TaskState(at=at, origin="", number=number, try_=try_, state=name, **more)


def started(**more: Any) -> RunStarted:
    return RunStarted(at=AT, **{"name": "w", "version": "1", "owner": "me", "host": "head", "run_dir": "/r", **more})


@pytest.mark.parametrize("view", VIEWS)
def test_columns_are_those_of_parsl_in_its_order(store: Store, view: str) -> None:
    with store.connection() as connection:
        found = inspect(connection).get_columns(view)
    assert [c["name"] for c in found] == PARSL[view].c.keys()
    if not store.sqlite:  # SQLite tells no types of expressions; the import's test compares the values there
        for ours in found:
            theirs = PARSL[view].c[ours["name"]].type
            assert isinstance(ours["type"].as_generic(), type(theirs)), (view, ours)


def test_what_parsl_declares_not_null_is_never_null(store: Store) -> None:
    """Only fragments arrived: no start of the run, no description, no end."""
    write(
        store,
        TaskRunning(at=AT, origin="", number=1, try_=0, host="n1", pid=7),
        TaskSample(at=AT, origin="", number=2, try_=0, host="n1", pid=7),
        state("pending", AT, number=3),
        TaskDescribed(at=AT, origin="", number=4, app="a"),
        NodeSeen(at=AT, host="n1"),
        BlockState(at=AT, executor="", block="", status=""),
    )
    for view in VIEWS:
        found = rows(store, f'SELECT * FROM "{view}"')
        assert found, view
        for name in (c.name for c in PARSL[view].c if not c.nullable):
            assert all(row[name] is not None for row in found), (view, name)


@pytest.mark.parametrize(
    ("zone", "offset", "expected"),
    [
        ("Asia/Kolkata", 19_800, "2026-09-21 19:43:20.123456"),
        ("", -16_200, "2026-09-21 09:43:20.123456"),
        ("Nowhere/Such", 3600, "2026-09-21 15:13:20.123456"),
        ("", 0, "2026-09-21 14:13:20.123456"),
    ],
)
def test_times_are_local_to_the_submitting_host(store: Store, zone: str, offset: int, expected: str) -> None:
    write(
        store,
        started(zone=zone, utc_offset=offset),
        state("pending", AT),
        BlockState(at=AT, executor="x", block="0", status="RUNNING"),
    )
    for query in ("SELECT time_began FROM workflow", "SELECT timestamp FROM status", "SELECT timestamp FROM block"):
        assert [local(value) for value in column(store, query)] == [expected]


def test_a_change_of_clocks_within_a_run(store: Store) -> None:
    """PostgreSQL follows the zone; SQLite stays with the offset of the beginning."""
    before, after = 1_792_890_000 * SECOND, 1_792_895_400 * SECOND  # 01:00 and 02:30 UTC around 2026-10-25 01:00 UTC
    write(store, started(zone="Europe/Berlin", utc_offset=7200), state("pending", before - 1), state("launched", after))
    found = [local(v) for v in column(store, "SELECT timestamp FROM status ORDER BY timestamp")]
    second = "2026-10-25 04:30:00.000000" if store.sqlite else "2026-10-25 03:30:00.000000"
    assert found == ["2026-10-25 02:59:59.999999", second]


def test_states_of_all_tries_are_rows(store: Store) -> None:
    write(
        store,
        started(),
        state("pending", AT),
        state("running", AT + 2),
        state("launched", AT + 3),
        state("fail_retryable", AT + 4, fail_history="E('x')", fail_count=1, fail_cost=1.5),
        state("pending", AT + 5, try_=1),
        state("exec_done", AT + 9, try_=1, invoked=AT, returned=AT + 8),
    )
    found = rows(store, "SELECT * FROM status WHERE run_id = 'run-1' AND task_id = '0' ORDER BY timestamp")
    assert [(r["try_id"], r["task_status_name"]) for r in found] == [
        (0, "pending"), (0, "running"), (0, "launched"), (0, "fail_retryable"), (1, "pending"), (1, "exec_done")
    ]  # fmt: skip
    (task,) = rows(store, "SELECT * FROM task")
    assert (task["task_fail_count"], task["task_fail_cost"]) == (1, 1.5)
    assert local(task["task_time_returned"]).endswith("20.123464")
    assert column(store, "SELECT task_fail_history FROM try ORDER BY try_id") == ["E('x')", ""]


def test_a_task_has_not_returned_before_it_is_done(store: Store) -> None:
    write(store, started(), state("fail_retryable", AT, returned=AT))
    assert column(store, "SELECT task_time_returned FROM task") == [None]
    assert [local(v) for v in column(store, "SELECT task_try_time_returned FROM try")] == ["2026-09-21 14:13:20.123456"]


def test_dependencies_joins_and_counts(store: Store) -> None:
    done = [state("exec_done", AT, number=n) for n in (0, 1, 10)]
    write(
        store,
        started(),
        *done,
        TaskDescribed(at=AT, origin="", number=11, app="add", depends=[10, 1, 0], memoize=True),
        TaskDescribed(at=AT, origin="", number=12, app="join", join=True),
        state("joining", AT, number=12, joins=[11, 1]),
        state("memo_done", AT, number=11),
        state("dep_fail", AT, number=13),
        state("failed", AT, number=14),
        RunEnded(at=AT + SECOND),
    )
    tasks = {r["task_id"]: r for r in rows(store, "SELECT * FROM task")}
    assert [tasks[n]["task_depends"] for n in (11, 12, 13)] == ["0,1,10", "", ""]
    assert tasks[11]["task_memoize"] == ("1" if store.sqlite else "true")
    assert column(store, "SELECT task_joins FROM try WHERE task_id IN (11, 12) ORDER BY task_id") == [None, "1,11"]
    (workflow,) = rows(store, "SELECT * FROM workflow")
    assert (workflow["tasks_completed_count"], workflow["tasks_failed_count"]) == (3, 1)
    assert local(workflow["time_completed"]) == "2026-09-21 14:13:21.123456"


def test_resources_have_parsls_units(store: Store) -> None:
    sample = TaskSample(
        at=AT, origin="", number=1, try_=0, host="n", pid=5, cpu_user=1_250_000, cpu_system=10, rss=4096, vms=8192,
        children=2, read_bytes=3, write_bytes=4, ctx_voluntary=6, memory_percent=0.5, status="sleeping", cpu_num=3,
    )  # fmt: skip
    write(store, started(sample_interval=2.5), sample)
    (row,) = rows(store, "SELECT * FROM resource WHERE run_id = 'run-1' AND task_id = '1'")
    found = {name.removeprefix("psutil_"): value for name, value in row.items() if name.startswith("psutil_")}
    assert found == {
        "process_pid": 5,
        "process_memory_percent": 0.5,
        "process_children_count": 2.0,
        "process_time_user": 1.25,
        "process_time_system": 0.00001,
        "process_memory_virtual": 8192.0,
        "process_memory_resident": 4096.0,
        "process_disk_read": 3.0,
        "process_disk_write": 4.0,
        "process_status": "sleeping",
        "cpu_num": "3",
        "process_num_ctx_switches_voluntary": 6.0,
        "process_num_ctx_switches_involuntary": None,
    }
    assert row["resource_monitoring_interval"] == 2.5  # the run's, as this sample names none


def test_nodes_have_ids_of_their_own(store: Store) -> None:
    seen = [
        NodeSeen(
            at=AT, host=host, pool=pool, block=block, workers=4, cpu_count=8, memory_total=1 << 36, python="3.12.1"
        )
        for host, pool, block in (("a", "p1", "0"), ("a", "p2", "1"), ("b", "p3", None))
    ]
    write(store, started(), *seen, RunHeartbeat(at=AT))
    write(store, *seen, run="run-2")
    found = rows(store, "SELECT * FROM node")
    assert len({r["id"] for r in found}) == 6
    assert sorted((r["hostname"], r["uid"], r["block_id"]) for r in found if r["run_id"] == "run-2") == [
        ("a", "p1", "0"), ("a", "p2", "1"), ("b", "p3", "")
    ]  # fmt: skip
    assert {bool(r["active"]) for r in found} == {True}


@pytest.mark.parametrize(("view", "alias"), [("task", "t"), ("try", "y"), ("status", "y"), ("resource", "m")])
def test_conditions_reach_the_primary_keys(store: Store, view: str, alias: str) -> None:
    write(store, started(), state("pending", AT))
    query = f"SELECT * FROM \"{view}\" WHERE run_id = 'run-1' AND task_id = '0'"
    plan = _plan(store, query)
    if store.sqlite:
        assert any(line.startswith(f"SEARCH {alias} USING PRIMARY KEY (run=? AND task=?") for line in plan), plan
        assert any(line.startswith("SEARCH r USING") and "(run=?)" in line for line in plan), plan
        assert not any(line.startswith(f"SCAN {alias}") for line in plan), plan
    else:
        conditions = [line for line in plan if "Index Cond" in line]
        assert any("task = '0'::bigint" in line for line in conditions), plan
        assert any("run = 'run-1'::text" in line for line in conditions), plan


def test_the_views_can_be_dropped_and_made_again(store: Store) -> None:
    dialect = "sqlite" if store.sqlite else "postgresql"
    with store.transaction() as connection:
        for statement in [*drop_views(dialect), *create_views(dialect)]:
            connection.execute(text(statement))
    assert rows(store, "SELECT * FROM workflow") == []


def _plan(store: Store, query: str) -> Sequence[str]:
    with store.connection() as connection:
        if store.sqlite:
            return [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
        # On a table of one row a sequential scan is right; what counts is whether the index can serve.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        return [row[0] for row in connection.execute(text(f"EXPLAIN {query}"))]
