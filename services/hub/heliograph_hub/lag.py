"""How far the pipeline from the bus to the store is behind.

In: how many batches wait on the bus, and the newest time in the store. Out: microseconds; more than a lease means that
'lost' cannot be told from 'not written yet'.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from heliograph.bus import BadUrl, BusUnavailable, Consumer
from heliograph_store.errors import StoreError

log = logging.getLogger("heliograph.hub")

FRESH = 5.0
"""Seconds for which an answer is used again."""
PATIENCE = 3.0
"""Seconds for the bus to answer."""
LONGEST = 24 * 3_600_000_000
"""The lag is never said to be more than this, in microseconds."""


class Lag:
    """Asks rarely, whoever wants to know how often. `waiting` answers None when the bus does not say."""

    def __init__(
        self,
        *,
        waiting: Callable[[], int | None],
        newest: Callable[[], int | None],
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._waiting, self._newest, self._now = waiting, newest, now
        self._lock = threading.Lock()
        self._value, self._until = 0, 0

    def micros(self) -> int:
        """0 when nothing waits on the bus; else, and when that is not known, the age of the newest in the store.

        An answer too long is harmless (a run is 'unknown' for a moment), one too short would call a live run lost.
        """
        first = self._until == 0
        # While somebody measures, and a broker may take its time to answer, the others use the last answer.
        if self._now() >= self._until and self._lock.acquire(blocking=first):
            try:
                if self._now() >= self._until:
                    self._value = self._measure()
                    self._until = self._now() + int(FRESH * 1e6)
            finally:
                self._lock.release()
        return self._value

    def _measure(self) -> int:
        if self._waiting() == 0:
            return 0
        try:
            newest = self._newest()
        except StoreError:
            return LONGEST
        return 0 if newest is None else min(LONGEST, max(0, self._now() - newest))


class Waiting:
    """Batches on the bus, by a consumer that never consumes. It lives in a thread of its own, as consumers must."""

    def __init__(self, open_: Callable[[], Consumer], *, timeout: float = PATIENCE) -> None:
        self._open, self._timeout = open_, timeout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bus-depth")
        self._consumer: Consumer | None = None

    def __call__(self) -> int | None:
        """How many, None when the bus does not say in time."""
        try:
            asked = self._thread.submit(self._ask)
        except RuntimeError:  # closed already
            return None
        try:
            return asked.result(self._timeout)
        except (BusUnavailable, BadUrl, TimeoutError) as error:
            asked.cancel()  # or questions would queue up behind a broker that hangs
            log.debug("the bus does not say what waits: %s", error)
            return None

    def close(self) -> None:
        self._thread.submit(self._forget)
        self._thread.shutdown(wait=False, cancel_futures=False)

    def _ask(self) -> int | None:
        for _ in range(2):  # an idle connection may have died unseen
            if self._consumer is None:
                self._consumer = self._open()
                self._consumer.pause()
            try:
                self._consumer.receive(1, 0.0)  # connects; paused, it takes nothing
                depth = self._consumer.depth()
            except BusUnavailable:
                depth = None
            if depth is not None:
                return depth
            self._forget()
        return None

    def _forget(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
