"""How much runs where: tries by node over time, and on one node now.

In: a `Store` and a run. Out: frozen values; times are microseconds UTC. All from the rollup by node and minute, or by
the index that knows which tries reach into a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from heliograph_store.read.busy import BusyGrid, Interval, busy_grid, intervals
from heliograph_store.read.runs import Run
from heliograph_store.store import Store

MOST: Final = 1000


@dataclass(frozen=True, kw_only=True)
class HostLoad:
    """Tries that ran at a time on each node, on average over stretches of `width` that begin at `at`; and `running`,
    how many had no end at the last sign of the run."""

    width: int = 0
    at: Sequence[int] = ()
    busy: Mapping[str, Sequence[float]] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)


def last_sign(run: Run) -> int:
    """How far what is known of a run reaches."""
    return max(run.ended or run.last_seen or run.began, run.began)


def host_load(store: Store, run: Run, *, buckets: int = 160) -> HostLoad:
    """Of the whole run, in at most about `buckets` stretches; see `busy`."""
    return load_of(host_busy_of(store, run, buckets))


def load_of(grid: BusyGrid) -> HostLoad:
    """The same from what `host_busy_of` gave."""
    known = [index for index, name in enumerate(grid.names) if name is not None]
    found = replace(
        grid, names=[grid.names[i] or "" for i in known], busy=grid.busy[:, known], running=grid.running[:, known]
    ).used()
    if not found.places:
        return HostLoad()
    load = (found.busy / found.widths[:, None]).T.tolist()
    last = found.running[-1].tolist()
    names = [name or "" for name in found.names]
    return HostLoad(
        width=found.width,
        at=found.at.tolist(),
        busy=dict(zip(names, load, strict=True)),
        running=dict(zip(names, last, strict=True)),
    )


def host_busy_of(store: Store, run: Run, buckets: int) -> BusyGrid:
    """Busy time by node over the whole run, up to its last sign."""
    until = max(last_sign(run), run.began + 1)
    return busy_grid(store, run.id, since=run.began, until=until, buckets=buckets, by="host")


def running_on(store: Store, run: Run, host: str, *, limit: int = MOST) -> list[Interval]:
    """The tries that run on a node at the last sign of the run, or whose end nobody told. Of a run that is over the
    latter; see `intervals`."""
    now = last_sign(run)
    found = intervals(store, run.id, since=now, until=now + 1, hosts=(host,), limit=limit)
    return [interval for interval in found if interval.ended is None]
