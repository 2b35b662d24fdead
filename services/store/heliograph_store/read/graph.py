"""The graph of tasks: around one of them, or whole while the run is small enough to be drawn (by app: `app_graph`).

An edge goes from what is waited for to what waits, so that time runs along it; a join goes from the joined task to the
one that joined it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, func, select

from heliograph_store.read.query import MAX_PAGE, fetch, state_name, try_number
from heliograph_store.schema import DEPENDENCY, UNKNOWN_STATE, apps, edges, split_task, tasks, tries
from heliograph_store.store import Store

MAX_DEPTH: Final = 20
_TOGETHER: Final = 500
"""Keys in one query."""


@dataclass(frozen=True, kw_only=True)
class TaskNode:
    """A task in a graph. `app` and `state` are None where not known, `seconds` while its latest try has not ended."""

    task: int
    app: str | None
    state: str | None
    seconds: float | None

    @property
    def number(self) -> int:
        return split_task(self.task)[1]


@dataclass(frozen=True, kw_only=True)
class TaskGraph:
    """Tasks by key, and edges (from, to, is it a join) between places in that list.

    `hidden` tells, by place, how many neighbours a task has beyond those that are here (before it, after it).
    """

    nodes: Sequence[TaskNode]
    edges: Sequence[tuple[int, int, bool]]
    hidden: Mapping[int, tuple[int, int]] = field(default_factory=dict)


def whole_graph(store: Store, run_id: int, *, limit: int = 20_000) -> TaskGraph | None:
    """All tasks and edges of a run; None when it has more than `limit` tasks, or twenty times as many edges.

    By the run's part of the primary keys of `tasks` and `edges`.
    """
    nodes = _nodes(store, _query().where(tasks.c.run == run_id).order_by(tasks.c.task).limit(limit + 1))
    if len(nodes) > limit:
        return None
    query = select(edges.c.depends_on, edges.c.task, edges.c.join_try).where(edges.c.run == run_id)
    with store.connection() as connection:
        rows = connection.execute(query.limit(20 * limit + 1)).tuples().all()
    return _graph(nodes, rows) if len(rows) <= 20 * limit else None


def neighbourhood(
    store: Store, run_id: int, task: int, *, depth: int = 2, limit: int = 200, fan: int = 24
) -> TaskGraph | None:
    """A task with what it waited for and what waits for it, each `depth` steps far; None when there is no such task.

    At most `limit` tasks in all, and at most `fan` new ones on either side of one task: of those with many the first
    by key, and `hidden` counts the rest. Breadth first, both ways by an index of `edges`.
    """
    if not _nodes(store, _query().where(tasks.c.run == run_id, tasks.c.task == task)):
        return None
    found = {task}
    for ahead in (False, True):
        level = [task]
        for _ in range(min(depth, MAX_DEPTH)):
            new: list[int] = []
            for at in level:
                room = min(fan, limit - len(found))
                if room <= 0:
                    break
                others = [other for other in _beside(store, run_id, at, ahead=ahead, limit=fan) if other not in found]
                found.update(others[:room])
                new += others[:room]
            level = new
    keys = sorted(found)
    nodes = _nodes_of(store, run_id, keys)
    graph = _graph(nodes, _edges_between(store, run_id, keys))
    return TaskGraph(nodes=graph.nodes, edges=graph.edges, hidden=_hidden(store, run_id, graph))


def _beside(store: Store, run_id: int, task: int, *, ahead: bool, limit: int) -> list[int]:
    """The first tasks that wait for this one (`ahead`), or that it waits for."""
    here, other = (edges.c.depends_on, edges.c.task) if ahead else (edges.c.task, edges.c.depends_on)
    # `+ 0`, or SQLite goes through all edges of the run in this order instead of sorting those of the task.
    query = select((other + 0).label("other")).where(edges.c.run == run_id, here == task)
    query = query.distinct().order_by("other").limit(limit)
    with store.connection() as connection:
        return list(connection.execute(query).scalars())


def _hidden(store: Store, run_id: int, graph: TaskGraph) -> dict[int, tuple[int, int]]:
    place = {node.task: index for index, node in enumerate(graph.nodes)}
    before, after = [0] * len(place), [0] * len(place)
    for start, end in {(start, end) for start, end, _ in graph.edges}:
        after[start] += 1
        before[end] += 1
    hidden: dict[int, tuple[int, int]] = {}
    all_before = _degrees(store, run_id, list(place), edges.c.task, edges.c.depends_on)
    all_after = _degrees(store, run_id, list(place), edges.c.depends_on, edges.c.task)
    for task, index in place.items():
        more = (all_before.get(task, 0) - before[index], all_after.get(task, 0) - after[index])
        if any(more):
            hidden[index] = (max(0, more[0]), max(0, more[1]))
    return hidden


def _degrees(
    store: Store, run_id: int, keys: Sequence[int], here: ColumnElement[int], other: ColumnElement[int]
) -> dict[int, int]:
    counted: dict[int, int] = {}
    for some in _some(keys):
        query = (
            select(here.label("task"), func.count(other.distinct()).label("n"))
            .where(edges.c.run == run_id, here.in_(some))
            .group_by(here)
        )
        counted |= {row["task"]: row["n"] for row in fetch(store, query)}
    return counted


def _edges_between(store: Store, run_id: int, keys: Sequence[int]) -> list[tuple[int, int, int]]:
    rows: list[tuple[int, int, int]] = []
    with store.connection() as connection:
        for some in _some(keys):
            query = select(edges.c.depends_on, edges.c.task, edges.c.join_try).where(
                edges.c.run == run_id, edges.c.task.in_(some), edges.c.depends_on.in_(keys)
            )
            rows += connection.execute(query.limit(MAX_PAGE)).tuples().all()
    return rows


def _query() -> Select[Any]:
    latest = and_(
        tries.c.run == tasks.c.run, tries.c.task == tasks.c.task, tries.c.try_ == try_number(tasks.c.progress)
    )
    spent = func.coalesce(tries.c.elapsed, tries.c.ended - tries.c.began, tries.c.running_ended - tries.c.running)
    return select(tasks.c.task, apps.c.name, tasks.c.progress, spent).select_from(
        tasks.outerjoin(apps, apps.c.id == tasks.c.app).outerjoin(tries, latest)
    )


def _nodes(store: Store, query: Select[Any]) -> list[TaskNode]:
    with store.connection() as connection:
        return [
            TaskNode(
                task=task,
                app=app,
                state=state_name(progress & UNKNOWN_STATE),
                seconds=None if spent is None else spent / 1e6,
            )
            for task, app, progress, spent in connection.execute(query).tuples()
        ]


def _nodes_of(store: Store, run_id: int, keys: Sequence[int]) -> list[TaskNode]:
    found: list[TaskNode] = []
    for some in _some(keys):
        found += _nodes(store, _query().where(tasks.c.run == run_id, tasks.c.task.in_(some)))
    return found


def _graph(nodes: Sequence[TaskNode], rows: Iterable[tuple[int, int, int]]) -> TaskGraph:
    """A graph of these nodes; tasks of which nothing but an edge is known are added without app and state."""
    found = list(rows)
    known = {node.task for node in nodes}
    only_named = {task for row in found for task in row[:2]} - known
    every = [*nodes, *(TaskNode(task=task, app=None, state=None, seconds=None) for task in only_named)]
    every.sort(key=lambda node: node.task)
    place = {node.task: index for index, node in enumerate(every)}
    between = [(place[start], place[end], join_try != DEPENDENCY) for start, end, join_try in found]
    return TaskGraph(nodes=every, edges=sorted(set(between)))


def _some(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    return (keys[at : at + _TOGETHER] for at in range(0, len(keys), _TOGETHER))
