"""The bytes of a record, whatever its fields hold.

In: a record, possibly with content that no message may have (NaN, infinity, half a surrogate pair, a Path). Out: its
payload. The fast way costs an encode and two searches; only what needs cleaning is cleaned.
"""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec

from heliograph.interrupts import is_the_programs
from heliograph.messages import Record, encode

_DEEPEST = 8
_LARGEST = 1 << 63


def now() -> tuple[int, int]:
    """(at, mono): wall time in UTC and monotonic time, both in microseconds."""
    return time.time_ns() // 1000, time.monotonic_ns() // 1000


def clip(text: str | None, limit: int = 16384) -> str | None:
    """The text within `limit` characters, cut in the middle (a traceback says most at its end); encodable."""
    if text is None:
        return None
    if len(text) > limit:
        mark = f"\n… {len(text) - limit} characters cut …\n"
        room = max(0, limit - len(mark))
        tail = room * 2 // 3
        text = (text[: room - tail] + mark + text[len(text) - tail :])[:limit]
    return _encodable(text)


def payload_of(record: Record) -> bytes:
    """Encode, cleaned where needed: numbers that are none become None, what is no text is put as text."""
    try:
        payload = encode(record)
    except Exception as error:
        if is_the_programs(error):
            raise
        return encode(_cleaned(record, 0))
    # A float64 (0xcb) whose exponent is all ones begins 7ff… or fff…; a chance hit only costs a look at the fields.
    if b"\xcb\x7f" in payload or b"\xcb\xff" in payload:
        return encode(_cleaned(record, 0))
    return payload


def _encodable(text: str) -> str:
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()


def _cleaned(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, (bool, str, float, int)):
        return _cleaned_scalar(value)
    if depth > _DEEPEST:
        return None
    if isinstance(value, msgspec.Struct):
        return _cleaned_struct(value, depth)
    if isinstance(value, dict):
        return {str(_cleaned(k, depth + 1)): _cleaned(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_cleaned(item, depth + 1) for item in value]
    return clip(str(value), 1024)


def _cleaned_scalar(value: bool | str | float | int | None) -> bool | str | float | int | None:
    if isinstance(value, str):
        return _encodable(str(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if -_LARGEST <= value < _LARGEST else None
    return value


def _cleaned_struct(value: msgspec.Struct, depth: int) -> msgspec.Struct:
    clean: dict[str, Any] = {}
    for info in msgspec.structs.fields(type(value)):
        found = getattr(value, info.name)
        fresh = _cleaned(found, depth + 1)
        if fresh is None and found is not None and info.default is not msgspec.NODEFAULT:
            fresh = info.default  # NaN in a field that may not be None would make the record unreadable
        clean[info.name] = fresh
    return msgspec.structs.replace(value, **clean)
