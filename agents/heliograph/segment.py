"""One segment of a journal: a file that is only ever appended to.

In: frames. Out: a file named after the offset of its first byte within the journal, which begins with a head frame
(whose it is, and where its records go) and carries a shared lock until its last writer has let go of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

import msgspec

from heliograph import __version__, descriptor, state
from heliograph.frames import OPENED, framed
from heliograph.messages import SCHEMA_VERSION
from heliograph.route import Route

SUFFIX = ".seg"
GAP = 1 << 26
"""Offsets left free behind a segment: a thread that still writes to it cannot reach the next one's offsets."""
OUT_OF_THE_WAY = 200
"""Lowest descriptor number of a segment. The program's own files get the lowest free numbers: standard input and output
when it has closed those, and anything else that it closed by number."""
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


class DescriptorLost(OSError):
    """The program closed the segment's descriptor; its number may be the program's own file by now."""


def segment_name(start: int) -> str:
    return f"{start:016d}{SUFFIX}"


class Segment:
    """An open segment. It closes when its last user lets go: a thread in the middle of a write keeps it alive."""

    __slots__ = ("fd", "file", "folder", "size", "start")

    def __init__(self, folder: Path, start: int, fd: int) -> None:
        self.folder, self.start, self.fd, self.size = folder, start, fd, 0
        self.file = descriptor.file_of(fd)

    @classmethod
    def first(cls, folder: Path, route: Route, maker: str) -> Segment:
        """Make the journal's folder and its first segment. Raises OSError."""
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            return cls._opened(folder, 0, route, maker)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()  # else the agent would wait for its first segment
            raise

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
        segment = cls(folder, start, _out_of_the_way(os.open(passing, flags, 0o600)))
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
        """One write; returns how much of it there was room for. Raises OSError, and DescriptorLost among them."""
        if not self.held():
            raise DescriptorLost("the program closed the journal's descriptor; a new journal is begun")
        written = descriptor.write(self.fd, data)
        self.size += written
        return written

    def held(self) -> bool:
        """Whether the descriptor is still this file. Costs a microsecond, and nothing of the program's is ever touched
        (but by a thread that closes descriptors by number in the instant between this look and the write)."""
        try:
            return descriptor.file_of(self.fd) == self.file
        except OSError as error:
            if error.errno != errno.EBADF:
                raise  # a TimeoutError of the program's signal handler, for example
            return False

    def removed(self) -> bool:
        """Whether somebody deleted the file, such as a cleaner of /tmp."""
        return self.held() and os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        held = self.fd >= 0 and self.held()
        fd, self.fd = self.fd, -1
        if held:
            os.close(fd)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the interpreter's end what this needs may be gone
            self.close()


def _out_of_the_way(fd: int) -> int:
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY)
    except OSError:  # the process may have fewer descriptors than that
        return fd
    os.close(fd)
    return moved


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
