"""What a writer does beside writing: the retention policy, and an eye on SQLite's write-ahead log.

In: a store, a policy, a clock. Out: thinned samples, a log that does not grow without end. Deletes nothing by default.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from heliograph_store.errors import StoreUnavailable
from heliograph_store.maintenance import SamplePolicy, checkpoint, thin_samples
from heliograph_store.store import Store
from heliograph_writer.metrics import WriterMetrics

log = logging.getLogger("heliograph.writer")
LOOK = 60.0
LARGE_LOG = 64 << 20
"""Bytes of log from which a checkpoint is forced: SQLite's own ones do not get through while readers come and go."""


class Upkeep:
    """Called now and then by the loop, between commits: it is the one that writes."""

    def __init__(
        self,
        store: Store,
        policy: SamplePolicy,
        metrics: WriterMetrics,
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._policy, self._metrics = store, policy, metrics
        self._every, self._clock, self._wall = every, clock, wall
        self._next_thinning = clock() + min(every, LOOK)
        self._next_look = clock() + LOOK

    def __call__(self) -> None:
        now = self._clock()
        try:
            if now >= self._next_look:
                self._next_look = now + LOOK
                self._look_at_log()
            if now >= self._next_thinning and self._policy != SamplePolicy():
                self._next_thinning = now + self._every
                self._thin()
        except StoreUnavailable as error:
            log.warning("upkeep put off: %s", error)

    def _look_at_log(self) -> None:
        path = self._store.path
        if path is None:
            return
        try:
            size = path.with_name(path.name + "-wal").stat().st_size
        except FileNotFoundError:
            size = 0
        if size > LARGE_LOG:
            size = checkpoint(self._store) or 0
        self._metrics.log_bytes.set(size)

    def _thin(self) -> None:
        thinned = thin_samples(self._store, self._policy, now=int(self._wall() * 1e6))
        self._metrics.thinned.inc(thinned.samples + thinned.node_samples)
        if thinned.samples or thinned.node_samples:
            log.info("retention removed %d task and %d node samples", thinned.samples, thinned.node_samples)
