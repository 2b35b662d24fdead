"""Running callbacks: a bounded number of processes, each a group of its own, none of which outlives the engine.

In: calls. Out: how each ended. Nothing here waits: `poll` asks what has ended since.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from heliograph import background
from heliograph.filewatch import keeper
from heliograph.filewatch.calls import Call, answer

T = TypeVar("T")
GRACE = 10.0
"""Seconds after its timeout that a keeper has to end by itself."""
_MOST = 1 << 18
_LAST_BREATH = 0.01
"""Seconds between looks at a process that is being torn down."""


@dataclass(frozen=True, kw_only=True)
class Ended(Generic[T]):
    """`elapsed` in seconds."""

    what: T
    outcome: str
    text: str | None
    elapsed: float


@dataclass
class _Running(Generic[T]):
    process: subprocess.Popen[bytes]
    what: T
    life: int
    began: float
    deadline: float | None
    out: int
    data: bytes = b""
    silent: bool = False
    """Nothing more comes: the keeper has ended, or is about to."""


class Pool(Generic[T]):
    """At most `size` calls at a time. Belongs to one thread, with which its processes end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._running: list[_Running[T]] = []

    @property
    def running(self) -> list[T]:
        return [one.what for one in self._running]

    @property
    def free(self) -> int:
        return self._size - len(self._running)

    def start(self, call: Call, what: T) -> None:
        """Start a call. Raises OSError when no process can be made now."""
        theirs, ours = os.pipe()
        try:
            with tempfile.TemporaryFile() as job:
                job.write(call.to_bytes())
                job.seek(0)
                process = subprocess.Popen(
                    [sys.executable, keeper.__file__, str(theirs)],
                    stdin=job,
                    stdout=subprocess.PIPE,
                    pass_fds=(theirs,),
                    start_new_session=True,
                    cwd="/",  # where no file of the user's can be called like a module of ours
                    env=background.settled(os.environ),
                )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        assert process.stdout is not None  # noqa: S101 - for the type checker
        out = process.stdout.fileno()
        os.set_blocking(out, False)
        now = time.monotonic()
        deadline = None if call.timeout is None else now + call.timeout + GRACE
        self._running.append(_Running(process, what, ours, now, deadline, out))

    def poll(self) -> list[Ended[T]]:
        """The calls that have ended since the last time."""
        found = []
        for one in list(self._running):
            _read(one)
            late = one.deadline is not None and time.monotonic() > one.deadline
            if late:
                _kill(one)
            if one.process.poll() is None:
                continue
            _read(one)
            self._running.remove(one)
            found.append(_ended(one, late=late))
            _put_away(one)
        return found

    def wait(self, seconds: float) -> None:
        """So long, or until a call says something."""
        speaking = [one.out for one in self._running if not one.silent]
        if len(speaking) < len(self._running):
            seconds = min(seconds, _LAST_BREATH)
        select.select(speaking, [], [], max(0.0, seconds))

    def kill(self) -> list[T]:
        """End all calls now; what they were."""
        running, self._running = self._running, []
        for one in running:
            _kill(one)
        for one in running:
            with suppress(subprocess.TimeoutExpired):  # in the kernel, on a dead file server: it ends when it can
                one.process.wait(5.0)
            _put_away(one)
        return [one.what for one in running]


def _kill(one: _Running[T]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(one.process.pid, signal.SIGKILL)


def _read(one: _Running[T]) -> None:
    with suppress(BlockingIOError):
        while len(one.data) < _MOST:
            more = os.read(one.out, 65536)
            if not more:
                one.silent = True
                return
            one.data += more


def _put_away(one: _Running[T]) -> None:
    _kill(one)  # what the callback left behind in its group, should the keeper have been killed
    os.close(one.life)
    if one.process.stdout is not None:
        one.process.stdout.close()


def _ended(one: _Running[T], *, late: bool) -> Ended[T]:
    elapsed = time.monotonic() - one.began
    said = answer(one.data)
    if said is not None:
        return Ended(what=one.what, outcome=said[0], text=said[1], elapsed=elapsed)
    text = "its process was killed before it could say anything; the watch's log may hold its last words"
    return Ended(what=one.what, outcome="timeout" if late else "killed", text=text, elapsed=elapsed)
