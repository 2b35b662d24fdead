"""One segment of a journal: a file that is only ever appended to.

In: frames. Out: a file named after the offset of its first byte within the journal, which begins with a head frame
(whose it is, and where its records go) and carries a shared lock until its last writer has let go of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

import msgspec

from heliograph import __version__, state
from heliograph.frames import OPENED, framed
from heliograph.messages import SCHEMA_VERSION
from heliograph.route import Route

SUFFIX = ".seg"
GAP = 1 << 26
"""Offsets left free behind a segment: a thread that still writes to it cannot reach the next one's offsets."""
_encode = msgspec.msgpack.Encoder().encode


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """First frame of every segment: all that an agent needs to ship it when its process is long dead."""

    journal: str
    pid: int
    start: int | None
    host: str
    boot: str
    route: Route
    schema: int = SCHEMA_VERSION
    version: str = __version__
    maker: str = ""
    """Id of the agent whose own records these are; '' for everybody else."""


def segment_name(start: int) -> str:
    return f"{start:016d}{SUFFIX}"


class Segment:
    """An open segment. It closes when its last user lets go: a thread in the middle of a write keeps it alive."""

    __slots__ = ("fd", "folder", "size", "start")

    def __init__(self, folder: Path, start: int, fd: int) -> None:
        self.folder, self.start, self.fd, self.size = folder, start, fd, 0

    @classmethod
    def first(cls, folder: Path, route: Route, maker: str) -> Segment:
        """Make the journal's folder and its first segment. Raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        return cls._opened(folder, 0, route, maker)

    @classmethod
    def after(cls, full: Segment, route: Route, maker: str) -> Segment:
        """The segment that follows a full one. Raises OSError."""
        return cls._opened(full.folder, full.start + os.fstat(full.fd).st_size + GAP, route, maker)

    @classmethod
    def _opened(cls, folder: Path, start: int, route: Route, maker: str) -> Segment:
        """Lock and head come before the name, so nobody ever sees a segment without them."""
        path = folder / segment_name(start)
        passing = path.with_suffix(".new")
        passing.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        segment = cls(folder, start, os.open(passing, flags, 0o600))
        try:
            _lock(segment.fd)
            head = framed(OPENED, _encode(_head(folder.name, route, maker)))
            if segment.write(head) < len(head):
                raise OSError("no space left for the head of a segment")  # noqa: TRY301
            passing.rename(path)
        except BaseException:
            segment.close()
            passing.unlink(missing_ok=True)
            raise
        return segment

    def write(self, data: bytes) -> int:
        """One write; returns how much of it there was room for. Raises OSError."""
        written = os.write(self.fd, data)
        self.size += written
        return written

    def removed(self) -> bool:
        """Whether somebody deleted the file, such as a cleaner of /tmp."""
        return os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.close()


def _lock(fd: int) -> None:
    with contextlib.suppress(OSError):  # a file system without locks: readers ask for the process instead
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _head(journal: str, route: Route, maker: str) -> Head:
    pid = os.getpid()
    return Head(
        journal=journal,
        pid=pid,
        start=state.process_start(pid),
        host=state.host(),
        boot=state.boot_id(),
        route=route,
        maker=maker,
    )
