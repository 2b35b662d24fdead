"""Values as both databases can hold them.

In: what stands in records. Out: the same, or the nearest that fits: no NaN, no NUL, no number beyond 64 bits, no
endless text.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Any, Final, TypeGuard, TypeVar

import msgspec

from heliograph.messages import Record

MAX_TEXT: Final = 65_536
"""Longest text stored, in characters. Recorders cut at 16 Ki, so only a foreign sender meets this."""
MAX_NAME: Final = 2000
"""Longest text in bytes that is a key or stands in a dictionary: an index of PostgreSQL holds 2704."""
NAMES: Final = frozenset(
    [
        "agent",
        "app",
        "block",
        "callback",
        "exc_type",
        "executor",
        "host",
        "journal",
        "path",
        "pool",
        "status",
        "watch",
        "worker",
    ]
)
"""Fields of records that become such texts."""
MAX_INT: Final = (1 << 63) - 1
MAX_TIME: Final = 1 << 53
"""The year 2255. A time beyond it (or before 1970) is a broken clock, not a time."""


def is_time(at: int | None) -> TypeGuard[int]:
    """Whether this is a time in microseconds that both databases can show as a date."""
    return at is not None and 0 < at < MAX_TIME


def finite(value: float | None) -> float | None:
    """The value, or None for what is unknown, infinite or not a number."""
    return value if value is None or value - value == 0 else None  # half of what asking `math` takes


def thousandths(percent: float | None) -> float | None:
    """A percentage in thousandths of a percent, without a fraction where `percent` has no more than three digits of it:
    divided by 1000, that is the very same number again."""
    if percent is None:
        return None
    scaled = percent * 1000
    whole = (scaled + 0.5) // 1  # a third of what `round` takes, and this is once a sample
    if whole / 1000 == percent:
        return whole
    return scaled if math.isfinite(scaled) else None


_R = TypeVar("_R", bound=Record)


def harmless(record: _R) -> _R:
    """The record with every value made such that both databases can hold it: texts cut and without NUL, integers
    clipped to 64 bits. Costly, so done only for a batch in which something is wrong or large."""
    changes = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        safe = _harmless(value)
        if safe is not value:
            changes[name] = safe
    return msgspec.structs.replace(record, **changes) if changes else record


def shortened(record: _R) -> _R:
    """The record with names that fit into an index: the same long one always becomes the same short one, and no two
    become one."""
    changes = {}
    for name in NAMES.intersection(record.__struct_fields__):
        value = getattr(record, name)
        if isinstance(value, str) and len(value.encode()) > MAX_NAME:
            changes[name] = f"{value[:200]}…{blake2b(value.encode(), digest_size=16).hexdigest()}"
    return msgspec.structs.replace(record, **changes) if changes else record


def _harmless(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return min(max(value, -MAX_INT), MAX_INT) if abs(value) > MAX_INT else value
    if isinstance(value, str):
        return value[:MAX_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}") if _is_bad(value) else value
    if isinstance(value, list):
        safe = [_harmless(item) for item in value]
        return safe if any(a is not b for a, b in zip(safe, value, strict=True)) else value
    if isinstance(value, dict):
        return {_harmless(k): _harmless(v) for k, v in value.items()}
    return value


def _is_bad(text: str) -> bool:
    return len(text) > MAX_TEXT or "\0" in text
