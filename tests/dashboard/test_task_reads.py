"""What the tasks' pages read: one task, its neighbours by pages, and how a run went on; on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from heliograph.messages import Record, TaskDescribed, TaskState
from heliograph_store.migrate import migrate
from heliograph_store.read import kinds, nodes, one_task, progress, runs, tasks, tries
from heliograph_store.read.one_task import DIRECTIONS, Beside
from heliograph_store.schema import MINUTE, STATES
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import START, batches, numbered, recorded_run


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def write(store: Store, records: list[tuple[str, Record]]) -> int:
    Writer(store).write(batches(numbered(records), 500))
    found = runs.find_run(store, "run-1")
    assert found is not None
    return found.id


def test_a_task_by_itself_is_what_its_whole_detail_says(store: Store) -> None:
    run = write(store, recorded_run(Random(3), tasks=60))
    seen = dict.fromkeys(DIRECTIONS, 0)
    for task in tasks.task_page(store, run):
        whole, alone = tasks.task_detail(store, run, task.task), one_task.task_record(store, run, task.task)
        assert whole is not None
        assert alone is not None
        for name in ("number", "app", "state", "try_", "is_join", "memoize", "from_memo", "invoked", "returned"):
            assert getattr(alone, name) == getattr(whole.task, name)
        for name in ("origin", "parent", "hashsum", "inputs", "outputs", "stdin", "stdout", "stderr", "resources"):
            assert getattr(alone, name) == getattr(whole, name)
        around = {
            "depends_on": whole.depends_on,
            "needed_by": whole.needed_by,
            "joined": [one for joined in whole.joined.values() for one in joined],
            "joined_by": whole.joined_by,
        }
        for direction in DIRECTIONS:
            found = one_task.neighbours(store, run, task.task, direction)
            assert [(one.task, one.number, one.app, one.state) for one in found] == [
                (other.task, other.number, other.app, other.state) for other in around[direction]
            ]
            assert one_task.neighbour_count(store, run, task.task, direction) == len(found)
            seen[direction] += len(found)
    assert all(seen.values()), "a direction was never tested"
    assert one_task.task_record(store, run, 1 << 40) is None


def test_many_neighbours_come_page_by_page(store: Store) -> None:
    many = [("run-1", described(number)) for number in range(120)]
    run = write(store, [*many, ("run-1", described(500, depends=list(range(120))))])
    found: list[Beside] = []
    after = None
    while page := one_task.neighbours(store, run, 500, "depends_on", after=after, limit=50):
        assert len(page) <= 50
        found += page
        after = page[-1].key
    assert [one.task for one in found] == list(range(120))
    assert [one.task for one in one_task.neighbours(store, run, 7, "needed_by")] == [500]


def described(number: int, depends: list[int] | None = None) -> TaskDescribed:
    return TaskDescribed(at=START, origin="", number=number, app="a", depends=depends or [])


def test_what_was_entered_equals_a_count_of_the_tries(store: Store) -> None:
    run = write(store, recorded_run(Random(5), tasks=200))
    for app in (None, "train"):
        times = progress.times_of_tries(store, run, app=app)
        assert len(times) == sum(1 for one in tries.try_page(store, run, limit=5000) if app in {None, one.app})
        for steps in (1, 3, 400):
            found = progress.entered_by_step(store, run, app=app, steps=steps)
            assert found.width % MINUTE == 0
            counted = Counter(
                (at // found.width * found.width, STATES[rank])
                for one in times
                for rank, at in enumerate(one)
                if at is not None
            )
            assert {(row.at, row.state): row.entered for row in found.rows} == counted
            assert len({row.at for row in found.rows}) <= steps + 1
            some = progress.entered_by_step(store, run, app=app, states=("failed", "pending"), steps=steps)
            assert some.width == found.width
            assert some.rows == [row for row in found.rows if row.state in {"failed", "pending"}]


def test_a_run_without_tries_has_no_steps(store: Store) -> None:
    run = write(store, [("run-1", described(1))])
    assert progress.entered_by_step(store, run).rows == []
    assert progress.times_of_tries(store, run) == []


def test_no_more_tries_are_read_than_asked_for(store: Store) -> None:
    states = [TaskState(at=START + n, origin="", number=n, try_=0, state="pending") for n in range(30)]
    run = write(store, [("run-1", state) for state in states])
    assert len(progress.times_of_tries(store, run, limit=20)) == 20


def test_tasks_that_are_over_are_counted_from_a_minute_on(store: Store) -> None:
    run = write(store, recorded_run(Random(5), tasks=200))
    over = [STATES.index(state) for state in ("exec_done", "memo_done", "failed", "dep_fail")]
    for app in (None, "train"):
        ends = [at for one in progress.times_of_tries(store, run, app=app) for at in (one[o] for o in over) if at]
        for since in (0, START + 2 * MINUTE, max(ends), max(ends) + MINUTE):
            found = progress.ended_since(store, run, since, app=app)
            assert found.tasks == sum(at // MINUTE >= since // MINUTE for at in ends)
            assert found.first == min(ends) // MINUTE * MINUTE
    assert progress.ended_since(store, run, 0, app="no such app") == progress.Ended(tasks=0, first=None)


def test_kinds_and_hosts_are_those_of_the_tasks(store: Store) -> None:
    run = write(store, recorded_run(Random(5), tasks=200))
    page = tasks.task_page(store, run, limit=1000)
    counted = Counter((task.app, task.executor, task.state) for task in page)
    assert {(kind.app, kind.executor, kind.state): kind.tasks for kind in kinds.task_kinds(store, run)} == counted
    assert set(kinds.host_names(store, run)) == {node.host for node in nodes.node_list(store, run)} - {None}
