"""A SQLite database on a network file system: the live file stands on this node, copies are published where it belongs.

In: the live file, the path the user named, a clock. Out: consistent snapshots, at intervals that cost little and at the
end. Batches are acknowledged only once a snapshot holds them, so that the loss of the node costs nothing that
was taken off the spool: whoever takes over begins from the published file and gets the rest delivered again.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from heliograph.bus import Consumer, Delivery
from heliograph_store.errors import StoreError
from heliograph_store.snapshot import publish_snapshot
from heliograph_store.store import connect

log = logging.getLogger("heliograph.embedded")
SHARE = 0.02
"""Part of the time that publishing may take."""
SHORTEST = 5.0
_SIDE_FILES = ("-wal", "-shm", "-journal")


def fetch(published: Path, live: Path) -> None:
    """Begin from what was published; a live file that somebody left here may miss what others wrote since."""
    live.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove(live)
    if published.exists():
        shutil.copyfile(published, live)


def remove(database: Path) -> None:
    """Delete a SQLite file with what belongs to it."""
    for suffix in ("", *_SIDE_FILES):
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def publish(live: Path, published: Path) -> None:
    """Put a consistent copy of the live file in place of the published one."""
    with closing(connect(f"sqlite:///{live}", read_only=True)) as store:
        publish_snapshot(store, published)


class AckAfterPublish:
    """Holds acknowledgements back until a snapshot has the rows."""

    def __init__(
        self,
        publish_now: Callable[[], None],
        *,
        most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most` is how many may be held back where the bus brings no more before some are acknowledged."""
        self._publish = publish_now
        self._most = most
        self._clock = clock
        self._waiting: list[Delivery] = []
        self._next = clock()  # the first rows show up where the user looks for them at once

    @property
    def held(self) -> int:
        return len(self._waiting)

    def settle(self, consumer: Consumer, deliveries: Sequence[Delivery]) -> None:
        del consumer
        self._waiting += [replace(delivery, body=b"") for delivery in deliveries]  # only the handle is still needed

    def tick(self, consumer: Consumer) -> None:
        full = self._most is not None and len(self._waiting) >= self._most
        if self._waiting and (full or self._clock() >= self._next):
            self.finish(consumer)

    def finish(self, consumer: Consumer) -> None:
        if not self._waiting:
            return
        began = self._clock()
        try:
            self._publish()
        except StoreError as error:
            log.warning("cannot publish the database, next try in a minute: %s", error)
            self._next = self._clock() + 60.0
            return
        now = self._clock()
        self._next = now + max(SHORTEST, (now - began) / SHARE)
        consumer.ack(self._waiting)
        self._waiting = []

    def forget(self) -> None:
        self._waiting = []
