"""The workload as metrics: gauges, counters and histograms by app, state and executor, never by task, run or pid.

In: the store, and bounds for histograms. Out: counts to hand to Prometheus. Counts over all runs come from rollups;
histograms are made a run at a time, so that whoever scrapes computes again only what changed (`versions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, select, true

from heliograph.messages import FINAL
from heliograph_store.read.query import beyond, fetch, page_size, state_name, state_rank
from heliograph_store.schema import (
    RANK_BITS,
    apps,
    names,
    run_buckets,
    run_states,
    runs,
    tasks,
    tries,
)
from heliograph_store.store import Store

_FINAL_RANKS = sorted(state.rank for state in FINAL)
_LAUNCHED = func.coalesce(tries.c.launched_at, tries.c.launched)
_BEGAN = func.coalesce(tries.c.began, tries.c.running)
_ENDED = func.coalesce(tries.c.ended, tries.c.running_ended)
_DURATION = func.coalesce(tries.c.elapsed, _ENDED - _BEGAN)
"""Monotonic where the worker told it, else between the two ends on the worker's clock."""
_WAITED = _BEGAN - _LAUNCHED


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Tasks that are in a state now, over all runs. State None: described and nothing more."""

    app: str | None
    state: str | None
    tasks: int


@dataclass(frozen=True, kw_only=True)
class InFlight:
    """Tasks of runs that have not ended, that are not done, by executor of their latest try."""

    app: str | None
    state: str | None
    executor: str | None
    tasks: int


@dataclass(frozen=True, kw_only=True)
class Entered:
    """How many tries ever entered a state: a counter, over all runs."""

    app: str | None
    state: str
    entered: int


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A histogram: `counts[i]` tries took no longer than `bounds[i]` seconds and longer than the bound before; the last
    count is of those above every bound. `total` in seconds. `outcome` is the state the tries reached, `kind` 'duration'
    (of the function) or 'wait' (from launch to its beginning)."""

    kind: str
    app: str | None
    executor: str | None
    outcome: str | None
    counts: tuple[int, ...]
    total: float

    @property
    def tries(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A try that ended at the worker; durations in microseconds, None when unknown. `key` is its place in the list."""

    app: str | None
    executor: str | None
    state: str | None
    ended: int
    duration: int | None
    waited: int | None
    peak_rss: int | None
    key: tuple[int, int, int]


def workload(store: Store) -> list[Workload]:
    """Tasks by app and state over all runs; one pass over the rollup `run_states`."""
    s = run_states.c
    query = (
        select(apps.c.name.label("app"), s.state, func.sum(s.tasks).label("tasks"))
        .select_from(run_states.outerjoin(apps, apps.c.id == s.app))
        .group_by(apps.c.name, s.state)
        .having(func.sum(s.tasks) > 0)
        .order_by(apps.c.name, s.state)
    )
    return [
        Workload(app=row["app"], state=state_name(row["state"]), tasks=int(row["tasks"])) for row in fetch(store, query)
    ]


def entered(store: Store) -> list[Entered]:
    """Tries that entered each state over all runs; one pass over the rollup `run_buckets`."""
    b = run_buckets.c
    total = func.sum(b.entered).label("entered")
    query = (
        select(apps.c.name.label("app"), b.state, total)
        .select_from(run_buckets.outerjoin(apps, apps.c.id == b.app))
        .group_by(apps.c.name, b.state)
        .order_by(apps.c.name, b.state)
    )
    return [
        Entered(app=row["app"], state=state, entered=int(row["entered"]))
        for row in fetch(store, query)
        if (state := state_name(row["state"])) is not None
    ]


def in_flight(store: Store) -> list[InFlight]:
    """Tasks not done of runs not ended, by app, state and executor.

    Only runs whose rollup has such tasks are looked at; of those, a pass over their part of the primary key of `tasks`.
    """
    open_runs = (
        select(runs.c.id)
        .join(run_states, run_states.c.run == runs.c.id)
        .where(runs.c.ended.is_(None), run_states.c.tasks > 0, run_states.c.state.not_in(_FINAL_RANKS))
        .distinct()
    )
    rank = state_rank(tasks.c.progress)
    latest = and_(
        tries.c.run == tasks.c.run,
        tries.c.task == tasks.c.task,
        tries.c.try_ == tasks.c.progress.bitwise_rshift(RANK_BITS),
    )
    query = (
        select(
            apps.c.name.label("app"),
            rank.label("state"),
            names.c.name.label("executor"),
            func.count().label("tasks"),
        )
        .select_from(
            tasks.outerjoin(tries, latest)
            .outerjoin(apps, apps.c.id == tasks.c.app)
            .outerjoin(names, names.c.id == func.coalesce(tries.c.executor, tasks.c.executor))
        )
        .where(tasks.c.run.in_(open_runs), rank.not_in(_FINAL_RANKS))
        .group_by(apps.c.name, rank, names.c.name)
    )
    return [InFlight(**{**row, "state": state_name(row["state"])}) for row in fetch(store, query)]


def run_liveness_rows(store: Store) -> list[dict[str, Any]]:
    """What `liveness` needs of every run that has not ended, and of none that has; a scan of `runs`."""
    r = runs.c
    return fetch(
        store,
        select(r.id, r.run, r.ended, r.failed, r.exit, r.first_seen, r.last_seen, r.lease_until).where(
            r.ended.is_(None)
        ),
    )


def versions(store: Store) -> dict[int, int]:
    """A number for each run that grows whenever one of its tries entered a state; one pass over `run_buckets`.

    While it stays, the run's `distributions` stay what they are: nothing that arrives late is missed, and nothing
    that did not change is computed again.
    """
    b = run_buckets.c
    query = select(b.run, func.sum(b.entered).label("entered")).group_by(b.run)
    return {row["run"]: int(row["entered"]) for row in fetch(store, query)}


def distributions(store: Store, run_id: int, bounds: Sequence[float]) -> list[Distribution]:
    """Histograms of durations and waiting times of a run's tries, counted by the database.

    `bounds` in seconds, ascending. One pass over the run's part of the primary key of `tries`. A negative wait (two
    clocks that differ) counts as none, in the lowest bucket.
    """
    found: list[Distribution] = []
    for kind, value in (("duration", _DURATION), ("wait", _WAITED)):
        limits = [round(bound * 1_000_000) for bound in bounds]
        counts = [
            func.sum(case((_within(value, low, high), 1), else_=0)).label(f"b{i}")
            for i, (low, high) in enumerate(zip([None, *limits], [*limits, None], strict=True))
        ]
        positive = case((value > 0, value), else_=0)
        query = _of_tries(func.sum(positive).label("total"), *counts).where(tries.c.run == run_id, value.is_not(None))
        query = query.group_by(apps.c.name, names.c.name, tries.c.state)
        found += [
            Distribution(
                kind=kind,
                app=row["app"],
                executor=row["executor"],
                outcome=state_name(row["state"]),
                counts=tuple(int(row[f"b{i}"]) for i in range(len(counts))),
                total=int(row["total"]) / 1_000_000,
            )
            for row in fetch(store, query)
        ]
    return found


def finished_since(
    store: Store, run_id: int, *, after: tuple[int, int, int] | None = None, limit: int = 10_000
) -> list[Finished]:
    """Tries of a run by the time at which they ended; `after` is the `key` of the last one read.

    A walk over the run's part of the primary key of `tries`. What arrives late with an earlier time is not seen by
    who has read past it; `distributions` is for those who must not miss it.
    """
    key = (_ENDED, tries.c.task, tries.c.try_)
    query = _of_tries(
        _ENDED.label("ended"),
        _DURATION.label("duration"),
        _WAITED.label("waited"),
        tries.c.peak_rss,
        tries.c.task,
        tries.c.try_,
    )
    query = query.where(tries.c.run == run_id, _ENDED.is_not(None)).order_by(*key).limit(page_size(limit))
    if after is not None:
        query = query.where(beyond(key, after))
    return [
        Finished(
            app=row["app"],
            executor=row["executor"],
            state=state_name(row["state"]),
            ended=row["ended"],
            duration=row["duration"],
            waited=row["waited"],
            peak_rss=row["peak_rss"],
            key=(row["ended"], row["task"], row["try_"]),
        )
        for row in fetch(store, query)
    ]


def _of_tries(*columns: ColumnElement[Any]) -> Any:
    of_task = (tasks.c.run == tries.c.run) & (tasks.c.task == tries.c.task)
    return select(
        apps.c.name.label("app"), names.c.name.label("executor"), tries.c.state.label("state"), *columns
    ).select_from(
        tries.outerjoin(tasks, of_task)
        .outerjoin(apps, apps.c.id == tasks.c.app)
        .outerjoin(names, names.c.id == func.coalesce(tries.c.executor, tasks.c.executor))
    )


def _within(value: ColumnElement[int], low: int | None, high: int | None) -> ColumnElement[bool]:
    above = true() if low is None else value > low
    return and_(above, true() if high is None else value <= high)
