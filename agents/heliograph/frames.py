"""Frames: how a record lies in a journal's segment.

In: a payload and its code. Out: bytes with magic, code, length, checksum, payload and an end mark; and back,
past anything torn.

The magic holds bytes that no UTF-8 text can hold, so no text inside a record looks like a frame. The checksum starts
from code and length, so a frame with a changed head is as bad as one with a changed payload. The end mark is no byte of
the magic, so the frame that follows a cut one cannot complete it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from heliograph.messages import MAX_RECORD, Class

MAGIC = b"\xf5HG\xfa"
_HEAD = struct.Struct("<4sBII")
HEAD_SIZE = _HEAD.size
END = b"\n"

OPENED, CLOSED = 0, 4
CODES: dict[Class, int] = {Class.CONTROL: 1, Class.STATES: 2, Class.SAMPLES: 3, Class.COMMANDS: 5}
CLASSES: dict[int, Class] = {code: cls for cls, code in CODES.items()}
_LAST_CODE = max(CLOSED, *CLASSES)


class Frame(NamedTuple):
    """A whole frame. `offset` and `end` count from where the scanned data begins, or as the reader has shifted them."""

    offset: int
    end: int
    code: int
    payload: bytes


def framed(code: int, payload: bytes) -> bytes:
    """One frame, to be written at once."""
    size = len(payload)
    return _HEAD.pack(MAGIC, code, size, crc32(payload, _seed(code, size))) + payload + END


def _seed(code: int, size: int) -> int:
    return (size << 8 | code) & 0xFFFFFFFF


def scan(data: bytes, base: int = 0, *, final: bool = False) -> tuple[list[Frame], int, int]:
    """All whole frames of `data`, how many bytes are done with, and how many torn stretches were passed over.

    `base` is added to offsets. Without `final`, an unfinished frame at the end is left for the next time, unless a
    whole one follows it: then its writer has gone on, and it will never be finished.
    """
    frames: list[Frame] = []
    position, torn, size = 0, 0, len(data)
    while position < size:
        end = _whole(data, position)
        if end:
            payload = data[position + HEAD_SIZE : end - 1]
            frames.append(Frame(base + position, base + end, data[position + 4], payload))
            position = end
            continue
        following = _next_whole(data, position + 1)
        if following < 0:
            if final:
                return frames, size, torn + 1
            waiting = _unfinished(data, position)
            return frames, waiting, torn + (waiting > position)
        torn += 1
        position = following
    return frames, position, torn


def _whole(data: bytes, position: int) -> int:
    """The end of the whole frame that begins here, or 0."""
    if len(data) - position < HEAD_SIZE or data[position : position + 4] != MAGIC:
        return 0
    _, code, size, checksum = _HEAD.unpack_from(data, position)
    end = position + HEAD_SIZE + int(size) + 1
    if code > _LAST_CODE or size > MAX_RECORD or end > len(data) or data[end - 1 : end] != END:
        return 0
    return end if crc32(data[position + HEAD_SIZE : end - 1], _seed(code, size)) == checksum else 0


def _next_whole(data: bytes, position: int) -> int:
    """Where the next whole frame begins, or -1."""
    while (position := data.find(MAGIC, position)) >= 0:
        if _whole(data, position):
            return position
        position += 1
    return -1


def _unfinished(data: bytes, position: int) -> int:
    """From where on the rest may still become a frame when more is written."""
    while (found := data.find(MAGIC, position)) >= 0:
        if len(data) - found < HEAD_SIZE:
            return found
        _, code, size, _ = _HEAD.unpack_from(data, found)
        if code <= _LAST_CODE and size <= MAX_RECORD and found + HEAD_SIZE + int(size) >= len(data):
            return found
        position = found + 1
    for length in range(min(len(MAGIC) - 1, len(data)), 0, -1):  # a magic that is itself cut
        if data.endswith(MAGIC[:length]):
            return max(position, len(data) - length)
    return len(data)
