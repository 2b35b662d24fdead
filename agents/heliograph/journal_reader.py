"""Reads a journal on from a position, while its process writes it and after.

In: a journal's folder. Out: its whole records in order, each with its offset (journal id plus offset is its id). Torn
stretches are passed over and counted. A segment is finished when its last writer has let go of its lock and all of
it was read; a journal has ended when that holds for its last segment.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from heliograph import state
from heliograph.frames import CLASSES, CLOSED, HEAD_SIZE, OPENED, Frame, scan
from heliograph.messages import MAX_RECORD, Class
from heliograph.segment import SUFFIX, Head, segment_name

CHUNK = 2 * MAX_RECORD
"""Bytes read at once; more than a frame can have, so that one always fits."""
ASK_SECONDS = 5.0
"""How often it is asked whether only a lock keeps a journal alive: a child that some library forked in C, past our
journal's at-fork handler, holds it for as long as it lives."""
_head = msgspec.msgpack.Decoder(Head)


class Found(NamedTuple):
    """A record as it stands in a journal. `end` is where the next one may begin."""

    offset: int
    end: int
    cls: Class
    payload: bytes


class Reader:
    """Not thread-safe. Raises OSError where a file cannot be read."""

    def __init__(self, folder: Path, *, position: int = 0, clean: bool = False) -> None:
        self.folder = folder
        self.journal = folder.name
        self.position = position
        self.clean = clean
        """Whether the last thing read was the mark of a clean end."""
        self.head: Head | None = None
        self.ended = False
        self.torn = 0
        self._fd = -1
        self._start = 0
        self._finished: list[tuple[Path, int]] = []
        self._ask_at = time.monotonic() + ASK_SECONDS
        self._asked: tuple[int, int] | None = None
        """Start and size of the segment when last asked."""

    def read(self) -> list[Found]:
        """What is there, up to CHUNK bytes; call again while it gives something. Sets `ended` at the end."""
        if self.ended or (self._fd < 0 and not self._open_segment()):
            return []
        released = self._released()  # asked before reading: what was written before is then seen
        data = os.pread(self._fd, CHUNK, self.position - self._start)
        last = released and len(data) < CHUNK
        frames, used, torn = scan(data, self.position, final=last)
        self.position += used
        self.torn += torn
        if last:
            self._next_segment()
        return self._records(frames)

    def has_finished(self) -> bool:
        """Whether there are segments that may be forgotten once they are confirmed."""
        return bool(self._finished)

    def forget(self, confirmed: int) -> None:
        """Delete the finished segments that lie wholly below `confirmed`."""
        while self._finished and self._finished[0][1] <= confirmed:
            path, _ = self._finished.pop(0)
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the journal: it has ended, and all of it is confirmed."""
        self.close()
        for path in self.folder.iterdir():
            path.unlink(missing_ok=True)
        self.folder.rmdir()

    def unread(self) -> int:
        """Bytes behind the position."""
        return sum(
            max(0, start + path.stat().st_size - max(start, self.position)) for start, path in segments(self.folder)
        )

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _records(self, frames: list[Frame]) -> list[Found]:
        found: list[Found] = []
        for frame in frames:
            cls = CLASSES.get(frame.code)
            if cls is not None:
                found.append(Found(frame.offset, frame.end, cls, frame.payload))
                self.clean = False
            elif frame.code == CLOSED:
                self.clean = True
            elif frame.code == OPENED and self.head is None:
                self.head = _decoded(frame.payload)
        return found

    def _open_segment(self) -> bool:
        """Open the segment that holds the position, or the next one that is there."""
        known = segments(self.folder)
        if not known:
            return False
        begun = [entry for entry in known if entry[0] <= self.position]
        start, path = begun[-1] if begun else known[0]
        for earlier, earlier_path in known:
            if earlier < start:
                self._finished.append((earlier_path, start))
        self._use(start, path)
        if self.head is None:
            self.head = next(filter(None, (head_of(segment) for _, segment in known)), None)
        return True

    def _use(self, start: int, path: Path) -> None:
        self.close()
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._start = start
        self.position = max(self.position, start)

    def _next_segment(self) -> None:
        for start, path in segments(self.folder):
            if start > self._start:
                self._finished.append((self.folder / segment_name(self._start), self.position))
                self._use(start, path)
                return
        self.ended = True
        self.close()

    def _released(self) -> bool:
        """Whether nobody will write to this segment any more."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # somebody holds it, or the file system knows no locks
            return self._abandoned()
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return True

    def _abandoned(self) -> bool:
        """Whether the process is gone, or has gone on to another segment and let this one rest since last asked."""
        moment = time.monotonic()
        if self.head is None or moment < self._ask_at:
            return False
        self._ask_at = moment + ASK_SECONDS
        asked, self._asked = self._asked, (self._start, os.fstat(self._fd).st_size)
        if asked == self._asked and any(start > self._start for start, _ in segments(self.folder)):
            return True
        return not state.process_alive(self.head.pid, self.head.start)


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The segments of a journal, by the offset of their first byte."""
    found = []
    for name in os.listdir(folder):
        stem, dot, suffix = name.partition(".")
        if dot + suffix == SUFFIX and stem.isdigit():
            found.append((int(stem), folder / name))
    return sorted(found)


def head_of(segment: Path) -> Head | None:
    """The head frame of a segment, None when it cannot be read."""
    with open(segment, "rb") as file:
        frames, _, _ = scan(file.read(HEAD_SIZE + 65536), final=True)
    return next((_decoded(frame.payload) for frame in frames if frame.code == OPENED), None)


def read_all(folder: Path) -> list[Found]:
    """Every whole record of a journal, for tests and tools."""
    reader = Reader(folder)
    everything: list[Found] = []
    try:
        while True:
            before = reader.position
            some = reader.read()
            everything += some
            if reader.ended or (not some and reader.position == before):
                return everything
    finally:
        reader.close()


def _decoded(payload: bytes) -> Head | None:
    try:
        return _head.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
