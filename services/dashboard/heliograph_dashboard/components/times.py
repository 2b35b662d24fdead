"""Times, durations and sizes, for people.

In: microseconds, bytes. Out: text, or an element that the browser turns into its own local time, with UTC on hover.
Figures have no such help: `local` gives their time axes the clock of the browser's zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dash import html
from dash.development.base_component import Component

Form = Literal["full", "date", "clock"]
SECOND: Final = 1_000_000
_QUARTER: Final = 900 * SECOND
_SIZES: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def when(at: int | None, *, form: Form = "full") -> Component:
    """A point in time: shown in the reader's zone, in UTC on hover. 'clock' has no date."""
    if at is None:
        return html.Span("–", className="hg-muted")
    iso = utc(at)
    return html.Time(iso, dateTime=iso, title=iso, className="hg-time", **{"data-form": form})


def utc(at: int) -> str:
    """A point in time in UTC, to the millisecond. What no calendar can hold is told in seconds."""
    try:
        text = datetime.fromtimestamp(at / SECOND, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{at / SECOND:.0f} s after 1970"
    return text.removesuffix("+00:00") + " UTC"


def duration(microseconds: float | None) -> str:
    """A length of time with the two units that matter: '3 d 4 h', '2 min 5 s', '1.24 s', '8 ms'."""
    if microseconds is None:
        return "–"
    if microseconds < 0:
        return "−" + duration(-microseconds)
    seconds = microseconds / SECOND
    if seconds < 0.0995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for size, name, small_size, small in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size:,} {name}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def size(number: float | None) -> str:
    """Bytes in decimal units: '1.5 GB'."""
    if number is None:
        return "–"
    value, at = float(number), 0
    while abs(value) >= 999.5 and at < len(_SIZES) - 1:
        value, at = value / 1000, at + 1
    return f"{value:.3g} {_SIZES[at]}"


def count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def local(times: Iterable[int], zone: str) -> list[datetime]:
    """Points in time as the clock of a zone shows them, without zone: what plotly draws as they are.

    `zone` is `View.zone` or the store 'zone'; one that is not known counts as UTC.
    """
    return [
        datetime.fromtimestamp((at + _offset(at // _QUARTER, zone)) / SECOND, UTC).replace(tzinfo=None) for at in times
    ]


@lru_cache(maxsize=4096)
def _offset(quarter: int, zone: str) -> int:
    """Microseconds east of UTC. Zones change their offset at full quarters of an hour only."""
    try:
        offset = datetime.fromtimestamp(quarter * 900, ZoneInfo(zone)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError, OverflowError, OSError):
        return 0
    return 0 if offset is None else int(offset.total_seconds()) * SECOND
