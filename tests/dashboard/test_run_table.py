"""The table of runs on both databases: states as `liveness` says, every order, keyset pages; and marks of changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from heliograph.messages import (
    CLASS_OF,
    Batch,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    Source,
    TaskDescribed,
    TaskState,
    encode,
)
from heliograph_store.migrate import migrate
from heliograph_store.read.changes import Watch, run_marks
from heliograph_store.read.liveness import liveness
from heliograph_store.read.run_table import (
    ORDERS,
    Order,
    RunRow,
    Wanted,
    run_page,
    run_total,
    values_of,
)
from heliograph_store.read.runs import find_run, list_runs
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer

NOW = 1_790_000_000_000_000
SECOND = 1_000_000


def batch(run: str, records: list[Record]) -> list[Batch]:
    """One batch for each class."""
    by_class: dict[str, list[Record]] = {}
    for record in records:
        by_class.setdefault(CLASS_OF[type(record)].value, []).append(record)
    return [
        Batch(
            version=1, run=run, cls=cls, agent="a", host="h", boot="b",
            sources=[Source(journal=f"{run}-{cls}", offsets=list(range(len(some))))],
            records=[msgspec.Raw(encode(record)) for record in some],
        )
        for cls, some in by_class.items()
    ]  # fmt: skip


def records(number: int) -> list[Record]:
    """A run in one of the ways in which a run can be; several began at the same moment."""
    began = NOW - (number // 3) * 600 * SECOND
    found: list[Record] = []
    if number % 9 != 8:  # else a stub: nothing but a task is known of it
        name = ["Alpha", "beta", "50% _off_", "Ünï"][number % 4]
        found.append(RunStarted(at=began, name=name, owner=f"user{number % 2}", host=f"login{number % 3}", version="1"))
    for task in range(number % 4):
        found.append(TaskDescribed(at=began, origin="parsl", number=task, app="app"))
        state = ["exec_done", "failed", "running"][task % 3]
        found.append(TaskState(at=began + SECOND, origin="parsl", number=task, try_=0, state=state))
    match number % 6:
        case 0:
            found.append(RunEnded(at=began + number * SECOND, completed=1, failed=0))
        case 1:
            found.append(RunEnded(at=began + number * SECOND, completed=1, failed=2))
        case 2:
            found.append(RunEnded(at=began + number * SECOND, exit="SIGKILL"))
        case 3:
            found.append(RunHeartbeat(at=NOW - SECOND))
        case 4:
            found.append(RunHeartbeat(at=NOW + 3 * 86_400 * SECOND))  # a clock that is wrong
    return found or [TaskDescribed(at=began, origin="parsl", number=0, app="app")]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    Writer(opened).write([part for number in range(40) for part in batch(f"run-{number}", records(number))])
    yield opened
    opened.close()


KEYS: dict[Order, Callable[[RunRow], Any]] = {
    "began": lambda row: row.began,
    "duration": lambda row: (row.ended or row.latest) - row.began,
    "tasks": lambda row: row.tasks,
    "done": lambda row: row.states.get("exec_done", 0),
    "failed": lambda row: row.states.get("failed", 0),
    "state": lambda row: row.state,
    "owner": lambda row: row.owner or "",
    "host": lambda row: row.host or "",
    "version": lambda row: row.version or "",
}


def all_pages(store: Store, wanted: Wanted, order: Order, descending: bool, limit: int = 7) -> list[RunRow]:
    rows: list[RunRow] = []
    while True:
        after = rows[-1].key if rows else None
        page = run_page(store, wanted, order=order, descending=descending, after=after, limit=limit)
        rows += page
        if len(page) < limit:
            return rows


def test_pages_hold_every_run_once_in_every_order(store: Store) -> None:
    ids = {run.id for run in list_runs(store, limit=1000)}
    for order in ORDERS:
        for descending in (False, True):
            rows = all_pages(store, Wanted(now=NOW), order, descending)
            assert len(rows) == len(ids), order
            assert {row.id for row in rows} == ids
            if order in KEYS:
                keys = [KEYS[order](row) for row in rows]
                assert keys == sorted(keys, reverse=descending), order


@pytest.mark.parametrize("lag", [0, 3600 * SECOND])
def test_states_are_those_of_liveness(store: Store, lag: int) -> None:
    wanted = Wanted(now=NOW, lag=lag)
    expected = {run.id: liveness(run, NOW, lag) for run in list_runs(store, limit=1000)}
    assert {row.id: row.state for row in run_page(store, wanted, limit=1000)} == expected
    for state in sorted(set(expected.values())):
        chosen = run_page(store, Wanted(now=NOW, lag=lag, state=state), limit=1000)
        assert {row.id for row in chosen} == {run for run, other in expected.items() if other == state}
        assert run_total(store, Wanted(now=NOW, lag=lag, state=state)) == len(chosen)


def test_filters_take_what_a_person_typed_as_it_is(store: Store) -> None:
    found = run_page(store, Wanted(search="50% _OFF_"), limit=1000)
    assert found
    assert {row.name for row in found} == {"50% _off_"}
    assert run_total(store, Wanted(search="%")) == len(found)
    assert {row.owner for row in run_page(store, Wanted(owner="user1"), limit=1000)} == {"user1"}
    assert values_of(store, "host") == ["login0", "login1", "login2"]


def test_marks_change_with_what_is_written_and_only_then(store: Store, database_url: str) -> None:
    reader = connect(database_url, read_only=True)
    watch = Watch(reader)
    one, other = (find_run(store, name) for name in ("run-3", "run-9"))
    assert one is not None
    assert other is not None
    before, marks = watch.mark(), run_marks(reader, [one.id, other.id])
    assert watch.mark() == before
    state = TaskState(at=NOW - 10**9, origin="parsl", number=0, try_=3, state="failed")
    Writer(store).write(batch("run-3", [state]))
    assert watch.mark() != before
    after = run_marks(reader, [one.id, other.id, 10**6])
    assert after[one.id] != marks[one.id]
    assert after[other.id] == marks[other.id]
    assert set(after) == {one.id, other.id}
    watch.close()
    assert watch.mark() is not None
    watch.close()
    reader.close()
