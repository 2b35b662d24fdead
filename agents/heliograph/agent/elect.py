"""One agent at a time in a namespace.

In: the namespace's folder. Out: the lock that makes this process the agent, held until it leaves. It leaves through the
gate: no recorder may be opening a journal while the last look is taken.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from heliograph import watchman

PATIENCE = 4.0
"""Seconds for which a lock is tried: recorders that look hold it for a moment, a leaving agent for a little longer."""


class Election:
    """The lock of the agent. Not held before `won`, nor after `leave` or the process's end."""

    def __init__(self, namespace: Path) -> None:
        self._namespace = namespace
        self._lock = -1

    def won(self, patience: float = PATIENCE) -> bool:
        """Try to become the agent. Raises OSError when the folder cannot be used."""
        handle = watchman.open_lock(self._namespace / watchman.AGENT_LOCK)
        deadline = time.monotonic() + patience
        while not watchman.try_lock(handle):
            if time.monotonic() >= deadline:
                os.close(handle)
                return False
            time.sleep(0.1)
        self._lock = handle
        watchman.started(self._namespace)
        return True

    def leave(self, nothing_left: Callable[[], bool]) -> bool:
        """Give the lock back, if with the gate closed there is still nothing left to do. False: stay."""
        gate = watchman.open_lock(self._namespace / watchman.GATE_LOCK)
        try:
            if not watchman.try_lock(gate) or not nothing_left():
                return False
            self.drop()
            return True
        finally:
            os.close(gate)

    def keep(self) -> bool:
        """Freshen the lock's file: cleaners of /tmp delete what nobody has touched for some days. False when it is gone
        all the same: then somebody else can hold the lock of a new one, and be the agent, too."""
        if self._lock < 0:
            return True
        with contextlib.suppress(OSError):
            os.utime(self._lock)
        return os.fstat(self._lock).st_nlink > 0

    def drop(self) -> None:
        """Give the lock back, whatever is left: the next record starts another agent."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)
