"""Sees to it that an agent watches over the journals of this namespace.

In: the namespace's folder. Out: a detached `python -m heliograph.agent` when nobody holds the agent's lock.

Three files: `agent.lock` is held by the agent for its life. `gate.lock` is held shared while a journal is being opened
and exclusively by an agent that is about to leave, so that no journal can appear between its last look and its end.
`agent.starting` is touched by who starts an agent: a hundred workers that begin at once start one, not a hundred.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heliograph import background, settings

AGENT_LOCK, GATE_LOCK, STARTING = "agent.lock", "gate.lock", "agent.starting"
START_GRACE = 5.0
"""Seconds that a started agent has to take its lock before somebody else tries."""


def open_lock(path: Path) -> int:
    """Descriptor of a lock file, made if missing. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def try_lock(handle: int, *, shared: bool = False) -> bool:
    """Take the lock if it is free. A file system without locks counts as free."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def at_the_gate(namespace: Path) -> Iterator[bool]:
    """Hold the gate while a journal is opened. False: an agent is about to leave and may not see the journal."""
    handle = open_lock(namespace / GATE_LOCK)
    try:
        yield try_lock(handle, shared=True)
    finally:
        os.close(handle)


def agent_present(namespace: Path) -> bool:
    """Whether some process holds the agent's lock."""
    handle = open_lock(namespace / AGENT_LOCK)
    try:
        return not try_lock(handle, shared=True)
    finally:
        os.close(handle)  # gives the lock back


def ensure_agent(namespace: Path, *, leaving: bool = False) -> bool:
    """Start an agent unless there is one (or one is just starting, or none is wanted). True when one was started.

    `leaving`: the present one is about to end, so start its successor. Raises OSError.
    """
    if settings.agent_off() or (not leaving and agent_present(namespace)) or not _my_turn(namespace):
        return False
    if settings.site().off:
        return False
    environ = {**os.environ, "HELIOGRAPH_STATE_DIR": str(namespace.parent)}
    background.start("heliograph.agent", "--detached", environ=environ)
    return True


def _my_turn(namespace: Path) -> bool:
    handle = open_lock(namespace / STARTING)
    try:
        if not try_lock(handle):
            return False
        found = os.fstat(handle)
        if found.st_size and 0 <= time.time() - found.st_mtime < START_GRACE:
            return False
        os.pwrite(handle, b"%d" % os.getpid(), 0)
        os.utime(handle)
        return True
    finally:
        os.close(handle)


def started(namespace: Path) -> None:
    """An agent has taken its lock: from now on, who finds the lock free may start another at once."""
    handle = open_lock(namespace / STARTING)
    try:
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)
