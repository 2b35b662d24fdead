"""Tells people and programs what a callback returned: by mail and by webhook.

In: notices, from the one thread that steps an engine. Out: nothing that could disturb a watch: a bounded queue, one
worker thread that begins with the first notice, a log line for each cause of trouble, a count of what was not sent, and
records that say so where the callbacks themselves are shown.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

from heliograph import settings
from heliograph.filewatch.config import Notice
from heliograph.filewatch.notify_mail import Mail, check_email
from heliograph.filewatch.notify_target import NotSent, Target
from heliograph.filewatch.notify_webhook import Webhook, check_webhook
from heliograph.messages import FileCallback

__all__ = ["NotSent", "Notifier", "Target", "check_email", "check_webhook", "notifier"]
_log = logging.getLogger("heliograph.filewatch")
MOST_WAITING = 1000
PAUSES = (2.0, 10.0)
"""Seconds before a notice is tried again; after as many tries it is given up."""
LAST_WORD = 0.5
"""Seconds at the end for the worker to say why the notice in its hands was not sent."""
_FIRST_FAILED = 1 << 40
"""Sequence numbers of failed notifications begin here, above those of any callback."""


class Notifier:
    """Call it with a notice: it returns at once and never raises. Calls come from one thread."""

    def __init__(
        self,
        targets: Iterable[Target],
        *,
        about: Mapping[str, str] | None = None,
        most: int = MOST_WAITING,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._targets = tuple(targets)
        self._about = dict(about or {})
        self._pauses = tuple(pauses)
        self._waiting: queue.Queue[tuple[Target, Notice] | None] = queue.Queue(maxsize=most)
        self._failed: queue.SimpleQueue[tuple[Target, Notice, str]] = queue.SimpleQueue()
        self._said: set[tuple[str, str]] = set()
        self._worker: threading.Thread | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._in_hand: tuple[Target, Notice] | None = None
        """What the worker is sending; who takes it away tells what became of it."""
        self._number = _FIRST_FAILED + time.time_ns() // 1_000_000
        self.unsent = 0
        """Notices that were given up, over all targets, as far as `failed` has told."""
        self.trouble = ""
        """Why the last of them was."""

    def __call__(self, notice: Notice) -> None:
        if notice.result is None and notice.outcome == "ok":
            return  # the callback had nothing to say
        for target in self._targets:
            if self._closing.is_set():
                self._give_up(target, notice, "the watch has ended")
                continue
            try:
                self._waiting.put_nowait((target, notice))
                self._begin()
            except queue.Full:
                self._give_up(target, notice, f"{self._waiting.maxsize} notices are waiting already")
            except RuntimeError as error:  # no thread can be started any more
                self._give_up(target, notice, str(error))

    def failed(self) -> list[FileCallback]:
        """What could not be sent since the last call, as records that can be reported."""
        records: list[FileCallback] = []
        while True:
            try:
                target, notice, reason = self._failed.get_nowait()
            except queue.Empty:
                return records
            self.unsent += 1
            self.trouble = f"{target.name}: {reason}"
            self._number += 1
            records.append(
                FileCallback(
                    at=time.time_ns() // 1000,
                    mono=time.monotonic_ns() // 1000,
                    watch=notice.watch,
                    callback=target.name,
                    sequence=self._number,
                    outcome="error",
                    paths=list(notice.paths),
                    result=f"not sent: {reason}",
                )
            )

    def close(self, timeout: float) -> None:
        """Send what waits, for at most so many seconds; the rest is counted. Never raises."""
        ends = time.monotonic() + timeout
        worker = self._worker
        if worker is not None:
            try:
                self._waiting.put(None, timeout=max(0.0, timeout))
                worker.join(max(0.0, ends - time.monotonic()))
            except queue.Full:
                pass
        self._closing.set()
        if worker is not None:
            worker.join(LAST_WORD)
        left = self._taken_out_of_hand()
        if left is not None:
            self._give_up(*left, "the watch ended while it was being sent")
        while True:
            try:
                left = self._waiting.get_nowait()
            except queue.Empty:
                return
            if left is not None:
                self._give_up(*left, "the watch ended before its turn came")

    def _begin(self) -> None:
        if self._worker is None:
            worker = threading.Thread(target=self._work, name="notify", daemon=True)
            worker.start()
            self._worker = worker

    def _work(self) -> None:
        while not self._closing.is_set() and (job := self._waiting.get()) is not None:
            with self._lock:
                self._in_hand = job
            reason = self._deliver(*job)
            if self._taken_out_of_hand() is not None and reason is not None:
                self._give_up(*job, reason)

    def _taken_out_of_hand(self) -> tuple[Target, Notice] | None:
        with self._lock:
            job, self._in_hand = self._in_hand, None
        return job

    def _deliver(self, target: Target, notice: Notice) -> str | None:
        """Try, and try again; why it did not work, None when it did."""
        for pause in (*self._pauses, None):
            try:
                target.send(notice, self._about)
            except NotSent as error:
                if pause is None or not error.again or self._closing.wait(pause):
                    return str(error)
            except Exception as error:  # the thread has to live on, and the watch's owner to know
                _log.exception("notifying failed in a way that it should not")
                return f"{type(error).__name__}: {error}"
            else:
                return None
        return None

    def _give_up(self, target: Target, notice: Notice, reason: str) -> None:
        self._failed.put((target, notice, reason))
        if (target.name, reason) not in self._said:
            self._said.add((target.name, reason))
            _log.warning("%s: not sent: %s. The watch goes on; what is not sent is counted.", target.name, reason)


def notifier(*, email: str | None, webhook: str | None, about: Mapping[str, str] | None = None) -> Notifier:
    """A notifier for these targets (None and '': none), through the mail server of the settings. Raises BadWatch."""
    targets: list[Target] = []
    if email:
        targets.append(Mail(to=check_email(email), smtp=settings.smtp()))
    if webhook:
        targets.append(Webhook(check_webhook(webhook)))
    return Notifier(targets, about=about)
