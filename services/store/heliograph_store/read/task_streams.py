"""Stretches of an index, one or several, and a page of tasks merged from them.

In: what must hold of a task, and from where on. Out: keys of tasks in order, and how far was looked.

What an index holds is passed over by itself, quickly. What must be looked up task by task (texts, the host, a run time
out of another order) is looked up for a bounded number of tasks a page: then the page says where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, exists, or_, select, union_all

from heliograph_store.read.query import beyond, fetch, try_number
from heliograph_store.schema import NUMBER_MASK, apps, tasks, tries
from heliograph_store.store import Store

Sort = Literal["task", "began", "took"]
Key = tuple[int | None, int]
"""The value of the sort (when the sort is not by task), and the task."""
Part = Literal["app", "executor", "state", "host", "took", "text", "without"]
STREAMS: Final = 40
"""So many streams are read in one statement."""
EAGER: Final = 20
"""The part of what may be looked up that is looked up first."""
FEW: Final = 20_000
"""So many tasks of one kind are rather read whole than found on a walk through the run."""
MARGIN: Final = 1000
"""Tasks of one kind that may come while their page is made."""
_TEXTS: Final = ("inputs", "outputs", "stdin", "stdout", "stderr", "hashsum")
_COMPARED: Final = (*_TEXTS, "app", "progress", "runs_on", "state", "began", "took")


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
class Kind:
    """A stretch of `ix_tasks_kind`: tasks of one app and executor in one state."""

    app: int
    executor: int
    state: int
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Search:
    """A page that is looked for: what must hold, in which order, from where on.

    `most` bounds how many tasks are looked up for it, None does not.
    """

    store: Store
    run: int
    filters: Filters
    everything: Sequence[Kind]
    kinds: Sequence[Kind]
    executor: int | None
    host: int | None
    sort: Sort
    descending: bool
    limit: int
    small: int | None = None
    most: int | None = None
    after: Key | None = None
    without: Literal["began", "took"] | None = None
    """Only tasks in which this is NULL."""
    by_host: bool = False
    """Read along `ix_tries_host`."""

    @property
    def order(self) -> tuple[ColumnElement[int], ...]:
        if self.sort == "task":
            return (tries.c.task if self.by_host else tasks.c.task,)
        return tasks.c[self.sort], tasks.c.task

    @property
    def asked(self) -> set[Part]:
        """What there is to be held."""
        f = self.filters
        given: dict[Part, bool] = {
            "app": f.app is not None, "executor": self.executor is not None, "state": f.state is not None,
            "host": self.host is not None, "took": f.min_took is not None or f.max_took is not None,
            "text": bool(f.text), "without": self.without is not None,
        }  # fmt: skip
        return {part for part, there in given.items() if there}


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Tasks of one stretch of an index. `rest` must be looked up; `ordered`: the index has the order of the sort, else
    the stretch is small and read whole. `most` is how many of it are looked up; with `rows` they are where they are
    found, and need no looking up."""

    query: Select[Any]
    rest: Sequence[Part] = ()
    ordered: bool
    most: int | None = None
    rows: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """Keys in order. `reached`: how far was looked when it stopped before the page was full; None at the end."""

    keys: Sequence[Key]
    reached: Key | None = None


def read(search: Search, streams: Sequence[Stream]) -> Found:
    """One page from these disjoint streams. First a few are looked up, which is enough for what is frequent."""
    few = [replace(one, most=max(1, one.most // EAGER)) if one.most is not None else one for one in streams]
    found = _read(search, few)
    if found.reached is None or len(found.keys) == search.limit:
        return found
    return _read(search, streams)


def _read(search: Search, streams: Sequence[Stream]) -> Found:
    found: list[Key] = []
    for at in range(0, len(streams), STREAMS):
        some = [_bounded(search, stream) for stream in streams[at : at + STREAMS]]
        every = (union_all(*some) if len(some) > 1 else some[0]).subquery()
        columns = [every.c[column.name] for column in search.order]
        page = select(*columns).order_by(*_directed(search, columns)).limit(search.limit)
        found += [tuple(row.values()) for row in fetch(search.store, page)]
    found = sorted(found, reverse=search.descending)[: search.limit]
    if len(streams) == 1 and len(found) == search.limit:
        return Found(keys=found)
    reached = [key for stream in streams if (key := _reached(search, stream)) is not None]
    if not reached:
        return Found(keys=found)
    # Behind the place where one stream stopped, others may not go on: what is missing there would be missed for ever.
    edge = max(reached) if search.descending else min(reached)
    kept = [key for key in found if (key >= edge if search.descending else key <= edge)]
    return Found(keys=kept, reached=None if len(kept) == search.limit else edge)


def _bounded(search: Search, stream: Stream) -> Select[Any]:
    """Of one stream the keys that match, at least as many as the page needs, or as may be looked up."""
    query = _beyond(search, stream)
    if stream.most is None:
        query = query.where(*held(search, stream.rest))
        return select(_in_order(search, query).subquery()) if stream.ordered else query
    if stream.rows:
        query = query.add_columns(*(tasks.c[name] for name in _COMPARED))
    seen = query.order_by(*_directed(search, search.order)).limit(stream.most).subquery()
    columns = [seen.c[column.name] for column in search.order]
    matching = select(*columns)
    if stream.rows:
        matching = matching.where(*held(search, stream.rest, seen.c))
    else:
        # `+ 0`, so that what was seen is gone through, and not looked up for every task of the run.
        itself = (tasks.c.run == search.run) & (tasks.c.task == seen.c.task + 0)
        matching = matching.join_from(seen, tasks, itself).where(*held(search, stream.rest))
    return select(matching.order_by(*_directed(search, columns)).limit(search.limit).subquery())


def _reached(search: Search, stream: Stream) -> Key | None:
    """The last key that was looked up; None when all were."""
    if stream.most is None:
        return None
    query = _beyond(search, stream).order_by(*_directed(search, search.order)).limit(1).offset(stream.most - 1)
    return next((tuple(row.values()) for row in fetch(search.store, query)), None)


def _in_order(search: Search, query: Select[Any]) -> Select[Any]:
    return query.order_by(*_directed(search, search.order)).limit(search.limit)


def _directed(search: Search, columns: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [column.desc() if search.descending else column for column in columns]


def _beyond(search: Search, stream: Stream) -> Select[Any]:
    # Where another order is read, `+ 0` keeps a database from reading in this one after all.
    place = search.order if stream.ordered else [column + 0 for column in search.order]
    query = stream.query
    if search.sort != "task":
        query = query.where(place[0].is_not(None))  # the indexes hold nothing else
    if search.after is None:
        return query
    return query.where(beyond(place, search.after[-len(place) :], descending=search.descending))


# -- streams ----------------------------------------------------------------------------------------------------------


def of_run(search: Search, *, most: int | None) -> Stream:
    """All of a run, by its part of the primary key of `tasks`: always in the order of tasks."""
    rest = _rest(search)
    query = select(*search.order).where(tasks.c.run == search.run)
    # Rows are read in any case, so what costs no more than a comparison needs no bound by itself.
    bounded = most if search.asked & {"host", "text"} else None
    return Stream(query=query, rest=rest, ordered=True, most=bounded, rows=True)


def of_kind(search: Search, kind: Kind, *, ordered: bool, most: int | None) -> Stream:
    t = tasks.c
    exact = (t.run == search.run, t.app == kind.app, t.runs_on == kind.executor, t.state == kind.state)
    rest = _rest(search, "app", "executor", "state")
    # Of a few tasks of which more must be known than the index says, SQLite would go through the whole run to have them
    # in order: they are read whole, too.
    if ordered and not (rest and most is None and kind.tasks <= FEW):
        query = select(*search.order).where(*exact)
        return Stream(query=query, rest=rest, ordered=True, most=most if rest else None)
    # The index alone says which they are. The limit, which is never reached, makes that a step of its own: SQLite would
    # go through the whole run to spare itself looking these up.
    keys = select(t.task).where(*exact).limit(2 * kind.tasks + MARGIN).subquery()
    itself = (t.run == search.run) & (t.task == keys.c.task + 0)
    return Stream(query=select(*search.order).join_from(keys, tasks, itself), rest=rest, ordered=False)


def of_app(search: Search, app: int, column: Literal["began", "took"], *, most: int | None) -> Stream:
    """A stretch of `ix_tasks_began` or `ix_tasks_took`, which also hold executor and state."""
    t = tasks.c
    query = select(*search.order).where(t.run == search.run, t.app == app, t[column].is_not(None))
    query = query.where(*held(search, search.asked & {"executor", "state"}))
    if column == "took":
        query = query.where(*_within(search, t.took))
        rest = _rest(search, "app", "executor", "state", "took")
    else:
        rest = _rest(search, "app", "executor", "state")
    ordered = search.sort == column
    return Stream(query=query, rest=rest, ordered=ordered, most=most if ordered and rest else None)


def on_host(search: Search, *, ordered: bool, most: int | None) -> Stream:
    """A stretch of `ix_tries_host`; only the latest try of a task counts."""
    t, y = tasks.c, tries.c
    latest = (t.run == y.run) & (t.task == y.task) & (try_number(t.progress) == y.try_)
    query = select(*search.order).join_from(tries, tasks, latest).where(y.run == search.run, y.host == search.host)
    rest = _rest(search, "host")
    return Stream(query=query, rest=rest, ordered=ordered, most=most if ordered and rest else None)


# -- what must hold ---------------------------------------------------------------------------------------------------


def _rest(search: Search, *but: Part) -> list[Part]:
    return sorted(search.asked - set(but))


def held(search: Search, parts: Sequence[Part] | set[Part], c: Any = tasks.c) -> list[ColumnElement[bool]]:
    """That these parts of what is asked for hold of a row. `+ 0` keeps a database from trying another index for it."""
    filters, found = search.filters, []
    for part in parts:
        if part == "app":
            found.append(c.app + 0 == search.kinds[0].app)
        elif part == "executor":
            found.append(c.runs_on + 0 == search.executor)
        elif part == "state":
            found.append(c.state + 0 == search.kinds[0].state)
        elif part == "took":
            found += _within(search, c.took + 0)
        elif part == "without":
            found.append(c[search.without or ""].is_(None))
        elif part == "host":
            found.append(_on(search, c))
        elif filters.text:
            found.append(_has_text(search.store, filters.text, c))
    return found


def _on(search: Search, c: Any) -> ColumnElement[bool]:
    y = tries.alias("y").c
    latest = (y.run == search.run, y.task == c.task, y.try_ == try_number(c.progress))
    return exists().where(*latest, y.host + 0 == search.host)


def _within(search: Search, took: ColumnElement[int]) -> list[ColumnElement[bool]]:
    low, high = search.filters.min_took, search.filters.max_took
    found = [] if low is None else [took >= low]
    return found if high is None else [*found, took <= high]


def _has_text(store: Store, text: str, c: Any) -> ColumnElement[bool]:
    """Signs that mean something in a pattern stand for themselves: a person typed them."""
    pattern = "%" + text.replace("/", "//").replace("%", "/%").replace("_", "/_") + "%"

    def has(column: ColumnElement[str]) -> ColumnElement[bool]:
        # SQLite's LIKE makes no difference between 'a' and 'A'; to ask it for lower letters would take twice as long.
        return column.like(pattern, escape="/") if store.sqlite else column.ilike(pattern, escape="/")

    found = [has(c[name]) for name in _TEXTS]
    found.append((c.app + 0).in_(select(apps.c.id).where(has(apps.c.name))))
    if text.isascii() and text.isdigit() and int(text) <= NUMBER_MASK:
        found.append(c.task.bitwise_and(NUMBER_MASK) == int(text))
    return or_(*found)
