"""How well a run uses what it was given: workers, processors, memory. The arithmetic, without a database.

In: the pools of workers that there were, and what single tries did (`stints` reads both). Out: a `Share`: what was used
of what was available. All of it is time × something, so that it can be summed over apps, nodes or the whole run:

* **Worker efficiency** = time in which a worker ran a try / time in which there was a worker. A worker that ran
  several tries at once (a task inside another; a try whose end was never told) was busy once: its intervals are merged.
  A pool's workers are as many as it registered, or as many as were seen at work at one time when that is more or when
  it registered none. It is there from its registration (or its first try) to its last sign of life.
* **CPU efficiency** = CPU time that tries used / (cores × their run time). Cores are those that the task asked for, one
  if it did not ask; a try that kept more of them busy counts with as many as it used, and is told of as `over`.
* **Memory efficiency** = peak of a try / memory that it asked for, or else its worker's part of the node's; both
  weighted by its run time. A try that used more counts with what it used, and is told of as `over`.

So none of them can exceed 100 %, and what is not known (a try without CPU times, a shared process's memory) counts on
neither side.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
Interval = tuple[int, int]
PoolKey = tuple[str | None, str]

ERROR: Final = 0.1
"""Cores: less than this above a whole number is how CPU times are measured, not another core."""
MEASURING: Final = 1_000
"""Microseconds of CPU time that a try can have from being measured: a short one did not use another core for that."""
OWN: Final = "_parsl_internal"
"""Parsl's executor for its own threads, which run joins: nobody gave them to the run, so they count on neither side."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Workers of one pool on one host, or the threads of one process; `workers` None when nobody told how many."""

    key: PoolKey
    host: str | None
    executor: str | None
    workers: int | None
    since: int
    until: int
    memory_total: int | None = None


class Stint(NamedTuple):
    """One try at a worker. `cpu` in microseconds, `peak` and `memory` (what it may use) in bytes, None is unknown.

    A tuple, because thousands are made for one page.
    """

    app: str | None
    pool: PoolKey
    worker: Hashable
    began: int
    ended: int
    cpu: int | None = None
    cores: float | None = None
    peak: int | None = None
    memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """What was used of what was available; `tries` counted, of which `over` used more than they asked for."""

    used: float = 0.0
    available: float = 0.0
    tries: int = 0
    over: int = 0

    @property
    def ratio(self) -> float | None:
        """From 0 to 1; None where nothing is known."""
        return self.used / self.available if self.available > 0 else None

    def __add__(self, other: Share) -> Share:
        return Share(
            used=self.used + other.used,
            available=self.available + other.available,
            tries=self.tries + other.tries,
            over=self.over + other.over,
        )


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The time covered by any of them, in order and without overlap. Intervals that end before they begin are empty."""
    out: list[Interval] = []
    for began, ended in sorted(i for i in intervals if i[1] > i[0]):
        if out and began <= out[-1][1]:
            if ended > out[-1][1]:
                out[-1] = (out[-1][0], ended)
        else:
            out.append((began, ended))
    return out


def length(intervals: Iterable[Interval]) -> int:
    return sum(ended - began for began, ended in intervals)


def most_at_once(intervals: Iterable[Interval]) -> int:
    """How many of them overlap at the busiest moment; one that ends as another begins does not overlap it."""
    steps = sorted(step for began, ended in intervals if ended > began for step in ((began, 1), (ended, -1)))
    most = now = 0
    for _, change in steps:
        now += change
        most = max(most, now)
    return most


@dataclass(frozen=True, kw_only=True)
class Occupied:
    """A pool and when its workers were busy, each worker's intervals merged."""

    pool: Pool
    workers: int
    busy: Sequence[Interval]
    tries: int

    @property
    def since(self) -> int:
        return min([self.pool.since, *(began for began, _ in self.busy[:1])])

    @property
    def until(self) -> int:
        return max([self.pool.until, *(ended for _, ended in self.busy)], default=self.pool.until)

    @property
    def share(self) -> Share:
        available = self.workers * max(0, self.until - self.since)
        return Share(used=length(self.busy), available=available, tries=self.tries)


def occupation(pools: Iterable[Pool], stints: Iterable[Stint]) -> list[Occupied]:
    """Each pool with the busy time of its workers; tries of a pool that nobody registered make one."""
    known = {pool.key: pool for pool in pools}
    own = {key for key, pool in known.items() if pool.executor == OWN}
    by_pool = grouped_by((stint for stint in stints if stint.pool not in own), lambda stint: stint.pool)
    for key, some in by_pool.items():
        if key not in known:
            since, until = min(s.began for s in some), max(s.ended for s in some)
            known[key] = Pool(key=key, host=key[0], executor=None, workers=None, since=since, until=until)
    return [_occupied(pool, by_pool.get(key, [])) for key, pool in known.items() if key not in own]


def _occupied(pool: Pool, stints: Sequence[Stint]) -> Occupied:
    by_worker = grouped_by(stints, lambda stint: stint.worker)
    busy = sorted(i for some in by_worker.values() for i in merged((s.began, s.ended) for s in some))
    return Occupied(pool=pool, workers=max(pool.workers or 0, most_at_once(busy)), busy=busy, tries=len(stints))


def worker_share(occupied: Iterable[Occupied]) -> Share:
    """Worker efficiency, in worker-microseconds."""
    return sum((o.share for o in occupied), Share())


def cpu_share(stints: Iterable[Stint]) -> Share:
    """CPU efficiency, in core-microseconds, over the tries whose CPU time is known."""
    used = available = 0.0
    tries = over = 0
    for stint in stints:
        ran = stint.ended - stint.began
        if stint.cpu is None or ran <= 0:
            continue
        asked = stint.cores or 1.0
        cores = max(asked, float(ceil((stint.cpu - MEASURING) / ran - ERROR)))
        tries += 1
        over += cores > asked
        available += cores * ran
        used += min(float(stint.cpu), cores * ran)  # the rest is less than ERROR: how the clocks tick
    return Share(used=used, available=available, tries=tries, over=over)


def memory_share(stints: Iterable[Stint]) -> Share:
    """Memory efficiency, in byte-microseconds, over the tries whose peak and whose part of the memory are known."""
    used = available = 0.0
    tries = over = 0
    for stint in stints:
        ran = stint.ended - stint.began
        if stint.peak is None or not stint.memory or ran <= 0:
            continue
        tries += 1
        over += stint.peak > stint.memory
        used += float(stint.peak) * ran
        available += float(max(stint.peak, stint.memory)) * ran
    return Share(used=used, available=available, tries=tries, over=over)


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """Workers in one stretch of time, on average: how many ran a try, and how many there were."""

    at: int
    busy: float
    available: float


def over_time(occupied: Sequence[Occupied], *, buckets: int = 200) -> list[Occupancy]:
    """Busy and available workers in equal stretches from the first pool's beginning to the last one's end."""
    there = [(o.since, o.until, o.workers) for o in occupied if o.workers and o.until > o.since]
    if not there:
        return []
    first, last = min(t[0] for t in there), max(t[1] for t in there)
    width = (last - first) // buckets + 1
    available = spread(((began, ended, workers) for began, ended, workers in there), first, width, buckets)
    busy = spread(((began, ended, 1) for o in occupied for began, ended in o.busy), first, width, buckets)
    return [
        Occupancy(at=first + i * width, busy=b / width, available=a / width)
        for i, (b, a) in enumerate(zip(busy, available, strict=True))
        if first + i * width < last
    ]


def spread(weighted: Iterable[tuple[int, int, int]], first: int, width: int, buckets: int) -> list[int]:
    """Weighted time of intervals (began, ended, weight) in each of `buckets` stretches from `first` on. Exact, and
    linear in the number of intervals: only their ends are handled one by one, what lies between by differences."""
    part, whole = [0] * buckets, [0] * (buckets + 1)
    for began, ended, weight in weighted:
        a, b = max(0, began - first), min(ended - first, width * buckets)
        if b <= a:
            continue
        i, j = a // width, (b - 1) // width
        if i == j:
            part[i] += (b - a) * weight
            continue
        part[i] += ((i + 1) * width - a) * weight
        part[j] += (b - j * width) * weight
        whole[i + 1] += weight
        whole[j] -= weight
    full = 0
    for i in range(buckets):
        full += whole[i]
        part[i] += full * width
    return part


def grouped_by(items: Iterable[T], key: Callable[[T], K]) -> Mapping[K, list[T]]:
    """The items by their key, in their order."""
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
