"""What an agent must remember over its own end.

In: how far each journal is confirmed, which tries run, what the sampler counted. Out: two small files, replaced whole.
Losing them is harmless (records are shipped again under the same ids), so nothing is synced to the disk.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from heliograph.agent.whose import ActiveTry
from heliograph.messages import Class

log = logging.getLogger("heliograph.agent")
T = TypeVar("T")


class Cursor(msgspec.Struct, kw_only=True):
    """How far a journal is confirmed: below these offsets, for each class."""

    confirmed: dict[Class, int]
    clean: bool = False
    records: int = 0


class Progress(msgspec.Struct, kw_only=True):
    """`ended` are the runs that said so themselves: their lease is not renewed any more."""

    cursors: dict[str, Cursor] = {}
    ended: list[str] = []


class Tries(msgspec.Struct, kw_only=True):
    """The tries that run here, and the sampler's own snapshot."""

    active: list[ActiveTry] = []
    sampler: bytes = b""


def load(path: Path, kind: type[T]) -> T:
    """What was saved, or the empty value when there is nothing (or nothing that can be read)."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("%s cannot be used, what it says is found out again: %s", path.name, error)
        return kind()


def save(path: Path, value: msgspec.Struct) -> bool:
    """Replace the file as a whole. False when the disk does not take it."""
    passing = path.with_name(f"{path.name}.new")
    try:
        handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(handle, "wb") as file:
            file.write(msgspec.msgpack.encode(value))
        passing.replace(path)
    except OSError as error:
        log.warning("%s cannot be written: %s", path.name, error.strerror)
        return False
    return True
