"""Resources of nodes over time, thinned by the database to what a screen can show.

In: a `Store`, a run, and how many stretches of time are wanted. Out: one frozen point a stretch that has samples, with
the lowest and highest measured value beside the mean, so that no peak is lost; a stretch without samples has no point.
CPU is in cores, memory in bytes, rates in bytes per second; times are microseconds UTC, unknown is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Double, Select, case, cast, func, select

from heliograph_store.read.grid import (
    IDLE,
    NOTHING,
    SECOND,
    Grid,
    Series,
    grid_over,
    real,
    sample_interval,
    whole,
)
from heliograph_store.read.query import fetch
from heliograph_store.read.sampled import spans_of
from heliograph_store.schema import hosts, node_samples
from heliograph_store.store import Store
from heliograph_store.values import MAX_TIME


@dataclass(frozen=True, kw_only=True)
class Level:
    """CPU and memory of nodes in one stretch.

    `cpu` (cores busy) and `memory` (bytes used) are sums of the nodes' means, `cores` and `memory_total` what these
    nodes have. `cpu_low` to `memory_high` are shares (0 to 1) of a single node's: the lowest and highest sample.
    """

    at: int
    nodes: int
    cpu: float | None
    cores: int | None
    cpu_low: float | None
    cpu_high: float | None
    memory: float | None
    memory_total: int | None
    memory_low: float | None
    memory_high: float | None


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Traffic of nodes in one stretch, in bytes per second, between one sample and the next.

    The plain names are sums of the nodes' means; `_low` and `_high` sums of each node's lowest and highest rate: of
    one node these are its peaks, of several their sum lies in between. A counter that fell (a reboot) gives no rate.
    """

    at: int
    nodes: int
    disk_read: float | None
    disk_read_low: float | None
    disk_read_high: float | None
    disk_write: float | None
    disk_write_low: float | None
    disk_write_high: float | None
    net_received: float | None
    net_received_low: float | None
    net_received_high: float | None
    net_sent: float | None
    net_sent_low: float | None
    net_sent_high: float | None


MANY: Final = 30_000
"""Samples that are read at most for all nodes together; of more, every second or third node stands for the others."""
_LEVELS: Final = ("cpu", "cores", "cpu_low", "cpu_high", "memory", "memory_total", "memory_low", "memory_high")
_TOTALS: Final = ("disk_read", "disk_write", "net_received", "net_sent")


def node_levels(
    store: Store,
    run_id: int,
    *,
    host: str | None = None,
    since: int | None = None,
    until: int | None = None,
    buckets: int = 300,
    many: int = MANY,
) -> Series:
    """CPU and memory of the run's nodes, or of one; points are `Level`. Of all nodes about `many` samples are read.

    By the run's (and host's) part of the primary key of `node_samples`; grouped by the database.
    """
    asked = _asked(store, run_id, _Filter(host=host, since=since, until=until), buckets, many)
    if asked is None:
        return NOTHING
    return asked.series([_level(row, asked) for row in fetch(store, _levels_of(asked))])


def _levels_of(asked: _Asked) -> Select[Any]:
    """Each node's mean and peaks in each stretch, and of these the sums and extremes over the nodes."""
    m, grid = node_samples.c, asked.grid
    used = cast(m.memory_used, Double) / func.nullif(m.memory_total, 0)
    cores = func.coalesce(m.cpu_count, 1)
    inner = (
        select(
            grid.of(m.at).label("bucket"),
            (cast(func.avg(m.cpu_percent), Double) * func.max(cores) / 100).label("cpu"),
            case((func.count(m.cpu_percent) > 0, func.max(cores))).label("cores"),
            (func.min(m.cpu_percent) / 100).label("cpu_low"),
            (func.max(m.cpu_percent) / 100).label("cpu_high"),
            cast(func.avg(m.memory_used), Double).label("memory"),
            func.max(m.memory_total).label("memory_total"),
            func.min(used).label("memory_low"),
            func.max(used).label("memory_high"),
        )
        .where(asked.rows)
        .group_by(m.host, "bucket")
        .subquery()
    )
    how: dict[str, Callable[..., Any]] = {
        "cpu_low": func.min,
        "memory_low": func.min,
        "cpu_high": func.max,
        "memory_high": func.max,
    }
    return (
        select(
            inner.c.bucket,
            func.count().label("nodes"),
            *(how.get(name, func.sum)(inner.c[name]).label(name) for name in _LEVELS),
        )
        .group_by(inner.c.bucket)
        .order_by(inner.c.bucket)
    )


def _level(row: Mapping[str, Any], asked: _Asked) -> Level:
    return Level(
        at=asked.grid.middle(row["bucket"]),
        nodes=row["nodes"],
        cpu=asked.all_of(row["cpu"]),
        cores=whole(asked.all_of(row["cores"])),
        cpu_low=real(row["cpu_low"]),
        cpu_high=real(row["cpu_high"]),
        memory=asked.all_of(row["memory"]),
        memory_total=whole(asked.all_of(row["memory_total"])),
        memory_low=real(row["memory_low"]),
        memory_high=real(row["memory_high"]),
    )


def node_rates(
    store: Store,
    run_id: int,
    *,
    host: str | None = None,
    since: int | None = None,
    until: int | None = None,
    buckets: int = 300,
    many: int = MANY,
) -> Series:
    """Disk and network traffic of the run's nodes, or of one; points are `Rate`.

    By the run's (and host's) part of the primary key of `node_samples`, in whose order samples follow each other.
    """
    m = node_samples.c
    asked = _asked(store, run_id, _Filter(host=host, since=since, until=until), buckets, many)
    if asked is None:
        return NOTHING
    grid, chosen, interval = asked.grid, asked.rows, asked.interval
    columns = select(m.host, m.at, *(m[name] for name in _TOTALS)).where(chosen).order_by(m.host, m.at)
    with store.connection() as connection:
        # Plain tuples: one for every sample, of which there can be a hundred thousand.
        cursor = connection.execute(columns).cursor
        rows = np.array([] if cursor is None else cursor.fetchall(), dtype=np.float64).reshape(-1, 2 + len(_TOTALS))
    points = _rates(rows, grid, gap=max(3 * interval, IDLE), scale=asked.scale)
    return asked.series(points)


def _rates(rows: NDArray[np.float64], grid: Grid, *, gap: int, scale: float) -> list[Rate]:
    """From (host, time, totals) in that order. Compared and grouped here: windows over many rows take the databases
    twice as long."""
    if not len(rows):
        return []
    host, at, totals = rows[:, 0], rows[:, 1], rows[:, 2:]
    bucket = (at - grid.first) // grid.width
    with np.errstate(divide="ignore", invalid="ignore"):
        elapsed, grown = np.diff(at)[:, None], np.diff(totals, axis=0)
        follows = (np.diff(host) == 0)[:, None] & (elapsed > 0) & (elapsed <= gap) & (grown >= 0)
        rates = np.vstack([np.full((1, len(_TOTALS)), np.nan), np.where(follows, grown * SECOND / elapsed, np.nan)])
    starts = np.flatnonzero(np.r_[True, (np.diff(host) != 0) | (np.diff(bucket) != 0)])
    known = np.add.reduceat(~np.isnan(rates), starts, axis=0, dtype=np.int64)
    empty = known == 0
    each = {
        "": np.add.reduceat(np.nan_to_num(rates), starts, axis=0) / np.maximum(known, 1),
        "_low": np.minimum.reduceat(np.where(np.isnan(rates), np.inf, rates), starts, axis=0),
        "_high": np.maximum.reduceat(np.where(np.isnan(rates), -np.inf, rates), starts, axis=0),
    }
    buckets, place = np.unique(bucket[starts], return_inverse=True)
    nodes = np.bincount(place)
    some = np.zeros((len(buckets), len(_TOTALS)), dtype=bool)
    np.logical_or.at(some, place, ~empty)
    summed: dict[str, list[float | None]] = {}
    for suffix, values in each.items():
        sums = np.zeros((len(buckets), len(_TOTALS)))
        np.add.at(sums, place, np.where(empty, 0.0, values))
        for column, name in enumerate(_TOTALS):
            pairs = zip((sums[:, column] * scale).tolist(), some[:, column].tolist(), strict=True)
            summed[name + suffix] = [value if there else None for value, there in pairs]
    return [
        Rate(at=grid.middle(int(b)), nodes=int(nodes[i]), **{name: values[i] for name, values in summed.items()})
        for i, b in enumerate(buckets)
    ]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Which samples are read, in which stretches; and how many nodes they stand for."""

    rows: ColumnElement[bool]
    grid: Grid
    interval: int
    chosen: int
    nodes: int

    @property
    def scale(self) -> float:
        return self.nodes / self.chosen

    def all_of(self, value: Any) -> float | None:
        """A sum as it would be over all nodes."""
        number = real(value)
        return None if number is None else number * self.scale

    def series(self, points: Sequence[Any]) -> Series:
        gap = self.grid.gap(self.interval)
        return Series(width=self.grid.width, gap=gap, points=points, chosen=self.chosen, nodes=self.nodes)


@dataclass(frozen=True, kw_only=True)
class _Filter:
    host: str | None
    since: int | None
    until: int | None

    def rows(self, run_id: int) -> ColumnElement[bool]:
        m = node_samples.c
        chosen = m.run == run_id
        if self.host is not None:
            chosen = chosen & (m.host == select(hosts.c.id).where(hosts.c.name == self.host).scalar_subquery())
        if self.since is not None:
            chosen = chosen & (m.at >= self.since)
        if self.until is not None:
            chosen = chosen & (m.at <= self.until)
        return chosen


def _asked(store: Store, run_id: int, wanted: _Filter, buckets: int, many: int) -> _Asked | None:
    """None when there are no samples."""
    rows = wanted.rows(run_id)
    interval = sample_interval(store, run_id)
    if wanted.host is not None:
        grid = grid_over(store, node_samples, rows, buckets)
        return None if grid is None else _Asked(rows=rows, grid=grid, interval=interval, chosen=1, nodes=1)
    spans = spans_of(store, run_id)
    if not spans:
        return None
    first = max(min(first for _, first, _ in spans), wanted.since or 0)
    last = min(max(last for _, _, last in spans), wanted.until or MAX_TIME)
    if last < first:
        return None
    # Where nodes are summed, a stretch shorter than the interval would hold some of them and not the others.
    grid = Grid.over(first, last, buckets, interval * 3 // 2)
    ids = sorted(host for host, _, _ in spans)
    about = sum(max(0, min(until, last) - max(since, first)) // interval for _, since, until in spans)
    some = ids[:: max(1, min(-(-about // many), len(ids) // 4))]
    if len(some) < len(ids):
        rows = rows & node_samples.c.host.in_(some)
    return _Asked(rows=rows, grid=grid, interval=interval, chosen=len(some), nodes=len(ids))
