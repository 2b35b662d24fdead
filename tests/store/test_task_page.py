"""Pages of tasks: every combination of filters and sorts, paged to the end, holds what a plain search finds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import Any

import pytest

from heliograph_store.migrate import migrate
from heliograph_store.read.runs import find_run
from heliograph_store.read.task_order import Filters, Sort, task_keys
from heliograph_store.read.tasks import Task, page_key, task_page
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import batches, numbered, recorded_run

TASKS = 100
SORTS: tuple[Sort, ...] = ("task", "began", "took")
FILTERS: list[dict[str, Any]] = [
    {},
    {"app": "simulate"},
    {"state": "failed"},
    {"state": "exec_done"},
    {"state": "pending"},
    {"app": "train", "state": "exec_done"},
    {"executor": "htex"},
    {"executor": "htex", "app": "collect"},
    {"host": "n1"},
    {"host": "n1", "app": "simulate", "state": "exec_done"},
    {"min_took": 5},
    {"min_took": 0, "max_took": 4},
    {"max_took": 5, "app": "train"},
    {"text": "out.TXT"},
    {"text": "17"},
    {"text": "trai", "state": "exec_done"},
    {"text": "100%_"},
    {"app": "nobody"},
    {"executor": "nobody"},
    {"host": "nobody"},
    {"state": "joining"},
]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    Writer(opened).write(batches(numbered(recorded_run(Random(5), tasks=TASKS)), 500))
    yield opened
    opened.close()


def matches(task: Task, *, text: str | None = None, **filters: Any) -> bool:
    if text is not None:
        number = text.isdigit() and task.number == int(text)
        # The stream's tasks differ in these texts only: app, stdout (of those that were launched) and the hash.
        hashed = f"{task.number:032x}" if task.try_ is not None and task.state != "dep_fail" else ""
        out = "out.txt" if task.state not in {"memo_done", "dep_fail"} else ""
        if not (number or any(text.lower() in place for place in (task.app or "", hashed, out))):
            return False
    low, high = filters.pop("min_took", None), filters.pop("max_took", None)
    if (low is not None or high is not None) and task.took is None:
        return False
    if (low is not None and task.took < low) or (high is not None and task.took > high):
        return False
    return all(getattr(task, name) == value for name, value in filters.items())


def in_order(tasks: list[Task], sort: Sort, descending: bool) -> list[int]:
    if sort == "task":
        return sorted((t.task for t in tasks), reverse=descending)
    value = {t.task: page_key(t, sort)[0] for t in tasks}
    having = sorted(((v, t) for t, v in value.items() if v is not None), reverse=descending)
    return [t for _, t in having] + sorted(t for t, v in value.items() if v is None)


@pytest.mark.parametrize(
    ("small", "most"),
    [(0, None), (1000, None), (0, 300)],
    ids=["along the sort", "from the smallest set", "some looked up a page"],
)
def test_every_filter_in_every_order(store: Store, small: int, most: int | None) -> None:
    run = find_run(store, "run-1")
    assert run is not None
    everything = task_page(store, run.id, limit=1000)
    assert len(everything) == TASKS
    by_key = {task.task: task for task in everything}
    seen = 0
    # What is bounded takes many pages, so of these every other filter will do.
    for filters, sort, descending in product(FILTERS[:: 2 if most else 1], SORTS, (False, True)):
        expected = in_order([t for t in everything if matches(t, **filters)], sort, descending)
        found: list[int] = []
        after = None
        while True:
            page = task_keys(
                store, run.id, Filters(**filters), sort=sort, descending=descending, after=after, limit=34,
                small=small, most=most,
            )  # fmt: skip
            assert most is not None or page.reached is None, "without a bound nothing stops before the end"
            found += page.tasks
            after = page.reached or (page_key(by_key[found[-1]], sort) if page.tasks else None)
            if after is None:
                break
        assert found == expected, (filters, sort, descending)
        seen += len(found)
    assert seen > 10 * TASKS, "otherwise the filters find nothing"


def test_a_page_goes_on_where_the_last_one_ended(store: Store) -> None:
    run = find_run(store, "run-1")
    assert run is not None
    for sort in SORTS:
        whole = task_page(store, run.id, sort=sort, descending=True, limit=1000)
        first = task_page(store, run.id, sort=sort, descending=True, limit=40)
        rest = task_page(store, run.id, sort=sort, descending=True, after=page_key(first[-1], sort), limit=1000)
        assert first + rest == whole
