"""How much runs where: tries by node over time, and on one node now.

In: a `Store` and a run. Out: frozen values; times are microseconds UTC. All from the rollup by node and minute, or by
the index that knows which tries reach into a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from heliograph_store.read.busy import Busy, Interval, busy, intervals
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


def load_of(busy_hosts: Sequence[Busy]) -> HostLoad:
    """The same from what `host_busy_of` gave."""
    rows = [row for row in busy_hosts if row.name is not None]
    if not rows:
        return HostLoad()
    width = max(row.width for row in rows)
    first, last = min(row.at for row in rows), max(row.at for row in rows)
    places = (last - first) // width + 1
    load: dict[str, list[float]] = {}
    running: dict[str, int] = {}
    for row in rows:
        name = row.name or ""
        if name not in load:
            load[name] = [0.0] * places
        load[name][(row.at - first) // width] = row.busy / row.width
        running[name] = row.running if row.at == last else 0
    at = [first + place * width for place in range(places)]
    return HostLoad(width=width, at=at, busy=load, running=running)


def host_busy_of(store: Store, run: Run, buckets: int) -> list[Busy]:
    """Busy time by node over the whole run, up to its last sign."""
    return busy(store, run.id, since=run.began, until=max(last_sign(run), run.began + 1), buckets=buckets, by="host")


def running_on(store: Store, run: Run, host: str, *, limit: int = MOST) -> list[Interval]:
    """The tries that run on a node at the last sign of the run, or whose end nobody told. Of a run that is over the
    latter; see `intervals`."""
    now = last_sign(run)
    found = intervals(store, run.id, since=now, until=now + 1, hosts=(host,), limit=limit)
    return [interval for interval in found if interval.ended is None]
