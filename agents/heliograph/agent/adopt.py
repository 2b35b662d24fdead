"""Takes over what other namespaces of this user left behind: an ended batch job, a container, the boot before.

In: the state folder. Out: journals that nobody writes and no agent watches, moved into this agent's namespace. Their
ids stay, so a record that was shipped before is recognised when it comes again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

from heliograph import watchman
from heliograph.journal_reader import segments

log = logging.getLogger("heliograph.agent")

EVERY = 600.0
"""Seconds between looks at the neighbours."""
OLD = 60.0
"""Seconds for which a namespace must have been left alone."""


def adopt(namespace: Path) -> int:
    """Move in what was left behind; returns how many journals. An agent's lock on the other side is respected."""
    adopted = 0
    try:
        neighbours = [path for path in namespace.parent.iterdir() if path != namespace and not path.is_symlink()]
        for neighbour in neighbours:
            if (neighbour / "journals").is_dir():
                adopted += _adopt_from(neighbour, namespace)
    except OSError as error:
        log.warning("What other jobs left behind cannot be taken over: %s", error)
    return adopted


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
        return len(left)
    finally:
        os.close(lock)


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
