"""Has a run ended, so that its watches can?

In: the store. Out: why a run's watches should stop, None while they should go on or nobody can tell.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from heliograph_store.errors import StoreError
from heliograph_store.read.liveness import alive_until, liveness
from heliograph_store.read.runs import find_run
from heliograph_store.store import Store, connect

log = logging.getLogger("heliograph.filewatch")


class RunEnds:
    """Asks the store about runs; opened at the first question and again after it failed. Times are in seconds."""

    def __init__(self, url: str, *, lost_after: float, wall: Callable[[], float] = time.time) -> None:
        self._url, self._lost_after, self._wall = url, lost_after, wall
        self._store: Store | None = None
        self._trouble = ""
        self.up = False
        """Whether the store answered last time."""

    def why(self, run: str) -> tuple[bool, str | None]:
        """(whether the store knows the run, why its watches should stop)."""
        try:
            if self._store is None:
                self._store = connect(self._url, read_only=True)
            found = find_run(self._store, run)
        except StoreError as error:
            self._failed(str(error))
            return True, None
        except Exception as error:  # no schema yet, or a file that is not there yet
            self._failed(f"{type(error).__name__}: {error}")
            return True, None
        self.up, self._trouble = True, ""
        if found is None:
            return False, None
        now = int(self._wall() * 1e6)
        state = liveness(found, now)
        if state in {"completed", "failed"}:
            return True, f"the run has ended ({state})"
        # A run that was lost for a moment comes back: give it time.
        if state == "lost" and now > alive_until(found) + int(self._lost_after * 1e6):
            return True, "the run is lost: no sign of life"
        return True, None

    def close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(StoreError):
                store.close()

    def _failed(self, reason: str) -> None:
        if reason != self._trouble:
            log.warning("whether runs have ended cannot be told now: %s", reason)
        self._trouble, self.up = reason, False
        self.close()
