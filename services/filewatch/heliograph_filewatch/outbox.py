"""What a watch has to say, on disk until the bus has it.

In: records, appended by the watch's own process with one write each, so that its death loses none. Out: the same, in
order, to whoever publishes; a file is deleted when all of it was confirmed. A record's id is the outbox's id plus its
offset, as with a journal.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from heliograph.frames import CLASSES, CODES, Frame, framed, scan
from heliograph.messages import CLASS_OF, MAX_RECORD, Class, Record
from heliograph.payload import payload_of

MOST = 8 << 20
"""Bytes after which another file is begun."""
_READ = 2 * MAX_RECORD
_SUFFIX = ".out"


class Outbox:
    """The writing side. One process at a time."""

    def __init__(self, folder: Path, *, most: int = MOST) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder, self._most = folder, most
        self._begin(_end(folder))

    def append(self, record: Record) -> None:
        """Raises OSError: what a watch found must not be taken for told when it was not."""
        data = framed(CODES[CLASS_OF[type(record)]], payload_of(record))
        if os.write(self._file, data) != len(data):  # a full disk: the torn frame is passed over by the reader
            raise OSError("the disk took only a part of a record")
        self._size += len(data)
        if self._size >= self._most:
            self.close()
            self._begin(_end(self._folder))

    def close(self) -> None:
        os.close(self._file)

    def _begin(self, start: int) -> None:
        path = self._folder / f"{start:020d}{_SUFFIX}"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = 0


class Unsent:
    """The reading side: what is not confirmed yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.id = _identity(folder)
        self._mark = folder / "confirmed"
        self.position = 0
        with contextlib.suppress(OSError, ValueError):
            self.position = int(self._mark.read_text(encoding="ascii"))

    def pull(self) -> list[tuple[Class, Frame]]:
        """The next records, [] when there are none. They come again until they are confirmed."""
        while files := _files(self._folder):
            start, path = files[0]
            last = len(files) == 1
            self.position = max(self.position, start)
            with open(path, "rb") as file:
                file.seek(self.position - start)
                data = file.read(_READ)
            # What is torn at the end of a file that nobody writes to any more stays torn.
            frames, done, _ = scan(data, self.position, final=not last and len(data) < _READ)
            found = [(CLASSES[f.code], f) for f in frames if f.code in CLASSES]
            if found:
                return found
            if done:
                self.confirm(self.position + done)
            if last:
                return []
            if self.position >= start + path.stat().st_size:
                self.confirm(files[1][0])
                path.unlink(missing_ok=True)
        return []

    def confirm(self, end: int) -> None:
        """Everything below this offset is done with. Raises OSError."""
        passing = self._mark.with_suffix(".new")
        passing.write_text(str(end), encoding="ascii")
        passing.replace(self._mark)
        self.position = end

    def waiting(self) -> int:
        """Bytes that are not confirmed."""
        return max(0, _end(self._folder) - self.position)


def _files(folder: Path) -> list[tuple[int, Path]]:
    """(offset of the first byte, file), in order."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))
    except FileNotFoundError:
        return []
    return [(int(name[: -len(_SUFFIX)]), folder / name) for name in names]


def _end(folder: Path) -> int:
    files = _files(folder)
    return files[-1][0] + files[-1][1].stat().st_size if files else 0


def _identity(folder: Path) -> str:
    """The id of this outbox, made once."""
    path = folder / "id"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii")
    folder.mkdir(mode=0o700, exist_ok=True)
    made = os.urandom(8).hex()
    with contextlib.suppress(FileExistsError), open(path, "x", encoding="ascii") as file:
        file.write(made)
    return path.read_text(encoding="ascii")
