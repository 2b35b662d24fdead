"""Resources of nodes over time, thinned by the database to what a screen can show.

In: a `Store`, a run, and how many stretches of time are wanted. Out: one frozen point a stretch that has samples, with
the lowest and highest measured value beside the mean, so that no peak is lost; a stretch without samples has no point.
CPU is in cores, memory in bytes, rates in bytes per second; times are microseconds UTC, unknown is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Double, case, cast, func, select

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
from heliograph_store.schema import hosts, node_samples
from heliograph_store.store import Store


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
) -> Series:
    """CPU and memory of the run's nodes, or of one; points are `Level`.

    By the run's (and host's) part of the primary key of `node_samples`; grouped by the database.
    """
    m = node_samples.c
    chosen = _chosen(run_id, host, since, until)
    interval = sample_interval(store, run_id)
    grid = grid_over(store, node_samples, chosen, buckets, _step(interval, host))
    if grid is None:
        return NOTHING
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
        .where(chosen)
        .group_by(m.host, "bucket")
        .subquery()
    )
    how: dict[str, Callable[..., Any]] = {
        "cpu_low": func.min,
        "memory_low": func.min,
        "cpu_high": func.max,
        "memory_high": func.max,
    }
    query = (
        select(
            inner.c.bucket,
            func.count().label("nodes"),
            *(how.get(name, func.sum)(inner.c[name]).label(name) for name in _LEVELS),
        )
        .group_by(inner.c.bucket)
        .order_by(inner.c.bucket)
    )
    integers = ("cores", "memory_total")
    points = [
        Level(
            at=grid.middle(row["bucket"]),
            nodes=row["nodes"],
            **{name: whole(row[name]) if name in integers else real(row[name]) for name in _LEVELS},  # type: ignore[arg-type]
        )
        for row in fetch(store, query)
    ]
    return Series(width=grid.width, gap=grid.gap(interval), points=points)


def node_rates(
    store: Store,
    run_id: int,
    *,
    host: str | None = None,
    since: int | None = None,
    until: int | None = None,
    buckets: int = 300,
) -> Series:
    """Disk and network traffic of the run's nodes, or of one; points are `Rate`.

    By the run's (and host's) part of the primary key of `node_samples`, in whose order samples follow each other.
    """
    m = node_samples.c
    chosen = _chosen(run_id, host, since, until)
    interval = sample_interval(store, run_id)
    grid = grid_over(store, node_samples, chosen, buckets, _step(interval, host))
    if grid is None:
        return NOTHING
    columns = select(m.host, m.at, *(m[name] for name in _TOTALS)).where(chosen).order_by(m.host, m.at)
    with store.connection() as connection:
        # Plain tuples: one for every sample, of which there can be a hundred thousand.
        cursor = connection.execute(columns).cursor
        rows = np.array([] if cursor is None else cursor.fetchall(), dtype=np.float64).reshape(-1, 2 + len(_TOTALS))
    points = _rates(rows, grid, gap=max(3 * interval, IDLE))
    return Series(width=grid.width, gap=grid.gap(interval), points=points)


def _rates(rows: NDArray[np.float64], grid: Grid, *, gap: int) -> list[Rate]:
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
            pairs = zip(sums[:, column].tolist(), some[:, column].tolist(), strict=True)
            summed[name + suffix] = [value if there else None for value, there in pairs]
    return [
        Rate(at=grid.middle(int(b)), nodes=int(nodes[i]), **{name: values[i] for name, values in summed.items()})
        for i, b in enumerate(buckets)
    ]


def last_samples(store: Store, run_id: int) -> dict[str, int]:
    """When each host's latest node sample was taken: one step down the primary key of `node_samples` a host."""
    m = node_samples.c
    seen = select(m.host).where(m.run == run_id).distinct().subquery()
    latest = select(func.max(m.at)).where(m.run == run_id, m.host == seen.c.host).scalar_subquery()
    query = select(hosts.c.name, latest.label("at")).select_from(seen.join(hosts, hosts.c.id == seen.c.host))
    return {row["name"]: row["at"] for row in fetch(store, query)}


def sampled_hosts(store: Store, run_id: int) -> list[str]:
    """Names of the nodes that have samples, sorted."""
    return sorted(last_samples(store, run_id))


def _step(interval: int, host: str | None) -> int:
    """Where nodes are summed, a stretch shorter than the interval would hold some of them and not the others."""
    return interval * 3 // 2 if host is None else 1


def _chosen(run_id: int, host: str | None, since: int | None, until: int | None) -> ColumnElement[bool]:
    m = node_samples.c
    chosen = m.run == run_id
    if host is not None:
        chosen = chosen & (m.host == select(hosts.c.id).where(hosts.c.name == host).scalar_subquery())
    if since is not None:
        chosen = chosen & (m.at >= since)
    if until is not None:
        chosen = chosen & (m.at <= until)
    return chosen
