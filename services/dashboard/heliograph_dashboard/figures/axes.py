"""Axes that would mislead if plotly chose them.

In: values. Out: parts of plotly's axes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from heliograph_dashboard.components.times import SECOND, local

LEAST_BYTES: Final = 1000
LEAST_TIME: Final = 60 * SECOND


def bytes_axis(values: Iterable[Iterable[float | None]], suffix: str = "B") -> dict[str, Any]:
    """Of bytes: it never shows less than a kilobyte, since there are no millibytes."""
    most = max((value for some in values for value in some if value is not None), default=0)
    axis = {"tickformat": ".3~s", "ticksuffix": suffix}
    return {**axis, "range": [0, LEAST_BYTES]} if most < LEAST_BYTES else axis


def time_axis(times: Iterable[int], zone: str) -> dict[str, Any]:
    """Of points in time (microseconds UTC): around a single one it shows a minute, not a millisecond."""
    known = set(times)
    if len(known) != 1:
        return {"type": "date"}
    (at,) = known
    return {"type": "date", "range": local([at - LEAST_TIME // 2, at + LEAST_TIME // 2], zone)}
