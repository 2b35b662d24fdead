"""The efficiency of a run as a page shows it: whole, by app, by node, and its workers over time.

In: a `Store` and a run. Out: one `Efficiency`; `efficiency` says what the numbers mean. A run of up to `stints.MANY`
tasks is computed try by try. Of a larger one the busy time of workers comes from the rollup by node and minute, and
CPU and memory from some thousand tries, evenly chosen (`complete` is False then).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    worker_share,
)
from heliograph_store.read.runs import Run, app_counts
from heliograph_store.read.stints import pools_of, stints_of
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
    hosts, moments = _exact(pools, read.stints, buckets) if read.complete else ([], [])
    return Efficiency(
        workers=sum((host.workers for host in hosts), Share()),
        cpu=cpu_share(read.stints),
        memory=memory_share(read.stints),
        apps=[
            OfApp(app=app, cpu=cpu_share(some), memory=memory_share(some))
            for app, some in sorted(by_app.items(), key=lambda item: item[0] or "")
        ],
        hosts=hosts,
        moments=moments,
        tries=len(read.stints),
        complete=read.complete,
    )


def _exact(pools: Sequence[Pool], stints: Sequence[Stint], buckets: int) -> tuple[list[OfHost], list[Occupancy]]:
    occupied: list[Occupied] = occupation(pools, stints)
    by_host = grouped_by(occupied, lambda o: o.pool.host)
    hosts = [OfHost(host=host, workers=worker_share(by_host[host])) for host in sorted(by_host, key=lambda h: h or "")]
    return hosts, over_time(occupied, buckets=buckets)
