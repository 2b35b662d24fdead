"""How much disk the journals of a process and of a node use, against their caps.

In: a journal's folder and the limits. Out: one number, the fullness: 0 is empty, 1 is at a cap.

The size of all journals is found by whoever finds the last count older than some seconds, and left in a file for the
others: with a hundred recorders on a node it is still one walk.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from heliograph.settings import Limits

FRESH = 5.0
"""Seconds for which a count of the node's journals is used."""


def fullness(namespace: Path, journal: Path, limits: Limits) -> float:
    """The fuller of: this journal against its cap, the node's journals against theirs, the file system."""
    fullest = max(
        folder_size(journal) / max(1, limits.process),
        node_size(namespace) / max(1, limits.node),
    )
    space = os.statvfs(journal)
    if space.f_bavail * space.f_frsize < limits.reserve:
        fullest = max(fullest, 0.96)  # control records are few, and say why the others are missing
    return fullest


def folder_size(folder: str | Path) -> int:
    """Bytes in the files of one folder."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue  # shipped and deleted meanwhile
    except OSError:
        return total
    return total


def node_size(namespace: Path) -> int:
    """Bytes in all journals of this namespace; up to FRESH seconds old."""
    counted = namespace / "usage"
    try:
        with open(counted, "rb") as file:
            if 0 <= time.time() - os.fstat(file.fileno()).st_mtime < FRESH:
                return int(file.read(32))
    except (OSError, ValueError):
        pass
    total = 0
    with os.scandir(namespace / "journals") as entries:
        for entry in entries:
            total += folder_size(entry.path)
    passing = f"{counted}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            file.write(b"%d" % total)
        os.replace(passing, counted)
    except OSError:
        pass  # full or read-only: everybody counts for himself
    return total
