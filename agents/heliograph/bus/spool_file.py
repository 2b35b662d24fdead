"""How batches lie in one spool file, and how files reach the disk.

In: batches. Out: a file that is there whole or not at all, and back: its batches, or what is wrong with it.

    file  = magic "HGSPOOL1", number of frames (u32), frames
    frame = length (u32), CRC-32 of the payload (u32), payload = msgpack [class, run, body]

All numbers are little-endian. The count in the head tells a file cut between two frames from a whole one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from heliograph.bus import Outgoing
from heliograph.messages import Class

MAGIC = b"HGSPOOL1"
MAX_FILE = 256 << 20
"""Largest file that is read, in bytes. Publishers stay below it; what is larger is not from a publisher."""

_COUNT = struct.Struct("<I")
_FRAME = struct.Struct("<II")
_HEAD = len(MAGIC) + _COUNT.size
_payload = msgspec.msgpack.Decoder(tuple[str, str, bytes])
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What was readable. `problem` says why the rest was not; None when all of it was."""

    batches: list[Outgoing]
    problem: str | None = None


def pack(batches: Sequence[Outgoing]) -> list[bytes]:
    """The pieces of a file that holds these batches."""
    pieces = [MAGIC + _COUNT.pack(len(batches))]
    for batch in batches:
        payload = msgspec.msgpack.encode((batch.cls.value, batch.run, batch.body))
        pieces += [_FRAME.pack(len(payload), zlib.crc32(payload)), payload]
    return pieces


def unpack(data: bytes) -> Contents:
    """All batches up to the first one that is torn."""
    if not data.startswith(MAGIC) or len(data) < _HEAD:
        return Contents(batches=[], problem="not a spool file (no magic)" if data else "empty file")
    (count,) = _COUNT.unpack_from(data, len(MAGIC))
    batches: list[Outgoing] = []
    position = _HEAD
    for index in range(count):
        payload = _frame(data, position)
        if payload is None:
            return Contents(batches=batches, problem=f"torn at batch {index + 1} of {count} (byte {position})")
        try:
            cls, run, body = _payload.decode(payload)
            batches.append(Outgoing(run=run, cls=Class(cls), body=body))
        except (ValueError, msgspec.DecodeError) as error:
            return Contents(batches=batches, problem=f"batch {index + 1} of {count} cannot be read: {error}")
        position += _FRAME.size + len(payload)
    if position != len(data):
        return Contents(batches=batches, problem=f"{len(data) - position} bytes too many at its end")
    return Contents(batches=batches)


def _frame(data: bytes, position: int) -> bytes | None:
    start = position + _FRAME.size
    if start > len(data):
        return None
    length, crc = _FRAME.unpack_from(data, position)
    payload = data[start : start + length]
    return payload if len(payload) == length and zlib.crc32(payload) == crc else None


def read(path: Path) -> Contents:
    """Read a spool file. Never follows a link and never blocks on a pipe. Raises OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return Contents(batches=[], problem="not a regular file")
        raise
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return Contents(batches=[], problem="not a regular file")
        if status.st_size > MAX_FILE:
            return Contents(batches=[], problem=f"{status.st_size} bytes, more than a spool file has")
        return unpack(file.read())


def write(folder: Path, name: str, pieces: Sequence[bytes]) -> None:
    """Put a file on the disk under its name: whole, and still there after a power cut. Raises OSError."""
    hidden_name = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        handle = os.open(hidden_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(handle)
        os.rename(hidden_name, folder / name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(hidden_name)
        raise
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable, where the file system can do that."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        os.close(handle)
