"""How a run went on: which states its tries entered when, in bounded steps whatever the run's length.

In: a `Store`, a run, perhaps an app. Out: counts by stretch of time, or every try's times where they are few. For
figures of tasks by state over time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, cast, column, func, literal_column, select, text, true

from heliograph.messages import FINAL
from heliograph_store.read.query import fetch, page_size
from heliograph_store.schema import MINUTE, STATES, apps, run_apps, run_buckets, tasks, tries
from heliograph_store.store import Store

MAX_STEPS: Final = 2000
_OVER: Final = sorted(state.rank for state in FINAL)

Times = tuple[int | None, ...]
"""First times of each state, in the order of `schema.STATES`."""


class Entered(NamedTuple):
    """How many tries entered a state in the stretch of time that begins at `at`. A tuple, because there are many."""

    at: int
    state: str
    entered: int


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How many tasks were over from some time on, and the minute in which the first one ever was."""

    tasks: int
    first: int | None


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What happened, by stretches of `width` microseconds; `rows` by time."""

    width: int
    rows: list[Entered]


def entered_by_step(
    store: Store, run_id: int, *, app: str | None = None, states: Collection[str] = STATES, steps: int = 400
) -> Steps:
    """Tries that entered each of these states, in at most about `steps` stretches of whole minutes.

    From the rollup `run_buckets`, by the stretches of its primary key that an app's state has; summed by the database.
    """
    c = run_buckets.c
    ranks = [rank for rank, state in enumerate(STATES) if state in states]
    ids = _apps_of(store, run_id, app)
    first, last = _span(store, run_id, ids)
    if first is None or last is None:
        return Steps(width=MINUTE, rows=[])
    minutes = (last - first) // max(1, min(steps, MAX_STEPS)) + 1
    chosen = [c.run == run_id, c.entered > 0]
    if app is not None or len(ranks) < len(STATES):
        chosen += [c.app.in_(ids), c.state.in_(ranks)]
    # Literal, because PostgreSQL takes two expressions with parameters for different ones (in GROUP BY).
    begin = (c.minute - c.minute % literal_column(str(int(minutes)))).label("begin")
    query = (
        select(begin, c.state, cast(func.sum(c.entered), BigInteger).label("entered"))
        .where(*chosen)
        .group_by(literal_column("1"), c.state)
        .order_by(literal_column("1"), c.state)
    )
    with store.connection() as connection:
        rows = [
            Entered(begin * MINUTE, STATES[rank], entered)
            for begin, rank, entered in connection.execute(query).tuples()
            if 0 <= rank < len(STATES)
        ]
    return Steps(width=int(minutes) * MINUTE, rows=rows)


def _apps_of(store: Store, run_id: int, app: str | None) -> list[int]:
    """Ids of the run's apps, or of one."""
    c = run_apps.c
    query = select(c.app).where(c.run == run_id)
    return [row["app"] for row in fetch(store, query if app is None else query.where(c.app == _app(app)))]


def _span(store: Store, run_id: int, ids: Collection[int]) -> tuple[int | None, int | None]:
    """First and last minute in which a try of these apps entered any state: two steps down the primary key of
    `run_buckets` for each state of an app, however long the run is."""
    a, c = run_apps.c, run_buckets.c
    rows = ",".join(f"({rank})" for rank in range(len(STATES)))
    ranks = text(f"VALUES {rows}").columns(column("column1", BigInteger)).cte("ranks")
    mine = (c.run == a.run, c.app == a.app, c.state == ranks.c.column1, c.entered > 0)
    lowest, highest = (
        select(how(c.minute)).where(*mine).correlate(run_apps, ranks).scalar_subquery() for how in (func.min, func.max)
    )
    ends = select(lowest.label("lowest"), highest.label("highest")).select_from(run_apps.join(ranks, true()))
    each = ends.where(a.run == run_id, a.app.in_(ids)).subquery()
    (span,) = fetch(store, select(func.min(each.c.lowest).label("first"), func.max(each.c.highest).label("last")))
    return span["first"], span["last"]


def ended_since(store: Store, run_id: int, since: int, *, app: str | None = None) -> Ended:
    """Tasks that were over in the minute of `since` or later.

    From the rollup `run_buckets`, by the run's (and app's) part of its primary key.
    """
    c = run_buckets.c
    recent = func.coalesce(func.sum(c.entered).filter(c.minute >= since // MINUTE), 0)
    query = select(cast(recent, BigInteger).label("tasks"), func.min(c.minute).label("first")).where(
        c.run == run_id, c.state.in_(_OVER), c.entered > 0
    )
    if app is not None:
        query = query.where(c.app == _app(app))
    (row,) = fetch(store, query)
    return Ended(tasks=int(row["tasks"]), first=None if row["first"] is None else row["first"] * MINUTE)


def times_of_tries(store: Store, run_id: int, *, app: str | None = None, limit: int = 5000) -> list[Times]:
    """The times of a run's tries, in no order that means anything; at most `limit`, so ask for one more than you take.

    By the run's part of the primary key of `tries` (and of `tasks` for an app): for runs of few tasks.
    """
    query: Select[tuple[int | None, ...]] = select(*(tries.c[state] for state in STATES)).where(tries.c.run == run_id)
    if app is not None:
        of_task = (tasks.c.run == tries.c.run) & (tasks.c.task == tries.c.task)
        query = query.join(tasks, of_task).where(tasks.c.app == _app(app))
    with store.connection() as connection:
        return [tuple(row) for row in connection.execute(query.limit(page_size(limit)))]


def _app(name: str) -> ColumnElement[int]:
    return select(apps.c.id).where(apps.c.name == name).scalar_subquery()
