"""The efficiency of a run as a page shows it: whole, by app, by node, and its workers over time.

In: a `Store` and a run. Out: one `Efficiency`; `efficiency` says what the numbers mean. A run of up to `stints.MANY`
tasks is computed try by try. Of a larger one the busy time of workers comes from the rollup by node and minute, and
CPU and memory from some thousand tries, evenly chosen (`complete` is False then).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heliograph_store.read.busy import Busy
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
from heliograph_store.read.grid import Grid
from heliograph_store.read.load import host_busy_of
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


def host_shares(store: Store, run: Run, *, buckets: int = 160) -> list[OfHost]:
    """Worker efficiency by node alone: of a large run without reading any try."""
    tasks = sum(app.total for app in app_counts(store, run.id))
    if tasks <= MANY:
        return list(efficiency_of(store, run).hosts)
    return from_rollup(pools_of(store, run), host_busy_of(store, run, buckets))[0]


def exact(pools: Sequence[Pool], stints: Sequence[Stint], buckets: int) -> tuple[list[OfHost], list[Occupancy]]:
    """Try by try."""
    occupied: list[Occupied] = occupation(pools, stints)
    by_host = grouped_by(occupied, lambda o: o.pool.host)
    hosts = [OfHost(host=host, workers=worker_share(by_host[host])) for host in sorted(by_host, key=lambda h: h or "")]
    return hosts, over_time(occupied, buckets=buckets)


def from_rollup(pools: Sequence[Pool], rows: Sequence[Busy]) -> tuple[list[OfHost], list[Occupancy]]:
    """From the busy time of nodes in stretches.

    A node has the workers that its pools told of, for as long as they were there, and from its first to its last sign
    as many more as its busiest stretch shows (threads register no number). Where tries still ran for longer than
    that (at the edges, before a pool had told of itself), what they ran is what there was.
    """
    if not rows:
        return [], []
    width, first = max(row.width for row in rows), min(row.at for row in rows)
    last = max(row.at + row.width for row in rows)  # the last stretch ends with the run
    places = -(-(last - first) // width)
    busy_by_host: dict[str | None, list[int]] = {}
    for row in rows:
        busy_by_host.setdefault(row.name, [0] * places)[(row.at - first) // width] += row.busy
    pools_by_host = grouped_by(pools, lambda pool: pool.host)
    total = [[0.0, 0.0] for _ in range(places)]
    shares = []
    for host in sorted({*busy_by_host, *pools_by_host}, key=lambda name: name or ""):
        used = busy_by_host.get(host, [0] * places)
        there = _available(pools_by_host.get(host, ()), used, Grid(first=first, last=last, width=width))
        for place, pair in enumerate(zip(used, there, strict=True)):
            total[place][0] += pair[0]
            total[place][1] += pair[1]
        shares.append(OfHost(host=host, workers=Share(used=sum(used), available=sum(there))))
    moments = []
    for place, (spent, available) in enumerate(total):
        at = first + place * width
        covered = min(width, last - at)
        moments.append(Occupancy(at=at, busy=spent / covered, available=available / covered))
    return shares, moments


def _available(pools: Sequence[Pool], used: Sequence[int], grid: Grid) -> list[float]:
    """Worker-microseconds of one node in each stretch."""
    places = range(len(used))
    told = spread(((p.since, p.until, p.workers or 0) for p in pools), grid.first, grid.width, len(used))
    more = max((round((used[i] - told[i]) / grid.covered(i)) for i in places), default=0)
    if more > 0:
        busy_at = [grid.first + i * grid.width for i in places if used[i]]
        since = min([*(p.since for p in pools), *busy_at[:1]])
        until = max([*(p.until for p in pools), *(min(at + grid.width, grid.last) for at in busy_at[-1:])])
        there = spread([(since, until, more)], grid.first, grid.width, len(used))
        told = [t + m for t, m in zip(told, there, strict=True)]
    return [float(max(u, t)) for u, t in zip(used, told, strict=True)]
