"""Publishes what the watches have to say.

In: their outboxes. Out: batches on the bus, confirmed, and tried again for as long as it takes. A thread of its own, so
that a bus that hangs keeps no watch from being started or stopped.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from heliograph import state
from heliograph.bus import BadMessage, BusFull, BusUnavailable, Outgoing, Publisher
from heliograph.frames import Frame
from heliograph.messages import SCHEMA_VERSION, Batch, Class, Source, encode
from heliograph_filewatch.kept import Kept
from heliograph_filewatch.metrics import FilewatchMetrics
from heliograph_filewatch.outbox import Unsent

log = logging.getLogger("heliograph.filewatch")
_FIRST_NAP, _LONGEST_NAP = 0.1, 1.0
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 15.0


class Pump(threading.Thread):
    """Runs until `stop`, which waits for what can be published in time."""

    def __init__(self, kept: Kept, open_publisher: Callable[[], Publisher], metrics: FilewatchMetrics) -> None:
        super().__init__(name="publish", daemon=True)
        self._kept, self._open, self._metrics = kept, open_publisher, metrics
        self._publisher: Publisher | None = None
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._outboxes: dict[str, tuple[str, Unsent]] = {}

    def stop(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self._stopping.set()
        self.join(seconds + 1.0)

    def run(self) -> None:
        nap, wait = _FIRST_NAP, _FIRST_WAIT
        while time.monotonic() < self._deadline:
            try:
                moved = self._round()
                wait = _FIRST_WAIT
            except (BusUnavailable, BusFull) as error:
                self._trouble(str(error))
                if self._stopping.is_set():
                    break
                self._stopping.wait(wait)
                wait = min(_LONGEST_WAIT, wait * 2)
                continue
            except Exception:  # a thread that dies here would let everything wait for ever
                log.exception("publishing failed in a way that it should not")
                self._trouble("")
                self._stopping.wait(_LONGEST_WAIT)
                continue
            if moved:
                nap = _FIRST_NAP
            elif self._stopping.is_set():
                break
            else:
                self._stopping.wait(nap)
                nap = min(_LONGEST_NAP, nap * 1.5)
        if self._publisher is not None:
            self._publisher.close()

    def _round(self) -> bool:
        """Publish what there is, a little of each watch; whether there was anything."""
        if self._publisher is None:
            publisher = self._open()
            publisher.publish([])
            self._publisher = publisher
            self._metrics.bus_up.set(1)
        moved = False
        waiting = 0
        for run, outbox in self._refreshed():
            try:
                found = outbox.pull()
                if found:
                    self._publish(run, outbox.id, found)
                    outbox.confirm(found[-1][1].end)
                    moved = True
                waiting += outbox.waiting()
            except FileNotFoundError:  # forgotten just now
                continue
        self._metrics.unsent_bytes.set(waiting)
        return moved

    def _refreshed(self) -> list[tuple[str, Unsent]]:
        """(run, outbox) of every watch."""
        keys = set(os.listdir(self._kept.watches))
        for gone in self._outboxes.keys() - keys:
            del self._outboxes[gone]
        for key in keys - self._outboxes.keys():
            about = self._kept.about(key)
            folder = self._kept.folder(key) / "outbox"
            if about is not None and folder.is_dir():
                self._outboxes[key] = (about.run, Unsent(folder))
        return list(self._outboxes.values())

    def _publish(self, run: str, journal: str, found: Sequence[tuple[Class, Frame]]) -> None:
        assert self._publisher is not None  # noqa: S101 - opened by the round
        for cls in {cls for cls, _ in found}:
            frames = [frame for c, frame in found if c is cls]
            try:
                self._publisher.publish([batch_of(run, cls, journal, frames)])
            except BadMessage as error:
                self._one_by_one(run, cls, journal, frames, error)
                continue
            self._metrics.published.labels(cls.value).inc(len(frames))

    def _one_by_one(self, run: str, cls: Class, journal: str, frames: Sequence[Frame], error: BadMessage) -> None:
        assert self._publisher is not None  # noqa: S101 - as above
        if len(frames) == 1:
            where = f"{journal}:{frames[0].offset}"
            log.warning("record %s is refused for good and left out: %s", where, error, extra={"run": run})
            self._metrics.refused.inc()
            return
        middle = len(frames) // 2
        for half in (frames[:middle], frames[middle:]):
            try:
                self._publisher.publish([batch_of(run, cls, journal, half)])
                self._metrics.published.labels(cls.value).inc(len(half))
            except BadMessage as again:
                self._one_by_one(run, cls, journal, half, again)

    def _trouble(self, reason: str) -> None:
        if self._metrics.bus_is_up:
            log.warning("cannot publish, records are kept: %s", reason)
        self._metrics.bus_up.set(0)
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            publisher.close()


def batch_of(run: str, cls: Class, journal: str, frames: Sequence[Frame]) -> Outgoing:
    batch = Batch(
        version=SCHEMA_VERSION,
        run=run,
        cls=cls.value,
        agent=f"filewatch-{state.host()}",
        host=state.host(),
        boot=state.boot_id(),
        sources=[Source(journal, [frame.offset for frame in frames])],
        records=[msgspec.Raw(frame.payload) for frame in frames],
    )
    return Outgoing(run=run, cls=cls, body=encode(batch))
