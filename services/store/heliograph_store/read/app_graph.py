"""The graph of a run by app: how often tasks of one app wait for tasks of another.

Counted while a run is small. Of a larger one, apps with few tasks are counted, and those with many are estimated from
ranges of tasks spread evenly over the run: exact numbers would need a row for every task, and nobody reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, select

from heliograph_store.read.query import fetch
from heliograph_store.read.ranges import ranges
from heliograph_store.schema import DEPENDENCY, apps, edges, run_states, tasks
from heliograph_store.store import Store

COUNTED: Final = 25_000
"""Tasks of a run up to which all are counted."""
FEW: Final = 2_000
"""Tasks of small apps, taken together, that are counted in a larger run."""
RANGES: Final = 32
SAMPLED: Final = 4_000
"""Tasks that are read in all ranges together."""


@dataclass(frozen=True, kw_only=True)
class AppEdge:
    """How often tasks of the app `end` wait for tasks of the app `start`: as a dependency, and by joining it.

    `about`: estimated from a part of the tasks of `end`.
    """

    start: str | None
    end: str | None
    dependencies: int
    joins: int
    about: bool = False


def app_edges(
    store: Store, run_id: int, *, counted: int = COUNTED, few: int = FEW, sampled: int = SAMPLED
) -> list[AppEdge]:
    """Edges of the condensed graph, by name. By primary keys and the index on `tasks (run, app)`."""
    sizes = {
        row["app"]: int(row["n"])
        for row in fetch(
            store,
            select(run_states.c.app, func.sum(run_states.c.tasks).label("n"))
            .where(run_states.c.run == run_id)
            .group_by(run_states.c.app),
        )
        if row["n"]
    }
    if sum(sizes.values()) <= counted:
        return _named(store, _Edges.of(_rows(store, run_id, (tasks.c.task >= 0,))), set())
    small = _small(sizes, few)
    found = _Edges.of(_rows(store, run_id, [tasks.c.app == app for app in small]))
    spans = ranges(store, tasks, run_id, pieces=RANGES, wanted=sampled)
    sample = _Edges.of(_rows(store, run_id, [tasks.c.task.between(*span) for span in spans]))
    weight = {app: max(1.0, sizes[app] / n) for app, n in sample.tasks.items() if app in sizes and app not in small}
    for key, number in sample.edges.items():
        if key[1] in weight:
            found.edges[key] = max(1, round(number * weight[key[1]]))
    return _named(store, found, set(weight))


@dataclass(frozen=True)
class _Edges:
    """Edges by (app waited for, app that waits, by joining?), and how many tasks of each app were looked at."""

    edges: Counter[tuple[int, int, bool]]
    tasks: Counter[int]

    @classmethod
    def of(cls, rows: Iterable[Sequence[Any]]) -> _Edges:
        found, seen = cls(Counter(), Counter()), set()
        for task, app, join_try, other in rows:
            if task not in seen:
                seen.add(task)
                found.tasks[app] += 1
            if join_try is not None:
                found.edges[(other or 0, app, join_try != DEPENDENCY)] += 1
        return found


def _rows(store: Store, run_id: int, parts: Iterable[ColumnElement[bool]]) -> Iterator[Sequence[Any]]:
    """(task, its app, join_try, app of what it waits for) for every edge of these tasks, and once for one without."""
    before = tasks.alias("before")
    whole = tasks.outerjoin(edges, and_(edges.c.run == tasks.c.run, edges.c.task == tasks.c.task)).outerjoin(
        before, and_(before.c.run == edges.c.run, before.c.task == edges.c.depends_on)
    )
    wanted = select(tasks.c.task, tasks.c.app, edges.c.join_try, before.c.app).select_from(whole)
    with store.connection() as connection:
        for part in parts:
            yield from connection.execute(wanted.where(tasks.c.run == run_id, part)).tuples()


def _small(sizes: dict[int, int], few: int) -> set[int]:
    """The smallest apps, as many as together have few tasks."""
    found: set[int] = set()
    total = 0
    for app, size in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
        total += size
        if total > few:
            break
        found.add(app)
    return found


def _named(store: Store, found: _Edges, about: set[int]) -> list[AppEdge]:
    ids = {app for start, end, _ in found.edges for app in (start, end)}
    name = {row["id"]: row["name"] for row in fetch(store, select(apps).where(apps.c.id.in_(ids)))}
    pairs = {key[:2] for key in found.edges}
    made = [
        AppEdge(
            start=name.get(start),
            end=name.get(end),
            dependencies=found.edges[(start, end, False)],
            joins=found.edges[(start, end, True)],
            about=end in about,
        )
        for start, end in pairs
    ]
    return sorted(made, key=lambda edge: (edge.start or "", edge.end or ""))
