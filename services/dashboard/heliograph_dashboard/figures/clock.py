"""Time axes of figures: points in time in the reader's zone, for plotly, and back.

In: microseconds in UTC. Out: texts that plotly, which knows no zones, shows as they are: the reader's clock.
One offset holds for a whole figure, so that its axis can be read backwards; its title names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from heliograph_dashboard.components.times import SECOND, local


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A fixed offset east of UTC, in microseconds."""

    offset: int

    @classmethod
    def of(cls, at: int, zone: str | None) -> Clock:
        """The clock of a zone as it goes at a point in time; of no zone it is UTC."""
        if not zone:
            return cls(offset=0)
        (shown,) = local((at,), zone)
        return cls(offset=round((shown.replace(tzinfo=UTC).timestamp() - at / SECOND) / 60) * 60 * SECOND)

    @property
    def name(self) -> str:
        """As in 'UTC+02:00'."""
        minutes = abs(self.offset) // (60 * SECOND)
        return f"UTC{'-' if self.offset < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}" if minutes else "UTC"

    def shown(self, at: ArrayLike) -> list[str]:
        """What plotly is given. Not numbers: those it takes for UTC and shows in the browser's zone, once more."""
        moments = (np.asarray(at, dtype=np.float64) + self.offset).round().astype("datetime64[us]")
        return cast("list[str]", np.datetime_as_string(moments).tolist())

    def read(self, shown: Any) -> int | None:
        """The point in time that an axis names as text ('2026-11-22 19:40:25.1') or in milliseconds."""
        if isinstance(shown, (int, float)) and not isinstance(shown, bool):
            return round(shown * 1000) - self.offset
        try:
            at = datetime.fromisoformat(_padded(str(shown)))
        except ValueError:
            return None
        moment = at.replace(tzinfo=UTC)
        return (int(moment.timestamp()) * SECOND + moment.microsecond) - self.offset


def _padded(text: str) -> str:
    """Plotly writes as many decimals as it needs; Python reads six."""
    head, _, decimals = text.partition(".")
    if len(head) == 16:  # no seconds
        head += ":00"
    return f"{head}.{decimals[:6]:0<6}" if decimals else head
