"""The rows of a timeline: which worker a try ran on, and the workers grouped by node.

In: tries of a window, pools of workers. Out: lanes in the order in which they are drawn, and the lane of every try.

A worker is its rank in its pool; the threads of a process are workers of their own. Where neither is known (old runs,
executors with a process a task), tries are put on as few slots of their node as did run at the same time.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from heliograph_store.read.nodes import Node
from heliograph_store.read.timeline import Ran

MOST_IDLE: Final = 400
"""So many lanes may be shown for workers that did nothing in the window."""
Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A row. `host` groups; `name` is what the worker is called there; `pool` tells pools on one node apart."""

    host: str
    name: str
    executor: str
    pool: str

    @property
    def title(self) -> str:
        return " · ".join(part for part in (self.host, self.executor, self.name) if part)


def lanes_of(tries: Sequence[Ran], pools: Iterable[Node] = ()) -> tuple[list[Lane], list[int]]:
    """The lanes, and for every try the number of its lane. Workers of `pools` that did nothing have lanes, too."""
    loose = _one_off(tries)
    keys: list[Key] = [_key(one) for one in tries]
    for group in {(one.host, one.executor) for one, _ in zip(tries, keys, strict=True)} & loose:
        members = [i for i, one in enumerate(tries) if one.worker is None and (one.host, one.executor) == group]
        for i, slot in zip(members, _slots([tries[i] for i in members]), strict=True):
            keys[i] = (tries[i].host or "", tries[i].executor or "", "", 2, (0, slot))
    known = set(keys)
    idle = [key for pool in pools for key in _ranks(pool) if key not in known]
    known.update(idle if len(idle) <= MOST_IDLE else ())
    order = sorted(known, key=_place)
    number = {key: at for at, key in enumerate(order)}
    return _named(order), [number[key] for key in keys]


def _key(one: Ran) -> Key:
    """(host, executor, pool, kind of lane, number within)."""
    head = (one.host or "", one.executor or "")
    if one.worker is not None:
        return (*head, one.pool or "", 0, (one.worker,))
    return (*head, one.pool or "", 1, (one.pid or 0, (one.thread or 0) if one.shared else 0))


def _ranks(pool: Node) -> list[Key]:
    """The lanes of a pool whose workers are numbered; a process by itself is known by what it ran."""
    if not pool.workers or not pool.block:
        return []
    head = (pool.host or "", pool.executor or "", pool.pool or "")
    return [(*head, 0, (str(rank),)) for rank in range(min(pool.workers, MOST_IDLE + 1))]


def _one_off(tries: Iterable[Ran]) -> set[tuple[str | None, str | None]]:
    """Where (host, executor) processes are not workers: most of them ran one try, or nobody knows them."""
    seen: dict[tuple[str | None, str | None], Counter[Key]] = {}
    for one in tries:
        if one.worker is None:
            seen.setdefault((one.host, one.executor), Counter())[(one.pid, one.thread if one.shared else 0)] += 1
    return {
        group
        for group, processes in seen.items()
        if any(pid is None for pid, _ in processes) or (len(processes) > 8 and len(processes) * 2 > processes.total())
    }


def _slots(tries: Sequence[Ran]) -> list[int]:
    """For each try, in the order of their beginnings, the lowest slot that is free."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    slots: list[int] = []
    for one in tries:
        while busy and busy[0][0] <= one.began:
            heapq.heappush(free, heapq.heappop(busy)[1])
        slot = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (float("inf") if one.ended is None else one.ended, slot))
        slots.append(slot)
    return slots


def _place(key: Key) -> Key:
    host, executor, pool, kind, within = key
    return (_natural(host), executor, _natural(pool), kind, tuple(_natural(str(part)) for part in within))


@lru_cache(maxsize=10_000)  # the same few hosts, pools and ranks for thousands of lanes
def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """'node10' after 'node9'."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)


def _named(keys: Sequence[Key]) -> list[Lane]:
    pools: dict[tuple[str, str], set[str]] = {}
    threads: dict[Key, int] = {}
    for host, executor, pool, kind, _ in keys:
        if kind == 0:
            pools.setdefault((host, executor), set()).add(pool)
    lanes: list[Lane] = []
    for host, executor, pool, kind, within in keys:
        if kind == 0:
            several = len(pools[host, executor]) > 1
            name = f"{pool[:8]}/{within[0]}" if several else f"{within[0]}"
        elif kind == 1 and within[1]:
            process = (host, executor, within[0])
            threads[process] = threads.get(process, 0) + 1
            name = f"thread {threads[process]}"
        elif kind == 1:
            name = f"process {within[0]}"
        else:
            name = f"slot {within[1] + 1}"
        lanes.append(Lane(host=host or "unknown node", name=name, executor=executor, pool=pool))
    return lanes
