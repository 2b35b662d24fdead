"""When to scan: at the interval that was asked for, less often where that would be expensive.

In: what scans cost, whether there are events. Out: when the next scan begins.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger("heliograph.filewatch")

SHARE = 0.05
"""Of the time, for scanning."""
WITH_EVENTS = 10.0
"""Where events tell of changes, scans are so much rarer: they only find what events missed."""
WORTH_TELLING = 1.5


@dataclass
class Rounds:
    """`asked`: the configured seconds from one scan to the next."""

    asked: float
    next: float = 0.0
    events: bool = False
    cost: float = 0.0
    told: float = 0.0

    @property
    def interval(self) -> float:
        """The present seconds from one scan to the next."""
        return max(self.asked * (WITH_EVENTS if self.events else 1.0), self.cost / SHARE)

    def scanned(self, began: float, cost: float, entries: int) -> None:
        """A scan that began then is complete."""
        self.cost = cost
        self.next = began + self.interval
        stretched = max(self.asked, cost / SHARE)
        if stretched > WORTH_TELLING * max(self.told, self.asked):
            self.told = stretched
            log.info(
                "A scan of %d entries takes %.2f s, so the next one begins after %.0f s instead of %.0f s",
                entries, cost, self.interval, self.asked,
            )  # fmt: skip
