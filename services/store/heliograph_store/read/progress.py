"""How a run went on: which states its tries entered when, in bounded steps whatever the run's length.

In: a `Store`, a run, perhaps an app. Out: counts by stretch of time, or every try's times where they are few. For
figures of tasks by state over time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, Select, cast, func, literal_column, select

from heliograph.messages import FINAL
from heliograph_store.read.query import fetch, page_size, state_name
from heliograph_store.schema import MINUTE, STATES, apps, run_buckets, tasks, tries
from heliograph_store.store import Store

MAX_STEPS: Final = 2000
_OVER: Final = sorted(state.rank for state in FINAL)

Times = tuple[int | None, ...]
"""First times of each state, in the order of `schema.STATES`."""


@dataclass(frozen=True, kw_only=True)
class Entered:
    """How many tries entered a state in the stretch of time that begins at `at`."""

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


def entered_by_step(store: Store, run_id: int, *, app: str | None = None, steps: int = 400) -> Steps:
    """Tries that entered each state, in at most about `steps` stretches of whole minutes.

    From the rollup `run_buckets`, by the run's part of its primary key; summed by the database.
    """
    c = run_buckets.c
    chosen = (c.run == run_id) & (c.entered > 0)
    if app is not None:
        chosen = chosen & (c.app == _app(app))
    (span,) = fetch(store, select(func.min(c.minute).label("first"), func.max(c.minute).label("last")).where(chosen))
    if span["first"] is None:
        return Steps(width=MINUTE, rows=[])
    minutes = (span["last"] - span["first"]) // max(1, min(steps, MAX_STEPS)) + 1
    # Literal, because PostgreSQL takes two expressions with parameters for different ones (in GROUP BY).
    begin = (c.minute - c.minute % literal_column(str(int(minutes)))).label("begin")
    query = (
        select(begin, c.state, cast(func.sum(c.entered), BigInteger).label("entered"))
        .where(chosen)
        .group_by(literal_column("1"), c.state)
        .order_by(literal_column("1"), c.state)
    )
    rows = [
        Entered(at=int(row["begin"]) * MINUTE, state=state, entered=int(row["entered"]))
        for row in fetch(store, query)
        if (state := state_name(row["state"])) is not None
    ]
    return Steps(width=int(minutes) * MINUTE, rows=rows)


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
