"""Opaque cursors for keyset paging: where the last page ended, as text.

In: the name of a list and the key of its last row. Out: base64url text, and the key back. A cursor is not trusted:
whatever a client makes of it is a `Problem` 400 or a valid key, and keys reach the database as bound parameters only.
"""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from heliograph_hub.errors import Problem

MAX_CURSOR = 4096
INT64 = 1 << 63
Key = TypeVar("Key", bound=tuple[int | str, ...])


def encode_cursor(name: str, key: tuple[int | str, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((name, *key))).rstrip(b"=").decode()


def decode_cursor(name: str, text: str | None, kind: type[Key]) -> Key | None:
    """The key in this cursor, None without one. `kind` is the key's type, such as `tuple[int, int]`."""
    if text is None:
        return None
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError("too long")  # noqa: TRY301
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found, *values = msgspec.msgpack.decode(raw, type=list[int | str])
        key = msgspec.convert(values, type=kind)
        if found != name or not all(_storable(value) for value in key):
            raise ValueError("of another list")  # noqa: TRY301
    except (ValueError, msgspec.MsgspecError, binascii.Error, RecursionError) as error:
        raise Problem(
            400,
            "this is not a cursor of this list",
            where="after",
            what_to_do="pass `next` of the page before, unchanged",
        ) from error
    return key


def _storable(value: int | str) -> bool:
    """Whether every database can compare with it."""
    return -INT64 <= value < INT64 if isinstance(value, int) else "\0" not in value
