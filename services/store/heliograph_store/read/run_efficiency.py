"""The efficiency of a run as a page shows it: whole, by app, by node, and its workers over time.

In: a `Store` and a run. Out: one `Efficiency`; `efficiency` says what the numbers mean. A run of up to `stints.MANY`
tasks is computed try by try. Of a larger one the busy time of workers comes from the rollup by node and minute, and
CPU and memory from some thousand tries, evenly chosen (`complete` is False then).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heliograph_store.read.busy_rollup import BusyGrid
from heliograph_store.read.efficiency import (
    Occupancy,
    Occupied,
    Pool,
    Share,
    Stint,
    cpu_share,
    grouped_by,
    memory_share,
    occupation,
    over_time,
    spread,
    worker_share,
)
from heliograph_store.read.load import HostLoad, host_busy_of, load_of
from heliograph_store.read.runs import Run, app_counts
from heliograph_store.read.stints import MANY, pools_of, stints_of
from heliograph_store.store import Store


@dataclass(frozen=True, kw_only=True)
class OfApp:
    """Of an app; None: tries whose task was not described yet."""

    app: str | None
    cpu: Share
    memory: Share


@dataclass(frozen=True, kw_only=True)
class OfHost:
    """Of a node's workers."""

    host: str | None
    workers: Share


@dataclass(frozen=True, kw_only=True)
class HostUse:
    """What a run's nodes did over time, and in all."""

    load: HostLoad
    shares: Sequence[OfHost]


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """`tries` is how many CPU and memory were computed from; when they are not all, `complete` is False."""

    workers: Share
    cpu: Share
    memory: Share
    apps: Sequence[OfApp]
    hosts: Sequence[OfHost]
    moments: Sequence[Occupancy]
    tries: int
    complete: bool


def efficiency_of(store: Store, run: Run, *, buckets: int = 200) -> Efficiency:
    """The run's efficiency up to its last signs. By primary keys; see `stints_of`."""
    tasks = sum(app.total for app in app_counts(store, run.id))
    pools = pools_of(store, run)
    read = stints_of(store, run, pools, tasks_in_run=tasks)
    by_app = grouped_by(read.stints, lambda stint: stint.app)
    if read.complete:
        hosts, moments = exact(pools, read.stints, buckets)
    else:
        hosts, moments = from_rollup(pools, host_busy_of(store, run, buckets))
    of_apps = [
        OfApp(app=app, cpu=cpu_share(some), memory=memory_share(some))
        for app, some in sorted(by_app.items(), key=lambda item: item[0] or "")
    ]
    return Efficiency(
        workers=sum((host.workers for host in hosts), Share()),
        cpu=sum((one.cpu for one in of_apps), Share()),
        memory=sum((one.memory for one in of_apps), Share()),
        apps=of_apps,
        hosts=hosts,
        moments=moments,
        tries=len(read.stints),
        complete=read.complete,
    )


def host_use(store: Store, run: Run, *, buckets: int = 160) -> HostUse:
    """How much ran where, and worker efficiency by node alone: of a large run without reading any try."""
    tasks = sum(app.total for app in app_counts(store, run.id))
    rows = host_busy_of(store, run, buckets)
    shares = efficiency_of(store, run).hosts if tasks <= MANY else from_rollup(pools_of(store, run), rows)[0]
    return HostUse(load=load_of(rows), shares=shares)


def exact(pools: Sequence[Pool], stints: Sequence[Stint], buckets: int) -> tuple[list[OfHost], list[Occupancy]]:
    """Try by try."""
    occupied: list[Occupied] = occupation(pools, stints)
    by_host = grouped_by(occupied, lambda o: o.pool.host)
    hosts = [OfHost(host=host, workers=worker_share(by_host[host])) for host in sorted(by_host, key=lambda h: h or "")]
    return hosts, over_time(occupied, buckets=buckets)


def from_rollup(pools: Sequence[Pool], busy: BusyGrid) -> tuple[list[OfHost], list[Occupancy]]:
    """From the busy time of nodes in stretches.

    A node has the workers that its pools told of, for as long as they were there, and from its first to its last sign
    as many more as its busiest stretch shows (threads register no number). Where tries still ran for longer than
    that (at the edges, before a pool had told of itself), what they ran is what there was.
    """
    grid = busy.used()
    if not grid.places:
        return [], []
    used_by = {name: grid.busy[:, index] for index, name in enumerate(grid.names)}
    pools_by_host = grouped_by(pools, lambda pool: pool.host)
    nothing = np.zeros(grid.places, dtype=np.int64)
    spent, there = grid.busy.sum(axis=1), np.zeros(grid.places)
    shares = []
    for host in sorted({*used_by, *pools_by_host}, key=lambda name: name or ""):
        used = used_by.get(host, nothing)
        available = _available(pools_by_host.get(host, ()), used, grid)
        there += available
        shares.append(OfHost(host=host, workers=Share(used=float(used.sum()), available=float(available.sum()))))
    parts = (grid.at, spent / grid.widths, there / grid.widths)
    moments = [
        Occupancy(at=at, busy=busy, available=available)
        for at, busy, available in zip(*(part.tolist() for part in parts), strict=True)
    ]
    return shares, moments


def _available(pools: Sequence[Pool], used: NDArray[np.int64], grid: BusyGrid) -> NDArray[np.float64]:
    """Worker-microseconds of one node in each stretch."""
    there = [(p.since, p.until, p.workers or 0) for p in pools]
    told = np.array(spread(there, grid.first, grid.width, grid.places))
    more = int(np.round((used - told) / grid.widths).max(initial=0))
    if more > 0:
        busy_at = grid.at[used != 0].tolist()
        since = min([*(p.since for p in pools), *busy_at[:1]])
        until = max([*(p.until for p in pools), *(min(at + grid.width, grid.until) for at in busy_at[-1:])])
        told = told + np.array(spread([(since, until, more)], grid.first, grid.width, grid.places))
    there_at_least: NDArray[np.float64] = np.maximum(used, told).astype(np.float64)
    return there_at_least
