"""Tasks by state over time: areas in steps, because between two known moments nothing is known.

In: the times of every try (`levels_of_tries`), or how many tries entered a state in each stretch of time
(`levels_of_steps`). Out: how many tasks were in each state when, and the plotly figure of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from heliograph_dashboard.components.states import state_label
from heliograph_dashboard.components.times import local
from heliograph_dashboard.figures.colours import STATE, template
from heliograph_store.read.progress import Entered, Times
from heliograph_store.schema import STATES

LAYERS: Final = ("exec_done", "memo_done", "failed", "dep_fail", "running", "joining", "launched", "pending")
"""From the ground up: what is over stays where it is, and what waits melts away above it."""
COUNTED: Final = ("pending", "launched", "running", "exec_done", "failed", "dep_fail", "memo_done", "fail_retryable")
"""What `levels_of_steps` wants to know: how many tries entered these states."""
_LAYER: Final[Mapping[str, str]] = {"running_ended": "running"}
"""A try whose result is on its way still holds its place."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """From `at[i]` on (microseconds UTC) there were `counts[state][i]` tasks in that state, until `at[i + 1]`."""

    at: Sequence[int]
    counts: Mapping[str, Sequence[int]]

    @property
    def tasks(self) -> int:
        """How many there are at the end."""
        return sum(level[-1] for level in self.counts.values() if level)


def levels_of_tries(tries: Iterable[Times], *, steps: int = 400) -> Levels:
    """Exact levels, in at most about `steps` stretches: each try is in the highest state that it has entered.

    A try that will be repeated leaves the figure; the next one enters it as pending.
    """
    moves = [move for times in tries for move in _moves(times)]
    if not moves:
        return Levels(at=[], counts={})
    first, last = min(at for at, *_ in moves), max(at for at, *_ in moves)
    width = (last - first) // max(1, steps) + 1
    changes: dict[int, Counter[str]] = {}
    for at, before, now in moves:
        # Seen from the end of its stretch, so that the last step shows how things are.
        change = changes.setdefault(first + -(-(at - first) // width) * width, Counter())
        if before is not None:
            change[before] -= 1
        if now is not None:
            change[now] += 1
    return _summed(changes)


def _moves(times: Times) -> Iterable[tuple[int, str | None, str | None]]:
    """(at, layer that is left, layer that is entered) of one try."""
    rank, layer = -1, None
    for at, entered in sorted((at, entered) for entered, at in enumerate(times) if at is not None):
        if entered < rank:
            continue
        rank, state = entered, STATES[entered]
        now = None if state == "fail_retryable" else _LAYER.get(state, state)
        if now != layer:
            yield at, layer, now
            layer = now


def levels_of_steps(rows: Sequence[Entered], *, width: int) -> Levels:
    """Levels from counts of entered states alone.

    Who left a state entered a later one, and a try can skip states: memoized tries and those whose dependency failed
    go from pending to their end, and without our worker nothing is seen of running. What is over is exact. Joining
    counts as running.
    """
    at = sorted({row.at for row in rows})
    if not at:
        return Levels(at=[], counts={})
    place = {moment: index for index, moment in enumerate(at, start=1)}
    entered = {state: np.zeros(len(at) + 1, dtype=np.int64) for state in COUNTED}
    for row in rows:
        if row.state in entered:
            entered[row.state][place[row.at]] += row.entered
    levels = _level({state: np.cumsum(counts) for state, counts in entered.items()})
    return Levels(
        at=[at[0], *(begin + width for begin in at)], counts={state: levels[state].tolist() for state in LAYERS}
    )


def _level(n: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    over = n["exec_done"] + n["failed"] + n["fail_retryable"]
    begun = np.maximum(n["running"], over)
    launched = np.maximum(n["launched"], begun)
    short = n["memo_done"] + n["dep_fail"]
    tries = np.maximum(n["pending"], launched + short)
    return {
        **{state: n[state] for state in ("exec_done", "memo_done", "failed", "dep_fail")},
        "running": begun - over,
        "joining": np.zeros_like(over),
        "launched": launched - begun,
        # Each retry is a pending try more, and no task more.
        "pending": tries - launched - short,
    }


def _summed(changes: Mapping[int, Mapping[str, int]]) -> Levels:
    level = dict.fromkeys(LAYERS, 0)
    held = []
    for at in sorted(changes):
        level = {state: count + changes[at].get(state, 0) for state, count in level.items()}
        held.append(level)
    return _levels(sorted(changes), held)


def _levels(at: Sequence[int], held: Sequence[Mapping[str, int]]) -> Levels:
    return Levels(at=list(at), counts={state: [level[state] for level in held] for state in LAYERS})


def figure(levels: Levels, *, theme: str | None, zone: str = "UTC", until: int | None = None) -> dict[str, Any]:
    """The stacked areas, up to `until` (microseconds UTC), on the clock of a time zone."""
    at, counts = list(levels.at), {state: list(level) for state, level in levels.counts.items()}
    if at and until is not None:
        # The last stretch may not be over yet.
        at = [*(min(moment, until) for moment in at), max(until, at[0])]
        counts = {state: [*level, level[-1]] for state, level in counts.items()}
    x = local(at, zone)
    data = [_area(state, x, counts[state]) for state in LAYERS if any(counts.get(state, ()))]
    if not data:
        return _nothing(theme)
    return {
        "data": data,
        "layout": {
            "template": template(theme),
            "hovermode": "x unified",
            "xaxis": {"type": "date"},
            "yaxis": {"rangemode": "tozero", "tickformat": ",d", "title": {"text": "tasks"}},
            "uirevision": "states-over-time",  # a zoom stays when new data comes
            "legend": {"traceorder": "normal"},
        },
    }


def _nothing(theme: str | None) -> dict[str, Any]:
    """Words in the place of axes that would show some other year."""
    middle = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
    said = {**middle, "text": "No task has changed its state"}
    hidden = {"visible": False}
    return {
        "data": [],
        "layout": {"template": template(theme), "xaxis": hidden, "yaxis": hidden, "annotations": [said]},
    }


def _area(state: str, x: Sequence[datetime], level: Sequence[int]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": state_label(state),
        "x": list(x),
        "y": list(level),
        "stackgroup": "states",
        "stackgaps": "infer zero",
        "line": {"shape": "hv", "width": 0},
        "fillcolor": STATE[state],
        "hovertemplate": "%{y:,d}",
    }
