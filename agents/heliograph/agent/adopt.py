"""Takes over what other namespaces of this user left behind: an ended batch job, a container, the boot before.

In: the state folder. Out: journals that nobody writes and no agent watches, moved into this agent's namespace. Their
ids stay, so a record that was shipped before is recognised when it comes again. A folder in which nothing was left for
a week is deleted: every batch job and every boot makes one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from pathlib import Path

from heliograph import watchman
from heliograph.agent.followed import UNREADABLE
from heliograph.journal_reader import segments

log = logging.getLogger("heliograph.agent")

EVERY = 600.0
"""Seconds between looks at the neighbours."""
OLD = 60.0
"""Seconds for which a namespace must have been left alone."""
FORGOTTEN = 7 * 86400.0
"""Seconds after which an empty one is deleted."""


def adopt(namespace: Path) -> int:
    """Move in what was left behind; returns how many journals. An agent's lock on the other side is respected."""
    adopted = 0
    for neighbour in _neighbours(namespace):
        try:
            adopted += _adopt_from(neighbour, namespace)
        except OSError as error:
            log.warning("What was left behind in %s cannot be taken over: %s", neighbour.name, error)
    return adopted


def _neighbours(namespace: Path) -> list[Path]:
    try:
        others = [path for path in namespace.parent.iterdir() if path != namespace and not path.is_symlink()]
    except OSError as error:
        log.warning("The other folders beside %s cannot be seen: %s", namespace.name, error)
        return []
    return [path for path in others if os.path.isdir(path / "journals")]  # of what may not be looked into: no


def _adopt_from(neighbour: Path, namespace: Path) -> int:
    lock = watchman.open_lock(neighbour / watchman.AGENT_LOCK)
    try:
        if not watchman.try_lock(lock):
            return 0
        left = [journal for journal in (neighbour / "journals").iterdir() if _left(journal)]
        for journal in left:
            journal.rename(namespace / "journals" / journal.name)
        if left:
            log.info("%d journals taken over from %s", len(left), neighbour.name)
        elif _forgotten(neighbour):
            _delete(neighbour)
        return len(left)
    finally:
        os.close(lock)


def _forgotten(neighbour: Path) -> bool:
    """Whether there is no journal, nothing kept for a person to look at, and nothing that was touched lately."""
    with os.scandir(neighbour) as listing:
        touched = {entry.name: entry.stat(follow_symlinks=False).st_mtime for entry in listing}
    if UNREADABLE in touched or time.time() - max(touched.values()) < FORGOTTEN:
        return False
    return next((neighbour / "journals").iterdir(), None) is None


def _delete(neighbour: Path) -> None:
    """Both of its locks are held meanwhile; who comes back later finds no folder and makes it anew."""
    gate = watchman.open_lock(neighbour / watchman.GATE_LOCK)
    try:
        if watchman.try_lock(gate):
            shutil.rmtree(neighbour)
    finally:
        os.close(gate)


def _left(journal: Path) -> bool:
    """Whether nobody has a segment of this journal open or has touched it lately."""
    known = segments(journal)
    if not known or time.time() - known[-1][1].stat().st_mtime < OLD:
        return False
    handle = os.open(known[-1][1], os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
