"""Events of the file system, through watchfiles where it is installed (`pip install heliograph[files]`).

In: a folder on a file system that can be trusted with it. Out: paths at which something happened. An event is a hint to
look, never more: events get lost when they are too many, so whoever uses them scans now and then all the same.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from typing import Any

log = logging.getLogger("heliograph.filewatch")

_TURN = 250
"""Milliseconds after which watchfiles gives the word back."""
_STALE = 1.0
"""Seconds after which events are asked for although nobody waited for them."""


class Events:
    """Events below one folder. Has a thread of watchfiles' own until `close`."""

    def __init__(self, root: str, changes: Iterator[set[tuple[int, str]]]) -> None:
        self._root, self._folder = root, _identity(root)
        self._changes: Iterator[set[tuple[int, str]]] | None = changes
        self._paths: set[str] = set()
        self._asked = 0.0

    @classmethod
    def open(cls, root: str) -> Events | None:
        """None where watchfiles is not installed or the system does not allow so many watches."""
        try:
            from watchfiles import watch
        except ImportError:
            return None
        changes: Any = watch(
            root,
            watch_filter=None,
            debounce=200,
            step=100,
            rust_timeout=_TURN,
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
            ignore_permission_denied=True,
        )
        made = cls(root, changes)
        return made if made._turn() else None  # from here on nothing is missed

    def wait(self, seconds: float) -> None:
        """So long, or until something happens."""
        end = time.monotonic() + seconds
        while not self._paths:
            left = end - time.monotonic()
            if left <= 0.0:
                return
            if left < _TURN / 1000 or self._changes is None:
                time.sleep(left)
                return
            self._turn()

    def take(self) -> set[str]:
        """The paths at which something happened since the last time."""
        if time.monotonic() - self._asked > _STALE:
            self._turn()
        found, self._paths = self._paths, set()
        return found

    @property
    def alive(self) -> bool:
        return self._changes is not None

    @property
    def astray(self) -> bool:
        """Whether another folder stands at the root by now: these events are still those of the one that was there."""
        return self._changes is not None and _identity(self._root) != self._folder

    def close(self) -> None:
        changes, self._changes = self._changes, None
        close = getattr(changes, "close", None)
        if close is not None:
            close()

    def _turn(self) -> bool:
        if self._changes is None:
            return False
        try:
            self._paths.update(path for _, path in next(self._changes))
        except Exception as error:  # StopIteration at an interrupt, OSError at the limits, errors of the library's own
            log.info("No events of the file system here (%s): scanning instead", error or type(error).__name__)
            self.close()
            return False
        self._asked = time.monotonic()
        return True


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino
