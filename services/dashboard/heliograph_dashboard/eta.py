"""When the tasks that are known will be done, from how fast tasks ended lately; or that nobody can say.

In: counts of tasks by state, and how many ended since when. Out: an `Eta`. Tasks that are not submitted yet are not
known to anybody, so it is the end of those that are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heliograph_store.read.progress import Ended

MINUTE: Final = 60_000_000
WINDOW: Final = 10 * MINUTE
LONGEST: Final = 7 * 24 * 60 * MINUTE
ENOUGH: Final = 3
"""Fewer tasks than that say nothing about a speed."""
OVER: Final = frozenset({"exec_done", "memo_done", "failed", "dep_fail"})
HOW: Final = (
    "Tasks that are known and not over, divided by how fast tasks ended in the last ten minutes (in twice the median "
    "run time where that is longer). Tasks that are still to be submitted are not in it. "
    "No value while fewer than three ended."
)


@dataclass(frozen=True, kw_only=True)
class Eta:
    """`left` tasks, `per_minute` of which end; `micros` until all have."""

    left: int
    per_minute: float
    micros: int


def look_back(now: int, median_run_time: float | None) -> int:
    """From when on one must look to see tasks end: the beginning of a minute, microseconds UTC."""
    back = min(max(WINDOW, round(2 * (median_run_time or 0))), LONGEST)
    return max(0, now - back) // MINUTE * MINUTE


def unfinished(states: Mapping[str | None, int]) -> int:
    return sum(count for state, count in states.items() if state not in OVER)


def eta(states: Mapping[str | None, int], ended: Ended, *, since: int, now: int) -> Eta | None:
    """`ended` counts from `since` on; None when nobody can say.

    The speed is that since the first task ever ended, when that was later than `since`: before, none was to be seen.
    A standstill counts, it makes the speed lower.
    """
    left = unfinished(states)
    if not left or ended.tasks < ENOUGH or ended.first is None:
        return None
    # Counts are by minute: within the first one, five seconds at least, lest the first results promise the moon.
    elapsed = max(now - max(since, ended.first), 5_000_000)
    per_minute = ended.tasks / (elapsed / MINUTE)
    return Eta(left=left, per_minute=per_minute, micros=round(left / per_minute * MINUTE))
