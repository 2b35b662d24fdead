"""Hands the intake's batches to the bus from a few threads, because a publisher belongs to one thread.

In: one batch at a time from any thread or event loop. Out: a future that is done when the bus confirmed it, or that
holds the bus's error. Bounded: a full queue refuses at once, so that waiting agents keep their data instead of the hub.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

from heliograph.bus import BadMessage, BusFull, BusUnavailable, Outgoing, Publisher
from heliograph.messages import Class

log = logging.getLogger("heliograph.hub")

GATHER = 32
"""Most batches handed to the bus in one call: they share a confirm."""
PAUSE = 1.0
"""Seconds for which the bus is not tried again after it did not answer."""


class TooBusy(Exception):
    """The queue is full, or the pool has stopped: the batch was not taken."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    batches: list[Outgoing]
    done: Future[None] = field(default_factory=Future)


class PublisherPool:
    """A bounded queue and the threads that empty it. `open_` opens the publisher of the n-th thread."""

    def __init__(self, open_: Callable[[int], Publisher], *, threads: int, length: int) -> None:
        self._open = open_
        self._queue: queue.Queue[_Job | None] = queue.Queue(maxsize=length)
        self._threads = [
            threading.Thread(target=self._run, args=(n,), name=f"publisher-{n}", daemon=True) for n in range(threads)
        ]
        self._stopping = False
        self._down_until = 0.0
        self._trouble = ""

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Publish what is queued, then end. What cannot be published in time is refused towards its sender."""
        self._stopping = True
        ends = time.monotonic() + timeout
        for _ in self._threads:
            try:
                self._queue.put(None, timeout=max(0.0, ends - time.monotonic()))
            except queue.Full:
                break
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        self._refuse_rest()

    def submit(self, batches: Sequence[Outgoing]) -> Future[None]:
        """Queue these batches. No batches at all asks whether the bus answers. Raises TooBusy."""
        job = _Job(batches=list(batches))
        if self._stopping:
            raise TooBusy("the hub is stopping")
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            raise TooBusy("too many batches are waiting for the bus") from None
        return job.done

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def _run(self, number: int) -> None:
        publisher: Publisher | None = None
        ended = False
        while not ended and (job := self._queue.get()) is not None:
            more, ended = self._more()
            for group in _groups([job, *more]):
                publisher = self._serve(number, publisher, group)
        if publisher is not None:
            _close(publisher)

    def _more(self) -> tuple[list[_Job], bool]:
        """What else waits by now, and whether this thread's end mark was among it."""
        jobs: list[_Job] = []
        while len(jobs) < GATHER - 1:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _serve(self, number: int, publisher: Publisher | None, group: list[_Job]) -> Publisher | None:
        """Publish a group and settle its futures. Returns the publisher to go on with (None: open a new one)."""
        if time.monotonic() < self._down_until:
            _settle(group, BusUnavailable(self._trouble))
            return publisher
        error: Exception
        for attempt in range(2):  # an idle connection may have died unseen: the first failure is tried once more
            fresh = publisher is None
            try:
                publisher = publisher or self._open(number)
                publisher.publish([batch for job in group for batch in job.batches])
            except BusUnavailable as unavailable:
                error = unavailable
                _close(publisher)
                publisher = None
                if fresh or attempt:
                    break
            except BadMessage as bad:
                return self._one_by_one(number, publisher, group, bad)
            except BusFull as full:
                _settle(group, full)
                return publisher
            except Exception as broken:
                # A thread that dies here would leave its senders waiting; the sender keeps its batch and tries again.
                log.exception("publishing failed")
                error = BusUnavailable(f"publishing failed: {type(broken).__name__}")
                _close(publisher)
                publisher = None
                break
            else:
                _settle(group, None)
                return publisher
        self._trouble, self._down_until = str(error), time.monotonic() + PAUSE
        _settle(group, error)
        return publisher

    def _one_by_one(
        self, number: int, publisher: Publisher | None, group: list[_Job], error: BadMessage
    ) -> Publisher | None:
        """One batch of the group is unacceptable: find out whose."""
        if len(group) == 1:
            _settle(group, error)
            return publisher
        for job in group:
            publisher = self._serve(number, publisher, [job])
        return publisher

    def _refuse_rest(self) -> None:
        while True:
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                _settle([job], BusUnavailable("the hub is stopping"))


def _groups(jobs: list[_Job]) -> list[list[_Job]]:
    """Jobs by class: a full sample queue must not refuse the states beside it."""
    groups: dict[Class | None, list[_Job]] = {}
    for job in jobs:
        groups.setdefault(job.batches[0].cls if job.batches else None, []).append(job)
    return list(groups.values())


def _settle(group: list[_Job], error: Exception | None) -> None:
    for job in group:
        try:
            if error is None:
                job.done.set_result(None)
            else:
                job.done.set_exception(error)
        except InvalidStateError:  # the sender went away and cancelled it
            continue


def _close(publisher: Publisher | None) -> None:
    if publisher is None:
        return
    try:
        publisher.close()
    except Exception:  # what is already broken may break again when closed
        log.debug("closing a broken publisher failed", exc_info=True)
