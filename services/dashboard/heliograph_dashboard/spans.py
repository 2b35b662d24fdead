"""Durations as people type them.

In: '90', '90s', '1.5 min', '2h 30min'. Out: microseconds, or None for what is no duration.
"""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    "us": 1, "µs": 1, "ms": 1000, "": 1_000_000, "s": 1_000_000, "sec": 1_000_000, "m": 60_000_000, "min": 60_000_000,
    "h": 3_600_000_000, "d": 86_400_000_000,
}  # fmt: skip
_PART: Final = re.compile(r"\s*(\d{1,12}(?:[.,]\d{1,6})?)\s*([a-zµ]{0,3})\s*")
LONGEST: Final = 1 << 62


def span(text: str) -> int | None:
    """A number without a unit is seconds. Parts add up: '1h 30min'."""
    text, at, total = text.strip().lower(), 0, 0.0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2] not in _UNITS:
            return None
        total += float(part[1].replace(",", ".")) * _UNITS[part[2]]
        at = part.end()
    return min(round(total), LONGEST) if text else None
