"""Which tasks stand on a page: keys of tasks in the order of a sort, by what one filters for.

In: a run, filters, a sort, and where the last page ended. Out: keys of tasks, and where to go on.

How it is quick: every filter names a set of tasks that an index keeps in some order, and rollups say how many there are
(`run_kinds`, `host_busy`, `run_measures`). When the smallest set is small, it is read whole and sorted. Otherwise every
set is a good part of the run, so the index that has the order asked for is read, and what does not match is passed
over until the page is full, or enough was looked up (`task_streams`). An index that orders within an app (or an app,
executor and state) gives one stream for each, and the page is merged from the heads of the streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from sqlalchemy import func, select

from heliograph_store.measures import LARGEST, RUN_TIME, bucket_of
from heliograph_store.read.query import fetch
from heliograph_store.read.task_streams import (
    Filters,
    Found,
    Key,
    Kind,
    Search,
    Sort,
    Stream,
    of_app,
    of_kind,
    of_run,
    on_host,
    read,
)
from heliograph_store.schema import (
    STATES,
    UNKNOWN_STATE,
    WIDTHS,
    apps,
    host_busy,
    hosts,
    names,
    run_kinds,
    run_measures,
    tasks,
)
from heliograph_store.store import Store

__all__ = ["Filters", "Key", "Keys", "Sort", "task_keys"]

SMALL: Final = 2_000
"""So many tasks may be read and sorted for one page, where the index of the sort can pass over others by itself."""
SMALL_ON_HOST: Final = 20_000
"""The same where each task that is passed over must be looked up."""
MANY: Final = 1000
"""Kinds of tasks from which on reading through the run costs less than merging."""
MOST: Final = 12_000
"""So many tasks are looked up for one page, each somewhere else on the disk."""
IN_A_ROW: Final = 15
"""So many times as many when they stand one behind the other, in the order of tasks."""
_FIRST_RANK: Final = {"began": STATES.index("running"), "took": STATES.index("running_ended")}
"""The lowest state in which a task can have the value; one without a state (15) never has it."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Keys of tasks in order. `reached`: where to go on when looking stopped before the page was full; None when it is
    full, or nothing comes any more. `looked` is about how many tasks were looked up at most."""

    tasks: Sequence[int]
    reached: Key | None = None
    looked: int = 0


def task_keys(
    store: Store,
    run_id: int,
    filters: Filters,
    *,
    sort: Sort,
    descending: bool,
    after: Key | None,
    limit: int,
    small: int | None = None,
    most: int | None = None,
) -> Keys:
    """Keys of one page of tasks. Rows without the value of the sort stand last, by their key. `small` replaces the
    limits up to which a set is read whole; without `most` as many are looked up as it takes."""
    search = _search(store, run_id, filters)
    if search is None:
        return Keys(tasks=[])
    search = replace(search, sort=sort, descending=descending, after=after, limit=limit, small=small, most=most)
    looked = most or 0
    if sort == "task":
        looked, found = looked * IN_A_ROW, _page(search)
        return Keys(tasks=_tasks(found), reached=found.reached, looked=looked)
    first = Found(keys=[])
    if after is None or after[0] is not None:
        if any(_FIRST_RANK[sort] <= kind.state < UNKNOWN_STATE for kind in search.kinds):
            first = _page(search)
        if first.reached is not None:
            return Keys(tasks=_tasks(first), reached=first.reached, looked=looked)
        after = None
    if len(first.keys) >= limit or filters.min_took is not None or filters.max_took is not None:
        return Keys(tasks=_tasks(first))
    rest = replace(search, sort="task", descending=False, after=after, limit=limit - len(first.keys), without=sort)
    rest = replace(rest, kinds=_kinds_without(search))
    last = _page(rest) if rest.kinds else Found(keys=[])
    reached = None if last.reached is None else (None, last.reached[-1])
    return Keys(tasks=_tasks(first) + _tasks(last), reached=reached, looked=looked * IN_A_ROW)


def _tasks(found: Found) -> list[int]:
    return [key[-1] for key in found.keys]


def _page(search: Search) -> Found:
    sizes = {"kind": sum(kind.tasks for kind in search.kinds)}
    if search.host is not None:
        sizes["host"] = _tries_on(search)
    took = _tries_between(search) if "took" in search.asked else {}
    if took:
        sizes["took"] = sum(took.values())
    source = min(sizes, key=lambda name: sizes[name])
    small = SMALL if search.host is None else SMALL_ON_HOST
    if sizes[source] > (small if search.small is None else search.small):
        by_task = [name for name in ("kind", "host") if name in sizes]
        source = min(by_task, key=lambda name: sizes[name]) if search.sort == "task" else search.sort
    in_order = search.sort == "task"
    if source == "host":
        most = None if search.most is None else search.most
        return read(
            replace(search, by_host=True), [on_host(replace(search, by_host=True), ordered=in_order, most=most)]
        )
    if source == "kind":
        return read(search, _by_kind(search))
    return read(search, _by_app(search, "took" if source == "took" else "began", took))


def _by_kind(search: Search) -> list[Stream]:
    if not search.asked & {"app", "executor", "state"} or len(search.kinds) > MANY:
        return [of_run(search, most=None if search.most is None else search.most * IN_A_ROW)]
    each = None if search.most is None else max(1, search.most // len(search.kinds))
    return [of_kind(search, kind, ordered=search.sort == "task", most=each) for kind in search.kinds]


def _by_app(search: Search, column: Literal["began", "took"], took: dict[int, int]) -> list[Stream]:
    """A stream an app. Of apps that have few tasks of the run times asked for, these few are read whole."""
    wanted = sorted({kind.app for kind in search.kinds})
    small = SMALL if search.small is None else search.small
    few = {app for app in wanted if column != "took" and took.get(app, small + 1) * len(wanted) <= small}
    each = None if search.most is None else max(1, search.most // max(1, len(wanted) - len(few)))
    return [of_app(search, app, "took" if app in few else column, most=each) for app in wanted]


# -- how many ---------------------------------------------------------------------------------------------------------


def _search(store: Store, run_id: int, filters: Filters) -> Search | None:
    """None when no task of the run can match."""
    ids: dict[str, int | None] = {}
    wanted = (("app", apps, filters.app), ("executor", names, filters.executor), ("host", hosts, filters.host))
    for column, table, name in wanted:
        rows = [] if name is None else fetch(store, select(table.c.id).where(table.c.name == name))
        if name is not None and not rows:
            return None
        ids[column] = rows[0]["id"] if rows else None
    state = None if filters.state is None else UNKNOWN_STATE
    if filters.state in STATES:
        state = STATES.index(filters.state)
    c = run_kinds.c
    found = fetch(store, select(c.app, c.executor, c.state, c.tasks).where(c.run == run_id))
    everything = [Kind(**row) for row in found]
    kinds = [
        kind
        for kind in everything
        if ids["app"] in {None, kind.app} and ids["executor"] in {None, kind.executor} and state in {None, kind.state}
    ]
    if not kinds:
        return None
    search = Search(
        store=store, run=run_id, filters=filters, everything=everything, kinds=kinds, executor=ids["executor"],
        host=ids["host"], sort="task", descending=False, limit=1,
    )  # fmt: skip
    if "took" in search.asked:
        possible = _tries_between(search)
        search = replace(search, kinds=[kind for kind in kinds if kind.app in possible])
    return search if search.kinds else None


def _kinds_without(search: Search) -> list[Kind]:
    """Those of the search's kinds in which tasks without the value of the sort can be. Of most apps every task has it
    that came far enough: then counting along the index saves looking up very many."""
    first, column = _FIRST_RANK[search.sort], tasks.c[search.sort]
    far = [k for k in search.kinds if first <= k.state < UNKNOWN_STATE]
    if sum(kind.tasks for kind in far) <= SMALL_ON_HOST:
        return list(search.kinds)
    complete = set()
    for app in {kind.app for kind in far}:
        reached = sum(k.tasks for k in search.everything if k.app == app and first <= k.state < UNKNOWN_STATE)
        have = select(func.count().label("n")).where(tasks.c.run == search.run, tasks.c.app == app, column.is_not(None))
        if fetch(search.store, have)[0]["n"] >= reached:
            complete.add(app)
    return [k for k in search.kinds if k.app not in complete or not first <= k.state < UNKNOWN_STATE]


def _tries_on(search: Search) -> int:
    c = host_busy.c
    query = select(func.sum(c.begins).label("n")).where(
        c.run == search.run, c.width == WIDTHS[1], c.host == search.host
    )
    return int(fetch(search.store, query)[0]["n"] or 0)


def _tries_between(search: Search) -> dict[int, int]:
    """App → at least as many as there are tasks of it whose run time lies in the range, where there is any."""
    c, filters = run_measures.c, search.filters
    low = bucket_of(min(max(filters.min_took or 0, 0), LARGEST))
    high = bucket_of(LARGEST if filters.max_took is None else min(max(filters.max_took, 0), LARGEST))
    query = (
        select(c.app, func.sum(c.tries).label("n"))
        .where(
            c.run == search.run, c.measure == RUN_TIME, c.bucket >= low, c.bucket <= high,
            c.app.in_({kind.app for kind in search.kinds}),
        )
        .group_by(c.app)
    )  # fmt: skip
    return {row["app"]: int(row["n"]) for row in fetch(search.store, query) if row["n"]}
