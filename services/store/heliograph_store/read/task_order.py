"""Which tasks stand on a page: keys of tasks in the order of a sort, by what one filters for.

In: a run, filters, a sort, and where the last page ended. Out: keys of tasks.

How it is quick: every filter names a set of tasks that an index keeps in some order, and rollups say how many there are
(`run_kinds`, `host_busy`, `run_measures`). When the smallest set is small, it is read whole and sorted. Otherwise every
set is a good part of the run, so the index that has the order asked for is read, and what does not match is passed
over until the page is full. An index that orders within an app (or an app, executor and state) gives one stream for
each, and the page is merged from the heads of the streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, union_all

from heliograph_store.measures import LARGEST, RUN_TIME, bucket_of
from heliograph_store.read.query import beyond, fetch, try_number
from heliograph_store.schema import (
    NUMBER_MASK,
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
    tries,
)
from heliograph_store.store import Store

Sort = Literal["task", "began", "took"]
Key = tuple[int | None, int]
"""The value of the sort (when the sort is not by task), and the task."""
SMALL: Final = 2_000
"""So many tasks may be read and sorted for one page, where the index of the sort can pass over others by itself."""
SMALL_ON_HOST: Final = 20_000
"""The same where each task that is passed over must be looked up."""
STREAMS: Final = 40
"""So many streams are read in one statement."""
MANY: Final = 1000
"""Kinds of tasks from which on reading through the run costs less than merging."""
_FIRST_RANK: Final = {"began": STATES.index("running"), "took": STATES.index("running_ended")}
"""The lowest state in which a task can have the value; one without a state (15) never has it."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a task must be; None asks for nothing. Executor and host are those of the latest try, `min_took` and
    `max_took` (microseconds, both included) its run time; `text` stands in the app's name, the paths, inputs or
    outputs, or is the task's number."""

    app: str | None = None
    state: str | None = None
    executor: str | None = None
    host: str | None = None
    min_took: int | None = None
    max_took: int | None = None
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A stretch of `ix_tasks_kind`: tasks of one app and executor in one state."""

    app: int
    executor: int
    state: int
    tasks: int


@dataclass(frozen=True, kw_only=True)
class _Search:
    """A page that is looked for: what must hold, in which order, from where on."""

    store: Store
    run: int
    filters: Filters
    everything: Sequence[_Kind]
    kinds: Sequence[_Kind]
    executor: int | None
    host: int | None
    sort: Sort
    descending: bool
    limit: int
    small: int | None = None
    after: Key | None = None
    without: ColumnElement[int] | None = None
    """Only tasks in which this column is NULL."""
    by_host: bool = False
    """Read along `ix_tries_host`."""

    @property
    def order(self) -> tuple[ColumnElement[int], ...]:
        if self.sort == "task":
            return (tries.c.task if self.by_host else tasks.c.task,)
        return tasks.c[self.sort], tasks.c.task


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
) -> list[int]:
    """Keys of one page of tasks. Rows without the value of the sort stand last, by their key. `small` replaces the
    limits up to which a set is read whole."""
    search = _search(store, run_id, filters)
    if search is None:
        return []
    search = replace(search, sort=sort, descending=descending, after=after, limit=limit, small=small)
    if sort == "task":
        return _page(search)
    found: list[int] = []
    if after is None or after[0] is not None:
        if any(_FIRST_RANK[sort] <= kind.state < UNKNOWN_STATE for kind in search.kinds):
            found = _page(search)
        after = None
    if len(found) < limit and filters.min_took is None and filters.max_took is None:
        rest = replace(search, sort="task", descending=False, after=after, limit=limit - len(found))
        rest = replace(rest, kinds=_kinds_without(search), without=tasks.c[sort])
        found += _page(rest) if rest.kinds else []
    return found


def _page(search: _Search) -> list[int]:
    sizes = {"kind": sum(kind.tasks for kind in search.kinds)}
    if search.host is not None:
        sizes["host"] = _tries_on(search)
    if search.filters.min_took is not None or search.filters.max_took is not None:
        sizes["took"] = _tries_between(search)
    source = min(sizes, key=lambda name: sizes[name])
    small = SMALL if search.host is None else SMALL_ON_HOST
    if sizes[source] > (small if search.small is None else search.small):
        by_task = [name for name in ("kind", "host") if name in sizes]
        source = min(by_task, key=lambda name: sizes[name]) if search.sort == "task" else search.sort
    if source == "host":
        search = replace(search, by_host=True)
        return _read(search, [_on_host(search)], ordered=search.sort == "task")
    if source == "kind":
        if len(search.kinds) == len(search.everything) or len(search.kinds) > MANY:
            return _read(search, [_of_run(search)], ordered=True)
        return _read(search, [_of_kind(search, kind) for kind in search.kinds], ordered=search.sort == "task")
    streams = [_of_app(search, app, source) for app in sorted({kind.app for kind in search.kinds})]
    return _read(search, streams, ordered=search.sort == source)


def _read(search: _Search, streams: Sequence[Select[Any]], *, ordered: bool) -> list[int]:
    """One page from these disjoint streams: from their heads when each is in the order of the sort."""
    found: list[Key] = []
    for at in range(0, len(streams), STREAMS):
        some = [_beyond(search, stream, ordered=ordered) for stream in streams[at : at + STREAMS]]
        if ordered:
            some = [select(_ordered(search, stream).subquery()) for stream in some]
        every = (union_all(*some) if len(some) > 1 else some[0]).subquery()
        columns = [every.c[column.name] for column in search.order]
        page = select(*columns).order_by(*(c.desc() if search.descending else c for c in columns)).limit(search.limit)
        found += [tuple(row.values()) for row in fetch(search.store, page)]
    return [key[-1] for key in sorted(found, reverse=search.descending)[: search.limit]]


def _ordered(search: _Search, stream: Select[Any]) -> Select[Any]:
    order = (column.desc() if search.descending else column for column in search.order)
    return stream.order_by(*order).limit(search.limit)


def _beyond(search: _Search, stream: Select[Any], *, ordered: bool) -> Select[Any]:
    if search.sort != "task":
        stream = stream.where(search.order[0].is_not(None))  # the indexes hold nothing else
    if search.without is not None:
        stream = stream.where(search.without.is_(None))
    if search.after is None:
        return stream
    last = search.after[-len(search.order) :]
    # Where another order is read, `+ 0` keeps a database from reading in this one after all.
    place = search.order if ordered else [column + 0 for column in search.order]
    return stream.where(beyond(place, last, descending=search.descending))


# -- streams: one stretch of an index each, and what else must hold ---------------------------------------------------


def _of_run(search: _Search) -> Select[Any]:
    return select(*search.order).where(tasks.c.run == search.run, *_others(search, "app", "executor", "state"))


def _of_kind(search: _Search, kind: _Kind) -> Select[Any]:
    t = tasks.c
    exact = (t.run == search.run, t.app == kind.app, t.runs_on == kind.executor, t.state == kind.state)
    return select(*search.order).where(*exact, *_others(search))


def _of_app(search: _Search, app: int, column: str) -> Select[Any]:
    """A stretch of `ix_tasks_began` or `ix_tasks_took`."""
    t = tasks.c
    exact = [t.run == search.run, t.app == app, t[column].is_not(None)]
    if column == "took":
        exact += _within(search, t.took)
        return select(*search.order).where(*exact, *_others(search, "executor", "state", but="took"))
    return select(*search.order).where(*exact, *_others(search, "executor", "state"))


def _on_host(search: _Search) -> Select[Any]:
    """A stretch of `ix_tries_host`; only the latest try of a task counts."""
    t, y = tasks.c, tries.c
    latest = (t.run == y.run) & (t.task == y.task) & (try_number(t.progress) == y.try_)
    query = select(*search.order).join_from(tries, tasks, latest)
    exact = (y.run == search.run, y.host == search.host)
    return query.where(*exact, *_others(search, "app", "executor", "state", but="host"))


def _others(search: _Search, *also: str, but: str = "") -> list[ColumnElement[bool]]:
    """What must hold beside the stretch of an index. `+ 0` keeps a database from trying another index for it."""
    t, filters = tasks.c, search.filters
    found: list[ColumnElement[bool]] = []
    if "app" in also and filters.app is not None:
        found.append(t.app + 0 == search.kinds[0].app)
    if "executor" in also and search.executor is not None:
        found.append(t.runs_on + 0 == search.executor)
    if "state" in also and filters.state is not None:
        found.append(t.state + 0 == search.kinds[0].state)
    if but != "took":
        found += _within(search, t.took + 0)
    if but != "host" and search.host is not None:
        y = tries.alias("y").c
        latest = (y.run == t.run) & (y.task == t.task) & (y.try_ == try_number(t.progress))
        found.append(exists().where(latest, y.host + 0 == search.host).correlate(tasks))
    if filters.text:
        found.append(_has_text(filters.text))
    return found


def _within(search: _Search, took: ColumnElement[int]) -> list[ColumnElement[bool]]:
    low, high = search.filters.min_took, search.filters.max_took
    found = [] if low is None else [took >= low]
    return found if high is None else [*found, took <= high]


def _has_text(text: str) -> ColumnElement[bool]:
    """`icontains` escapes % and _ of what a person typed."""
    t = tasks.c
    places = (t.inputs, t.outputs, t.stdin, t.stdout, t.stderr, t.hashsum)
    found = [place.icontains(text, autoescape=True) for place in places]
    named = select(apps.c.id).where(apps.c.name.icontains(text, autoescape=True))
    found.append((t.app + 0).in_(named))
    if text.isascii() and text.isdigit() and int(text) <= NUMBER_MASK:
        found.append(t.task.bitwise_and(NUMBER_MASK) == int(text))
    return or_(*found)


# -- how many ---------------------------------------------------------------------------------------------------------


def _search(store: Store, run_id: int, filters: Filters) -> _Search | None:
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
    everything = [_Kind(**row) for row in found]
    kinds = [
        kind
        for kind in everything
        if ids["app"] in {None, kind.app} and ids["executor"] in {None, kind.executor} and state in {None, kind.state}
    ]
    if not kinds:
        return None
    return _Search(
        store=store, run=run_id, filters=filters, everything=everything, kinds=kinds, executor=ids["executor"],
        host=ids["host"], sort="task", descending=False, limit=1,
    )  # fmt: skip


def _kinds_without(search: _Search) -> list[_Kind]:
    """Those of the search's kinds in which tasks without the value of the sort can be. Of most apps every task has it
    that came far enough: then counting along the index saves reading them all."""
    first, column = _FIRST_RANK[search.sort], tasks.c[search.sort]
    complete = set()
    for app in {kind.app for kind in search.kinds}:
        far = sum(k.tasks for k in search.everything if k.app == app and first <= k.state < UNKNOWN_STATE)
        have = select(func.count().label("n")).where(tasks.c.run == search.run, tasks.c.app == app, column.is_not(None))
        if fetch(search.store, have)[0]["n"] >= far:
            complete.add(app)
    return [k for k in search.kinds if k.app not in complete or not first <= k.state < UNKNOWN_STATE]


def _tries_on(search: _Search) -> int:
    c = host_busy.c
    query = select(func.sum(c.begins).label("n")).where(
        c.run == search.run, c.width == WIDTHS[1], c.host == search.host
    )
    return int(fetch(search.store, query)[0]["n"] or 0)


def _tries_between(search: _Search) -> int:
    """At least as many as there are tasks whose run time lies in the range."""
    c, filters = run_measures.c, search.filters
    low = bucket_of(min(max(filters.min_took or 0, 0), LARGEST))
    high = bucket_of(LARGEST if filters.max_took is None else min(max(filters.max_took, 0), LARGEST))
    query = select(func.sum(c.tries).label("n")).where(
        c.run == search.run, c.measure == RUN_TIME, c.bucket >= low, c.bucket <= high,
        c.app.in_({kind.app for kind in search.kinds}),
    )  # fmt: skip
    return int(fetch(search.store, query)[0]["n"] or 0)
