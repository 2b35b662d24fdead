"""What each try of a task spent its time on: waiting, being queued, running, joining, its result's way back.

In: tries, and the moment up to which an open one is drawn. Out: phases in microseconds, and a plotly figure of bars in
seconds since the task began to exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heliograph_dashboard.figures.colours import STATE, template
from heliograph_store.read.tries import Try

NAMES: Final = ("pending", "queued", "running", "on its way back", "joining")
_COLOURS: Final = dict(
    zip(NAMES, (STATE[s] for s in ("pending", "launched", "running", "running_ended", "joining")), strict=True)
)
_OVER: Final = ("exec_done", "memo_done", "failed", "dep_fail", "fail_retryable")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of a try, microseconds UTC; `end` None while it lasts.

    `skewed`: it would end before it begins, because the clocks of two hosts differ; then it has no length.
    """

    try_: int
    name: str
    begin: int
    end: int | None
    skewed: bool = False


def phases(tries: Iterable[Try]) -> list[Phase]:
    """The phases of each try, in the order in which a try goes through them."""
    return [phase for one in tries for phase in _of(one)]


def _of(one: Try) -> Iterable[Phase]:
    states = one.states
    over = min((states[state] for state in _OVER if state in states), default=None)
    began = one.began or states.get("running")
    ended = one.ended or states.get("running_ended")
    # What a process says of itself is more exact than when somebody heard of it.
    marks = [
        ("pending", states.get("pending")),
        ("queued", one.launched_at or states.get("launched")),
        ("running", began),
        ("on its way back", ended),
        ("joining", states.get("joining")),
        (None, over),
    ]
    known = [(name, at) for name, at in marks if at is not None]
    for i, (name, begin) in enumerate(known):
        if name is None:
            continue
        end = known[i + 1][1] if i + 1 < len(known) else None
        skewed = end is not None and end < begin
        yield Phase(try_=one.try_, name=name, begin=begin, end=begin if skewed else end, skewed=skewed)


def figure(found: Sequence[Phase], *, until: int, theme: str | None) -> dict[str, Any]:
    """One bar a try, the first at the top; open phases end at `until` (microseconds UTC) and are hatched."""
    zero = min((phase.begin for phase in found), default=until)
    tries = sorted({phase.try_ for phase in found})
    return {
        "data": [trace for name in NAMES if (trace := _bars(name, found, zero, until)) is not None],
        "layout": {
            "template": template(theme),
            "barmode": "overlay",
            "bargap": 0.35,
            "height": 92 + 30 * max(1, len(tries)),
            "margin": {"t": 36, "b": 40, "l": 56, "r": 16},
            "xaxis": {"title": {"text": "seconds since it was submitted"}, "rangemode": "tozero"},
            "yaxis": {
                "tickvals": tries,
                "ticktext": [f"try {number}" for number in tries],
                "autorange": "reversed",
                "fixedrange": True,
            },
            "uirevision": "phases",
        },
    }


def _bars(name: str, found: Sequence[Phase], zero: int, until: int) -> dict[str, Any] | None:
    these = [phase for phase in found if phase.name == name]
    if not these:
        return None
    lengths = [max(0, (until if phase.end is None else phase.end) - phase.begin) / 1e6 for phase in these]
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": [phase.try_ for phase in these],
        "base": [(phase.begin - zero) / 1e6 for phase in these],
        "x": lengths,
        "customdata": [[seconds(length), _note(phase)] for phase, length in zip(these, lengths, strict=True)],
        "hovertemplate": f"{name}: %{{customdata[0]}}%{{customdata[1]}}<extra></extra>",
        "marker": {
            "color": _COLOURS[name],
            "line": {"width": 0},
            "pattern": {"shape": ["/" if phase.end is None else "" for phase in these], "fgopacity": 0.4},
        },
    }


def _note(phase: Phase) -> str:
    if phase.skewed:
        return "<br>the clocks of two hosts differ"
    return " so far" if phase.end is None else ""


def seconds(length: float) -> str:
    """A duration in seconds to three digits that mean something."""
    return f"{length:,.0f} s" if length >= 100 else f"{length:.3g} s"
