"""Scanning: one pass over a tree, a slice at a time.

In: a root, a budget. Out: every path below it, relative, with its directory entry. Folders are listed one after the
other (one descriptor, whatever the depth); symbolic links to folders are not followed, so there are no loops.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

_LOOK = 256
"""Entries between looks at the clock."""


class Version(NamedTuple):
    """What tells one state of a file from another: bytes, nanoseconds, number."""

    size: int
    mtime: int
    inode: int


class Scan:
    """One pass. `entries` counts what it saw, `seconds` what it cost, `errors` the folders that it could not read."""

    def __init__(self, root: str, see: Callable[[str, os.DirEntry[str]], None], *, below: str = "") -> None:
        self._root = root
        self._see = see
        self._folders = [below]
        self._prefix = ""
        self._listing: Iterator[os.DirEntry[str]] | None = None
        self._close: Callable[[], None] = lambda: None
        self.entries = 0
        self.seconds = 0.0
        self.errors = 0
        self.error: OSError | None = None
        self.linked = 0
        """Symbolic links to folders that were passed by."""

    def advance(self, budget: float) -> bool:
        """Go on for about so many seconds; True when the pass is complete."""
        began = time.monotonic()
        try:
            while self._listing is not None or self._next_folder():
                if not self._slice():
                    self._listing = None
                    self._close()
                if time.monotonic() - began >= budget:
                    return False
            return True
        finally:
            self.seconds += time.monotonic() - began

    def close(self) -> None:
        """Give up: nothing stays open."""
        self._close()
        self._listing, self._folders = None, []

    def _next_folder(self) -> bool:
        while self._folders:
            folder = self._folders.pop()
            try:
                listing = os.scandir(f"{self._root}/{folder}" if folder else self._root)
            except OSError as error:
                self._failed(folder, error)
                continue
            self._listing, self._close = listing, listing.close
            self._prefix = f"{folder}/" if folder else ""
            return True
        return False

    def _slice(self) -> bool:
        """Some entries of the open folder; False at its end."""
        assert self._listing is not None  # noqa: S101 - for the type checker
        try:
            for count, entry in enumerate(self._listing, 1):
                self.entries += 1
                if entry.is_dir(follow_symlinks=False):
                    self._folders.append(self._prefix + entry.name)
                elif entry.is_symlink() and _to_folder(entry):
                    self.linked += 1
                else:
                    self._see(self._prefix + entry.name, entry)
                if count >= _LOOK:
                    return True
        except OSError as error:
            self._failed(self._prefix, error)
        return False

    def _failed(self, folder: str, error: OSError) -> None:
        if folder and isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return  # deleted meanwhile
        self.errors += 1
        self.error = self.error or error


def _to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def version_of(path: str) -> Version | None:
    """The present version of a regular file, or of the one that a link leads to; None when there is none."""
    with suppress(OSError, ValueError):
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            return Version(found.st_size, found.st_mtime_ns, found.st_ino)
    return None
