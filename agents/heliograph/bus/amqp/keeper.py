"""Keeps a connection alive while its owner is busy elsewhere, with a long commit for instance.

In: the lock that its owner holds whenever it uses the connection, and what answers heartbeats. Out: nothing; a daemon
thread that does this now and then until it is told to end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable


class Keeper:
    """`breathe` is called with the lock held, every few seconds; while the owner waits for the broker, it is not
    needed and waits, too."""

    def __init__(
        self, lock: contextlib.AbstractContextManager[object], breathe: Callable[[], None], every: float
    ) -> None:
        self._lock, self._breathe, self._every = lock, breathe, every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus-keeper", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Does not wait: the owner may hold the lock."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            with self._lock:
                if not self._ended.is_set():
                    self._breathe()
