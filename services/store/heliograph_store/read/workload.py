"""What a metrics page needs: totals over runs, and the tries that finished in a span of time, in bounded steps.

In: a `Store`, and for tries a run, a range of task keys and a span of time. Out: frozen values, times in microseconds
UTC. Made for who asks every few seconds and must not walk a run of a million tasks each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, case, func, literal, literal_column, or_, select

from heliograph.messages import FINAL, State
from heliograph_store.read.liveness import GOOD_EXITS
from heliograph_store.read.query import fetch, state_name
from heliograph_store.schema import agents, apps, names, run_states, runs, tasks, tries
from heliograph_store.store import Store

MAX_RUNS: Final = 10_000
LIFETIME: Final = 100 * 365 * 86_400 * 1_000_000
"""Microseconds."""
PLACES: Final = 1000
"""More than a histogram has buckets."""
_ENDS: Final = (*FINAL, State.FAIL_RETRYABLE)
_END_RANKS: Final = sorted(state.rank for state in _ENDS)
_ENDED_AT = func.coalesce(*(tries.c[state.value] for state in sorted(_ENDS, key=lambda s: s.rank)))
_LAUNCHED = func.coalesce(tries.c.launched_at, tries.c.launched)
_BEGAN = func.coalesce(tries.c.began, tries.c.running)


@dataclass(frozen=True, kw_only=True)
class RunSigns:
    """A run without an end, with what `liveness` wants to know."""

    id: int
    run: str
    name: str | None
    ended: int | None
    failed: int | None
    exit: str | None
    first_seen: int | None
    last_seen: int | None
    lease_until: int | None


@dataclass(frozen=True, kw_only=True)
class EndedRuns:
    """How many runs ended well and how many did not."""

    completed: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class StateCount:
    """Tasks of an app in a state, over several runs; None is 'not known yet'."""

    app: str | None
    state: str | None
    tasks: int


@dataclass(frozen=True, kw_only=True)
class FinishedTries:
    """Tries that reached their last state, and whose times fall between the same bounds.

    `waited_bucket` is the place of the first bound that is no less than the time, the number of bounds when there is
    none, and None when the time is not known; `waited` is the sum in seconds. The same for `ran`.
    """

    app: str | None
    executor: str | None
    state: str | None
    tries: int
    waited_bucket: int | None
    waited: float
    ran_bucket: int | None
    ran: float


@dataclass(frozen=True, kw_only=True)
class ActiveTries:
    """Tries that have not ended, by executor and state."""

    executor: str | None
    state: str | None
    tries: int


@dataclass(frozen=True, kw_only=True)
class AgentsSeen:
    """Agents, each once however many runs it serves, and the bytes that they had not shipped when they last told."""

    agents: int
    backlog: int


def open_runs(store: Store) -> list[RunSigns]:
    """Runs without an end, the newest `MAX_RUNS`; scans `runs`, the one table with a row a run."""
    columns = ("id", "run", "name", "ended", "failed", "exit", "first_seen", "last_seen", "lease_until")
    query = select(*(runs.c[name] for name in columns)).where(runs.c.ended.is_(None))
    return [RunSigns(**row) for row in fetch(store, query.order_by(runs.c.id.desc()).limit(MAX_RUNS))]


def ended_runs(store: Store) -> EndedRuns:
    """Counts of ended runs, by the rule of `liveness`; scans `runs`."""
    wrong = or_(runs.c.failed > 0, runs.c.exit.not_in(GOOD_EXITS))
    failed = func.coalesce(func.sum(case((wrong, 1), else_=0)), 0)
    query = select(func.count().label("ended"), failed.label("failed")).where(runs.c.ended.is_not(None))
    row = fetch(store, query)[0]
    return EndedRuns(completed=row["ended"] - int(row["failed"]), failed=int(row["failed"]))


def runs_seen_since(store: Store, since: int) -> list[int]:
    """Ids of the runs that something was heard of since then, the newest `MAX_RUNS`; scans `runs`."""
    query = select(runs.c.id).where(runs.c.last_seen >= since).order_by(runs.c.id.desc()).limit(MAX_RUNS)
    return [row["id"] for row in fetch(store, query)]


def state_counts(store: Store, run_ids: Sequence[int]) -> list[StateCount]:
    """Tasks by app and state over these runs (at most 500), from the rollup `run_states`."""
    c = run_states.c
    count = func.sum(c.tasks).label("tasks")
    query = (
        select(apps.c.name.label("app"), c.state, count)
        .select_from(run_states.outerjoin(apps, apps.c.id == c.app))
        .where(c.run.in_(run_ids[:500]), c.tasks > 0)
        .group_by(apps.c.name, c.state)
    )
    return [StateCount(app=r["app"], state=state_name(r["state"]), tasks=int(r["tasks"])) for r in fetch(store, query)]


def next_task(store: Store, run_id: int, at_least: int) -> int | None:
    """The first task key of the run from here on that has a try; by the primary key of `tries`."""
    query = select(func.min(tries.c.task).label("task")).where(tries.c.run == run_id, tries.c.task >= at_least)
    found: int | None = fetch(store, query)[0]["task"]
    return found


def finished_tries(
    store: Store,
    run_id: int,
    *,
    first: int,
    last: int,
    since: int,
    until: int,
    waited: Sequence[float],
    ran: Sequence[float],
) -> list[FinishedTries]:
    """Tries of the tasks `first` to `last` that ended after `since` and not after `until`, counted by the database.

    `waited` and `ran` are bounds in seconds, ascending; a negative wait (two clocks that differ) counts as none. Reads
    that range of the primary key of `tries`.
    """
    t = tries.c
    ended = (
        select(
            tasks.c.app,
            func.coalesce(t.executor, tasks.c.executor).label("executor"),
            t.state,
            _positive(_BEGAN - _LAUNCHED).label("waited"),
            _positive(
                func.coalesce(t.elapsed, t.ended - t.began, t.running_ended - t.running, _ENDED_AT - _BEGAN)
            ).label("ran"),
        )
        .select_from(tries.outerjoin(tasks, (tasks.c.run == t.run) & (tasks.c.task == t.task)))
        .where(t.run == run_id, t.task >= first, t.task <= last, t.state.in_(_END_RANKS))
        .where(since < _ENDED_AT, until >= _ENDED_AT)
        .subquery()
    )
    groups = (ended.c.app, ended.c.executor, ended.c.state)
    # Both bucket numbers in one, so that they are computed once a row. Names are joined to the groups: to every row
    # they would cost more than the count.
    buckets = (_bucket(ended.c.waited, waited) * PLACES + _bucket(ended.c.ran, ran)).label("buckets")
    counted = (
        select(
            *groups,
            buckets,
            func.count().label("tries"),
            func.coalesce(func.sum(ended.c.waited), 0).label("waited"),
            func.coalesce(func.sum(ended.c.ran), 0).label("ran"),
        )
        .group_by(*groups, literal_column("4"))
        .subquery()
    )
    c = counted.c
    query = select(
        apps.c.name.label("app"), names.c.name.label("executor"), c.state, c.buckets, c.tries, c.waited, c.ran
    ).select_from(counted.outerjoin(apps, apps.c.id == c.app).outerjoin(names, names.c.id == c.executor))
    return [_finished(row) for row in fetch(store, query)]


def _positive(value: ColumnElement[int]) -> ColumnElement[int]:
    """Never more than a lifetime: what a broken sender tells must not push a sum out of 64 bits."""
    return case((value < 0, literal(0, BigInteger)), (value > LIFETIME, literal(LIFETIME, BigInteger)), else_=value)


def _bucket(value: ColumnElement[int], bounds: Sequence[float]) -> ColumnElement[int]:
    """1 for the first bound, and 0 for a value that is not known."""
    steps = [(value <= literal(round(bound * 1_000_000), BigInteger), place) for place, bound in enumerate(bounds, 1)]
    return case((value.is_(None), 0), *steps, else_=len(bounds) + 1)


def _finished(row: dict[str, Any]) -> FinishedTries:
    """Sums come as Decimal from PostgreSQL."""
    waited, ran = divmod(row.pop("buckets"), PLACES)
    return FinishedTries(
        app=row["app"],
        executor=row["executor"],
        state=state_name(row["state"]),
        tries=row["tries"],
        waited_bucket=waited - 1 if waited else None,
        waited=int(row["waited"]) / 1_000_000,
        ran_bucket=ran - 1 if ran else None,
        ran=int(row["ran"]) / 1_000_000,
    )


def active_tries(store: Store, run_id: int, *, first: int, last: int) -> list[ActiveTries]:
    """Tries of the tasks `first` to `last` that have not ended; reads that range of the primary key of `tries`."""
    t = tries.c
    query = (
        select(names.c.name.label("executor"), t.state, func.count().label("tries"))
        .select_from(tries.outerjoin(names, names.c.id == t.executor))
        .where(t.run == run_id, t.task >= first, t.task <= last, t.state.not_in(_END_RANKS))
        .group_by(names.c.name, t.state)
    )
    return [
        ActiveTries(executor=row["executor"], state=state_name(row["state"]), tries=row["tries"])
        for row in fetch(store, query)
    ]


def agents_seen(store: Store, since: int) -> AgentsSeen:
    """Agents heard of since then that have not ended; scans `agents`."""
    a = agents.c
    query = select(
        func.count(a.agent.distinct()).label("agents"), func.coalesce(func.sum(a.depth), 0).label("backlog")
    ).where(a.last_seen >= since, func.coalesce(a.ended, 0) == 0)
    (row,) = fetch(store, query)
    return AgentsSeen(agents=int(row["agents"]), backlog=int(row["backlog"]))
