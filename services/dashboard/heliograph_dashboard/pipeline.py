"""How what is shown hangs behind what happens: the way from the bus into the store.

In: how many batches wait on the bus (where the dashboard knows one), the newest time in the store. Out: the lag, and
whether the bus answers; asked for every few seconds, whoever wants to know.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from heliograph_store.errors import StoreError

LASTS: Final = 5.0
"""Seconds for which an answer is used again."""
LONGEST: Final = 24 * 3_600_000_000
"""The lag is never said to be more than this, in microseconds."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """`lag` in microseconds: while it is long, a run that seems dead may only not have been written yet."""

    bus: Literal["ok", "away", "unknown"] = "unknown"
    waiting: int = 0
    lag: int = 0


class Pipeline:
    """Asks rarely. `waiting` answers None when the bus does not say; without it nothing is known of the bus."""

    def __init__(
        self,
        waiting: Callable[[], int | None] | None,
        newest: Callable[[], int | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting, self._newest, self._clock = waiting, newest, clock
        self._lock = threading.Lock()
        self._flow = Flow()
        self._until = float("-inf")

    def flow(self) -> Flow:
        """What is known now. While somebody asks, and a broker may take its time, the others use the last answer."""
        if self._waiting is None:
            return self._flow
        if self._clock() >= self._until and self._lock.acquire(blocking=False):
            try:
                self._flow = self._measure(self._waiting())
                self._until = self._clock() + LASTS
            finally:
                self._lock.release()
        return self._flow

    def _measure(self, waiting: int | None) -> Flow:
        if waiting == 0:
            return Flow(bus="ok")
        try:
            newest = self._newest()
        except StoreError:
            newest = 0
        age = 0 if newest is None else min(LONGEST, max(0, time.time_ns() // 1000 - newest))
        if waiting is None:
            return Flow(bus="away", lag=age)
        return Flow(bus="ok", waiting=waiting, lag=age)
