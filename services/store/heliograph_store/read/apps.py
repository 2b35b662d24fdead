"""Apps: what each app's tasks came to, and how long its tries ran, waited and how much they used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

from sqlalchemy import ColumnElement, func, select

from heliograph_store.measures import CPU, MEMORY, RUN_TIME, WAITING, bounds_of
from heliograph_store.read.query import fetch
from heliograph_store.read.runs import AppCounts, app_counts
from heliograph_store.schema import NO_APP, apps, run_apps, run_failures, run_measures
from heliograph_store.store import Store

Measure = Literal["run_time", "waiting", "memory", "cpu"]
MEASURES: Final[Mapping[Measure, int]] = {"run_time": RUN_TIME, "waiting": WAITING, "memory": MEMORY, "cpu": CPU}
"""Of every try: how long its function ran, from launch to begin, peak memory, user and system time. The last two only
of tries with a process of their own."""
_Bucket = tuple[int, int, int]
"""Number, tries, total."""


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Tries whose measure (microseconds or bytes) is at least `low` and less than `high`; `total` is their sum."""

    low: int
    high: int
    tries: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One measure over the tries of an app, in microseconds or bytes. `count` and `total` are exact; quantiles and the
    maximum are within five percent, and exact where only one try is in the neighbourhood."""

    count: int
    total: int
    median: int
    p95: int
    max: int

    @property
    def mean(self) -> float:
        return self.total / self.count


@dataclass(frozen=True, kw_only=True)
class AppSummary:
    """An app in a run (None: tasks not described yet). `failures` are tries that went wrong, `retries` tries after a
    task's first, `memoized` tasks answered from a memo, `joins` tasks that wait for tasks they submitted."""

    app: str | None
    states: Mapping[str | None, int]
    tries: int
    retries: int
    memoized: int
    joins: int
    failures: int
    run_time: Distribution | None
    waiting: Distribution | None
    memory: Distribution | None
    cpu: Distribution | None

    @property
    def tasks(self) -> int:
        return sum(self.states.values())

    @property
    def done(self) -> int:
        return self.states.get("exec_done", 0) + self.states.get("memo_done", 0)

    @property
    def failed(self) -> int:
        return self.states.get("failed", 0) + self.states.get("dep_fail", 0)


def app_summaries(store: Store, run_id: int) -> list[AppSummary]:
    """Every app of a run, the one with the most tasks first.

    From rollups, each by the run's part of its primary key: what this costs depends on the number of apps alone.
    """
    counts = _by_app(store, run_id)
    failures = _failures(store, run_id)
    measures = _measures(store, run_id)
    return [
        _summary(states, counts.get(states.app, (0, 0, 0)), failures.get(states.app, 0), measures.get(states.app, {}))
        for states in app_counts(store, run_id)
    ]


def app_histogram(store: Store, run_id: int, app: str | None, measure: Measure) -> list[Bin]:
    """The bins of one measure of one app that hold something, lowest first; neighbouring ones touch, and each is about
    a tenth wider than the one before. By the app's part of the primary key of `run_measures`."""
    c = run_measures.c
    query = (
        select(c.bucket, c.tries, c.total)
        .where(c.run == run_id, c.app == _app_id(app), c.measure == MEASURES[measure])
        .order_by(c.bucket)
    )
    return [_bin((row["bucket"], row["tries"], row["total"])) for row in fetch(store, query)]


def distribution(bins: Sequence[Bin]) -> Distribution | None:
    """What the bins of one histogram (sorted) say; None when there are none. Bins of several apps may be merged with
    `merged` first."""
    count = sum(b.tries for b in bins)
    if not count:
        return None
    return Distribution(
        count=count,
        total=sum(b.total for b in bins),
        median=_quantile(bins, count, 0.5),
        p95=_quantile(bins, count, 0.95),
        max=_quantile(bins, count, 1.0),
    )


def merged(histograms: Sequence[Sequence[Bin]]) -> list[Bin]:
    """One histogram of the same measure over several apps."""
    everything = sorted((b for bins in histograms for b in bins), key=lambda b: b.low)
    return [
        Bin(low=low, high=high, tries=sum(b.tries for b in same), total=sum(b.total for b in same))
        for (low, high), group in groupby(everything, key=lambda b: (b.low, b.high))
        if (same := list(group))
    ]


def _quantile(bins: Sequence[Bin], count: int, share: float) -> int:
    """The value of the try at that share of all tries, sorted: the middle of its bin, unless it is there alone."""
    rank, seen = max(1, round(share * count)), 0
    for b in bins:
        seen += b.tries
        if seen >= rank:
            return b.total if b.tries == 1 else (b.low + b.high - 1) // 2
    raise AssertionError("the bins hold `count` tries")


def _summary(
    states: AppCounts, counts: tuple[int, int, int], failures: int, measures: Mapping[int, list[_Bucket]]
) -> AppSummary:
    of = {name: distribution([_bin(b) for b in measures.get(number, ())]) for name, number in MEASURES.items()}
    return AppSummary(
        app=states.app,
        states=states.states,
        tries=counts[0],
        retries=counts[1],
        joins=counts[2],
        memoized=states.states.get("memo_done", 0),
        failures=failures,
        run_time=of["run_time"],
        waiting=of["waiting"],
        memory=of["memory"],
        cpu=of["cpu"],
    )


def _by_app(store: Store, run_id: int) -> dict[str | None, tuple[int, int, int]]:
    c = run_apps.c
    query = (
        select(apps.c.name, c.tries, c.retries, c.joins)
        .select_from(run_apps.outerjoin(apps, apps.c.id == c.app))
        .where(c.run == run_id)
    )
    return {row["name"]: (row["tries"], row["retries"], row["joins"]) for row in fetch(store, query)}


def _failures(store: Store, run_id: int) -> dict[str | None, int]:
    c = run_failures.c
    counted = select(c.app, func.sum(c.tries).label("tries")).where(c.run == run_id).group_by(c.app).subquery()
    query = select(apps.c.name, counted.c.tries).select_from(counted.outerjoin(apps, apps.c.id == counted.c.app))
    return {row["name"]: int(row["tries"]) for row in fetch(store, query)}


def _measures(store: Store, run_id: int) -> dict[str | None, dict[int, list[_Bucket]]]:
    c = run_measures.c
    query = (
        select(apps.c.name, c.measure, c.bucket, c.tries, c.total)
        .select_from(run_measures.outerjoin(apps, apps.c.id == c.app))
        .where(c.run == run_id)
        .order_by(c.app, c.measure, c.bucket)
    )
    found: dict[str | None, dict[int, list[_Bucket]]] = {}
    for row in fetch(store, query):
        of_app = found.setdefault(row["name"], {})
        of_app.setdefault(row["measure"], []).append((row["bucket"], row["tries"], row["total"]))
    return found


def _bin(bucket: _Bucket) -> Bin:
    low, high = bounds_of(bucket[0])
    return Bin(low=low, high=high, tries=bucket[1], total=bucket[2])


def _app_id(app: str | None) -> ColumnElement[int] | int:
    return NO_APP if app is None else select(apps.c.id).where(apps.c.name == app).scalar_subquery()
