"""Ships on what agents without a way to the bus left in a run's spool.

In: `<run_dir>/.heliograph/spool`. Out: the same batches on the run's bus; forgotten there only after the bus has them.

An agent elsewhere makes the spool as soon as it cannot publish, and uses it half a minute later: so the submitting
node's agent knows that something may come, and does not end with the run.
"""

from __future__ import annotations

import contextlib
import logging
import os

from heliograph.bus import BadMessage, BadUrl, BusFull, Consumer, Delivery, Outgoing, Publisher, open_consumer
from heliograph.bus.spool_folder import Spool, entries
from heliograph.messages import Class
from heliograph.route import Route, spool_path

log = logging.getLogger("heliograph.agent")

AT_ONCE = 50
LINGER = 90.0
"""Seconds without a change in the spool after which nothing more is expected from agents elsewhere."""


def announce(run_dir: str) -> None:
    """An agent elsewhere is about to need this run's spool. Never raises: the spool itself will say what is wrong."""
    if run_dir and os.path.isdir(run_dir) and not os.path.isdir(spool_path(run_dir) / "new"):
        with contextlib.suppress(OSError, BadUrl):
            Spool(root=spool_path(run_dir)).prepare()


class Forwarder:
    """Used by the shipping thread of the run."""

    def __init__(self, route: Route, agent: str) -> None:
        self._folder = spool_path(route.run_dir)
        self._agent = agent
        self._consumer: Consumer | None = None
        self._seen: set[tuple[str, int]] = set()
        self._changed_at = float("-inf")
        self.held = False
        """Whether the bus took no samples the last time."""

    def expects(self, moment: float) -> bool:
        """Whether something waits, or may yet come."""
        if not self.anything():
            return False
        seen, waits = _signs(Spool(root=self._folder))
        if seen != self._seen:
            self._seen, self._changed_at = seen, moment
        return waits or moment - self._changed_at < LINGER

    def anything(self) -> bool:
        """Whether there is a spool at all. Looked for, never made: most runs have none."""
        return os.path.isdir(self._folder / "new")  # never raises, unlike a Path: an expired ticket, a stale handle

    def is_target(self, bus: str) -> bool:
        """Whether the bus is this very spool: then there is nothing to ship on."""
        path = bus.partition(":")[2]
        return bus.startswith("spool:") and os.path.realpath(path.replace("//", "/", 1)) == os.path.realpath(
            self._folder
        )

    def forward(self, publisher: Publisher) -> int:
        """Move what is there; what the bus does not take stays. Raises BusUnavailable and BusFull."""
        if self._consumer is None:
            self._consumer = open_consumer(f"spool:{self._folder}", name=f"forward-{self._agent}", classes=tuple(Class))
        moved, self.held = 0, False
        try:
            while deliveries := self._consumer.receive(AT_ONCE, 0.0):
                moved += sum(self._move(delivery, publisher, self._consumer) for delivery in deliveries)
        except BaseException:
            self.close()
            raise
        if self.held:
            self.close()
        return moved

    def close(self) -> None:
        """Unsettled batches wait again in the spool."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _move(self, delivery: Delivery, publisher: Publisher, consumer: Consumer) -> bool:
        """False when the bus takes no samples for now: they wait in the spool."""
        cls, _, run = delivery.route.partition(".")
        if self.held and cls == Class.SAMPLES.value:
            return False
        try:
            publisher.publish([Outgoing(run=run, cls=Class(cls), body=delivery.body)])
        except (BadMessage, ValueError) as error:
            consumer.reject(delivery, f"cannot be shipped on: {error}")
            return True
        except BusFull:
            if cls != Class.SAMPLES.value:
                raise
            self.held = True
            return False
        consumer.ack([delivery])
        return True


def _signs(spool: Spool) -> tuple[set[tuple[str, int]], bool]:
    """The senders' folders with their times of change, and whether files wait in any."""
    seen, waits = set(), False
    with contextlib.suppress(OSError):
        seen = {(each.name, each.stat(follow_symlinks=False).st_mtime_ns) for each in entries(spool.new)}
        seen.add((".", spool.new.stat().st_mtime_ns))
        waits = any(True for _ in spool.waiting(tuple(Class)))
    return seen, waits
