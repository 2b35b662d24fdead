"""Rollups and derived columns counted afresh from what was recorded, without the code under test.

In: a store. Out: for every rollup its rows as key → counters, as they stand there and as they should be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Table, select

from heliograph_store import schema
from heliograph_store.measures import BOUNDS, LARGEST
from heliograph_store.store import Store

MINUTE = 60_000_000
STATES = (
    "pending",
    "launched",
    "running",
    "running_ended",
    "joining",
    "fail_retryable",
    "memo_done",
    "exec_done",
    "dep_fail",
    "failed",
)
FAILING = ("fail_retryable", "dep_fail", "failed")
Row = Mapping[str, Any]
Rollup = dict[tuple[int, ...], tuple[int, ...]]


def stored_rollups(store: Store) -> dict[str, Rollup]:
    with store.connection() as connection:
        return {
            table.name: {
                tuple(row[: _keys(table)]): tuple(row[_keys(table) :]) for row in connection.execute(select(table))
            }
            for table in schema.ROLLUPS
        }


def _keys(table: Table) -> int:
    return len(table.primary_key.columns)


def expected_rollups(store: Store) -> dict[str, Rollup]:
    found: dict[str, dict[tuple[int, ...], list[int]]] = {table.name: {} for table in schema.ROLLUPS}

    def count(table: str, key: tuple[int, ...], *counts: int) -> None:
        had = found[table].setdefault(key, [0] * len(counts))
        found[table][key] = [a + b for a, b in zip(had, counts, strict=True)]

    with store.connection() as connection:
        tasks: dict[tuple[int, int], Row] = {
            (row["run"], row["task"]): dict(row) for row in connection.execute(select(schema.tasks)).mappings()
        }
        tries: dict[tuple[int, int], list[Row]] = defaultdict(list)
        for row in connection.execute(select(schema.tries)).mappings():
            tries[row["run"], row["task"]].append(dict(row))
    for of, task in tasks.items():
        _of_task(count, task, tries[of])
        for row in tries[of]:
            for table, key, counts in _of_try(task, row):
                count(table, key, *counts)
    return {table: {key: tuple(counts) for key, counts in rows.items() if any(counts)} for table, rows in found.items()}


def _of_task(count: Any, task: Row, tries: list[Row]) -> None:
    run, app, state = task["run"], task["app"], task["progress"] % 16
    latest = next((row for row in tries if row["try_"] == task["progress"] // 16), None)
    executor = (latest and latest["executor"]) or task["executor"] or 0
    count("run_states", (run, app, state), 1)
    count("run_kinds", (run, app, executor, state), 1)
    count("run_apps", (run, app), 0, max(task["progress"] // 16, 0), task["is_join"] or 0)
    took = began = None
    if latest is not None:
        began, _ = span(latest)
        took = run_time(latest)
    assert (task["state"], task["runs_on"], task["began"], task["took"]) == (state, executor, began, took)


def _of_try(task: Row, row: Row) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    run, app, host = row["run"], task["app"], row["host"] or 0
    for rank, state in enumerate(STATES):
        if row[state] is not None:
            yield "run_buckets", (run, app, rank, row[state] // MINUTE), (1,)
    yield "run_apps", (run, app), (1, 0, 0)
    if row["ok"] == 0 or dict(enumerate(STATES)).get(row["state"]) in FAILING:
        assert None not in {row["failure"], row["wrong"]}
    if row["failure"] is not None:
        yield "run_failures", (run, row["failure"], app, host), (1,)
    for measure, value in enumerate(_measures(row)):
        if value is not None:
            bounded = min(max(value, 0), LARGEST)
            bucket = max(i for i, bound in enumerate(BOUNDS) if bound <= bounded)
            yield "run_measures", (run, app, measure, bucket), (1, bounded)
    since, until = span(row)
    assert row["since"] == since
    for at, counts in ((since, lambda offset: (1, 0, offset, 0)), (until, lambda offset: (0, 1, 0, offset))):
        if at is not None:
            for width in (1, 60):
                number, offset = divmod(at, width * MINUTE)
                yield "app_busy", (run, width, number, app), counts(offset)
                yield "host_busy", (run, width, number, host), counts(offset)


def span(row: Row) -> tuple[int | None, int | None]:
    """When a try began and ended."""
    since = _first(row["began"], row["running"])
    if since is None and row["ended"] is not None:
        since = row["ended"] - row["elapsed"]
    if since is None:
        return None, None
    state = STATES[row["state"]] if row["state"] < len(STATES) else None
    final = row[state] if state in {"fail_retryable", "exec_done", "failed"} else None
    until = _first(row["ended"], row["running_ended"], final)
    return since, None if until is None else max(since, until)


def run_time(row: Row) -> int | None:
    if row["elapsed"] is not None:
        return row["elapsed"] if row["elapsed"] >= 0 else None
    for begin, end in (("began", "ended"), ("running", "running_ended")):
        if row[begin] is not None and row[end] is not None:
            return row[end] - row[begin] if row[end] >= row[begin] else None
    return None


def _measures(row: Row) -> tuple[int | None, int | None, int | None, int | None]:
    began, launched = _first(row["began"], row["running"]), _first(row["launched_at"], row["launched"])
    waited = began - launched if began is not None and launched is not None else None
    if began is None and row["ended"] is None:
        return None, None, None, None
    if row["shared"]:
        return run_time(row), waited, None, None
    user, system = row["cpu_user"], row["cpu_system"]
    cpu = None if user is None and system is None else (user or 0) + (system or 0)
    return run_time(row), waited, row["peak_rss"], cpu


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
