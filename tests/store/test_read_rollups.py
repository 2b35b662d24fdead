"""Apps, failures and busy workers as the rollups tell them, against sums over the tries themselves."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from heliograph.messages import TaskDescribed, TaskEnded, TaskRunning, TaskState
from heliograph_store import schema
from heliograph_store.measures import BOUNDS, bounds_of, bucket_of
from heliograph_store.migrate import migrate
from heliograph_store.read import apps, busy, failures
from heliograph_store.read.runs import find_run
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import batch, batches, numbered, recorded_run

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_790_000_000 * SECOND + 12_345_678


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def a_try(
    number: int, began: int, ended: int | None, *, try_: int = 0, app: str = "a", host: str = "n1", **more: Any
) -> list[Any]:
    head: dict[str, Any] = {"origin": "parsl", "number": number}
    found: list[Any] = [
        TaskDescribed(at=began - 5, app=app, **head),
        TaskState(at=began - 4, try_=try_, state="launched", launched=began - 4, **head),
        TaskRunning(at=began, try_=try_, host=host, pid=7, worker="3", **head),
    ]
    if ended is not None:
        known = {"ok": True, "elapsed": ended - began, **more}
        found.append(TaskEnded(at=ended, try_=try_, host=host, pid=7, **known, **head))
    return found


def written(store: Store, records: list[Any]) -> int:
    Writer(store).write([batch(records)])
    run = find_run(store, "run-1")
    assert run is not None
    return run.id


def recorded(store: Store) -> int:
    Writer(store).write(batches(numbered(recorded_run(Random(3), tasks=150)), 700))
    run = find_run(store, "run-1")
    assert run is not None
    return run.id


def tries_of(store: Store) -> list[dict[str, Any]]:
    joined = schema.tries.join(
        schema.tasks, (schema.tasks.c.run == schema.tries.c.run) & (schema.tasks.c.task == schema.tries.c.task)
    )
    with store.connection() as connection:
        named = {row.id: row.name for row in connection.execute(select(schema.apps))}
        rows = connection.execute(select(schema.tries, schema.tasks.c.app.label("of_app")).select_from(joined))
        return [{**row, "app": named[row["of_app"]]} for row in rows.mappings()]


def test_histogram_bounds_are_within_a_tenth() -> None:
    for value in [0, 1, 9, 10, 11, 10**6, 10**9 + 7, BOUNDS[-2], BOUNDS[100], BOUNDS[100] - 1]:
        low, high = bounds_of(bucket_of(value))
        assert low <= value < high
        assert high - low <= max(1, low // 10)


def test_summaries_of_apps(store: Store) -> None:
    run = recorded(store)
    rows = tries_of(store)
    found = {summary.app: summary for summary in apps.app_summaries(store, run)}
    assert set(found) == {row["app"] for row in rows}
    for app, summary in found.items():
        of = [row for row in rows if row["app"] == app]
        assert summary.tries == len(of)
        assert summary.retries == sum(row["try_"] > 0 for row in of)
        assert summary.failures == sum(row["failure"] is not None for row in of)
        times = sorted(row["elapsed"] for row in of if row["elapsed"] is not None)
        assert summary.run_time is not None
        assert (summary.run_time.count, summary.run_time.total) == (len(times), sum(times))
        bins = apps.app_histogram(store, run, app, "run_time")
        assert sum(b.tries for b in bins) == len(times)
        assert all(sum(b.low <= t < b.high for t in times) == b.tries for b in bins)


def test_quantiles_are_within_five_percent(store: Store) -> None:
    random = Random(4)
    times = sorted(int(random.lognormvariate(17, 1.5)) for _ in range(800))
    records = [r for n, took in enumerate(times) for r in a_try(n, START + n, START + n + took, peak_rss=took * 3)]
    (summary,) = apps.app_summaries(store, written(store, records))
    assert summary.run_time is not None
    assert summary.memory is not None
    for share, found in ((0.5, summary.run_time.median), (0.95, summary.run_time.p95), (1.0, summary.run_time.max)):
        exact = times[max(1, round(share * len(times))) - 1]
        assert abs(found - exact) <= exact * 0.05
    assert summary.run_time.max == times[-1], "alone in its bin"
    assert abs(summary.memory.median - times[399] * 3) <= times[399] * 3 * 0.05
    assert summary.run_time.mean == sum(times) / 800


def test_failures_are_grouped(store: Store) -> None:
    records = []
    for n in range(30):
        host = "n9" if n < 10 else f"n{n % 3}"
        error = {"exc_type": "OSError", "exc_message": f"no space on /scratch/{n}", "exc_place": "x.py:3 in f"}
        if n >= 10:
            error["exc_message"] = f"cell {n}"
        app = "b" if n % 2 else "a"
        records += a_try(n, START + n, START + n + 10, app=app, host=host, ok=False, **error)
    head = {"origin": "parsl", "number": 99}
    records += [
        TaskState(at=START + 500, try_=0, state="failed", fail_history="ManagerLost('m 1')", **head),
        *a_try(100, START, START + 9),
    ]
    run = written(store, records)
    cells, space, lost = failures.failure_groups(store, run)
    assert (cells.message, cells.tries, cells.main_host) == ("cell #", 20, None)
    assert (space.exc_type, space.place, space.message) == ("OSError", "x.py:3 in f", "no space on <path>")
    assert (space.hosts, space.apps, space.main_host) == ([("n9", 10)], [("a", 5), ("b", 5)], ("n9", 1.0))
    assert (space.first, space.last, space.sample) == (START + 10, START + 19, (9, 0))
    assert (lost.exc_type, lost.message, lost.hosts, lost.apps) == ("ManagerLost", "m #", [(None, 1)], [(None, 1)])
    assert [g.tries for g in failures.failure_groups(store, run, app="a")] == [10, 5]
    paged: list[int] = []
    after = None
    while page := failures.failures_in(store, run, cells.id, after=after, limit=7):
        paged += [row.task for row in page]
        after = failures.failure_key(page[-1])
    assert paged == list(range(29, 9, -1))
    assert {h.host: (h.tries, h.failed) for h in failures.host_tries(store, run)}["n9"] == (10, 10)


def test_busy_time_by_hand(store: Store) -> None:
    """Three tries on two hosts: 90 s, 30 s, and one that goes on."""
    run = written(
        store,
        [
            *a_try(0, START, START + 90 * SECOND),
            *a_try(1, START + 30 * SECOND, START + 60 * SECOND, host="n2", app="b"),
            *a_try(2, START + 60 * SECOND, None),
        ],
    )
    fine = busy.busy(store, run, since=START, until=START + 120 * SECOND, buckets=4)
    assert [(b.at - START, b.name, b.busy // SECOND, b.running) for b in fine] == [
        (0, "n1", 30, 1),
        (30 * SECOND, "n1", 30, 1),
        (30 * SECOND, "n2", 30, 0),
        (60 * SECOND, "n1", 60, 1),
        (90 * SECOND, "n1", 30, 1),
    ]
    whole = busy.busy(store, run, since=START, until=START + 120 * SECOND, buckets=1, by="app")
    assert [(b.name, b.busy // SECOND, b.running) for b in whole] == [("a", 150, 1), ("b", 30, 0)]


@pytest.mark.parametrize("by", ["host", "app"])
def test_busy_time_of_long_runs_is_exact(store: Store, by: busy.By) -> None:
    """Days of tries, seconds to a day long: whole minutes and whole hours, from the beginning and from the middle."""
    random = Random(5)
    spans, records = [], []
    for n in range(400):
        began = START + random.randrange(4 * 24 * 60 * MINUTE)
        ended = began + int(random.lognormvariate(20, 2)) % (24 * 60 * MINUTE)
        host, app = f"n{n % 3}", "xyz"[n % 2]
        spans.append((began, ended, host if by == "host" else app))
        records += a_try(n, began, ended, host=host, app=app)
    run = written(store, records)
    for since, until, buckets in (
        (START, START + 5 * 24 * 60 * MINUTE, 40),
        (START + 30 * 60 * MINUTE + 7, START + 41 * 60 * MINUTE, 300),
        (START + 30 * 60 * MINUTE, START + 33 * 60 * MINUTE, 180),
    ):
        found = busy.busy(store, run, since=since, until=until, buckets=buckets, by=by)
        assert found
        width = max(b.width for b in found)
        assert width % MINUTE == 0
        cells = {(b.at, b.name): b for b in found}
        for name in {name for _, _, name in spans}:
            for at in range(found[0].at, found[-1].at + 1, width):
                end = at + cells[at, name].width if (at, name) in cells else at + width
                exact = sum(max(0, min(b, end) - max(a, at)) for a, b, of in spans if of == name)
                running = sum(a < end <= b for a, b, of in spans if of == name)
                cell = cells.get((at, name))
                assert (cell.busy if cell else 0) == exact
                assert (cell.running if cell else 0) == running


def test_intervals_that_reach_into_a_window(store: Store) -> None:
    random = Random(6)
    spans, records = {}, []
    for n in range(300):
        began = START + random.randrange(60 * MINUTE)
        ended = None if n % 20 == 0 else began + int(random.lognormvariate(16, 3)) % (50 * MINUTE)
        spans[n] = (began, ended, f"n{n % 4}")
        records += a_try(n, began, ended, host=f"n{n % 4}")
    run = written(store, records)
    for since, length, hosts in (
        (START, 60 * MINUTE, None),
        (START + 20 * MINUTE, MINUTE, None),
        (START + 30 * MINUTE, 10, None),
        (START + 10 * MINUTE, 45 * MINUTE, ["n1"]),
        (START + 20 * MINUTE, 2 * MINUTE, ["n1", "n2"]),
        (START, 60 * MINUTE, ["nobody"]),
    ):
        until = since + length
        expected = [
            (began, n)
            for n, (began, ended, host) in spans.items()
            if began < until and (ended is None or ended > since) and (hosts is None or host in hosts)
        ]
        found = busy.intervals(store, run, since=since, until=until, hosts=hosts)
        assert [(i.began, i.task) for i in found] == sorted(expected)
        assert all((i.began, i.ended, i.host) == spans[i.task] for i in found)
    assert len(busy.intervals(store, run, since=START, until=START + 60 * MINUTE, limit=10)) == 10
