"""Colours, said once: of states, of groups of states, of apps; and the templates of figures, light and dark.

In: names. Out: colours as '#rrggbb'. Chosen to be told apart by people who do not see all colours alike, with enough
contrast on white and on dark grey.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

Theme = Literal["light", "dark"]

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "waiting": ("pending", "launched"),
    "running": ("running", "running_ended", "joining"),
    "retrying": ("fail_retryable",),
    "done": ("exec_done", "memo_done"),
    "failed": ("failed", "dep_fail"),
}
"""Groups of a task's states, as bars and badges show them; a task without a state counts as waiting."""

STATE: Final[Mapping[str, str]] = {
    "pending": "#adb5bd",
    "launched": "#74a7d8",
    "running": "#1c7ed6",
    "running_ended": "#4dabf7",
    "joining": "#7950f2",
    "fail_retryable": "#f08c00",
    "memo_done": "#63c9a5",
    "exec_done": "#2b9e6b",
    "dep_fail": "#c2255c",
    "failed": "#e03131",
    "unknown": "#868e96",
}
"""Of a task's or try's state (Parsl's names)."""

GROUP: Final[Mapping[str, str]] = {
    "waiting": "#adb5bd",
    "running": "#1c7ed6",
    "retrying": "#f08c00",
    "done": "#2b9e6b",
    "failed": "#e03131",
}

RUN: Final[Mapping[str, str]] = {
    "running": "#1c7ed6",
    "completed": "#2b9e6b",
    "failed": "#e03131",
    "lost": "#f08c00",
    "unknown": "#868e96",
}
"""Of a run's state."""

PALETTE: Final[tuple[str, ...]] = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e58606", "#5d69b1", "#52bca3", "#99c945",
    "#cc61b0", "#24796c", "#daa51b", "#2f8ac4", "#764e9f", "#c5a3e0", "#a5aa99", "#8c6d31", "#f2a48f", "#9c5b3c",
)  # fmt: skip


def state_colour(state: str | None) -> str:
    return STATE.get(state or "unknown", STATE["unknown"])


def group_of(state: str | None) -> str:
    """The group of a task's state."""
    return next((group for group, states in GROUPS.items() if state in states), "waiting")


def app_colours(apps: Iterable[str | None]) -> dict[str | None, str]:
    """A colour for each app. The same set of apps has the same colours on every page, and an app that is added
    changes few others: each takes the place that its name says, or the next free one. None (not described yet) is grey.
    """
    names = sorted({app for app in apps if app is not None})
    taken: set[int] = set()
    colours: dict[str | None, str] = {None: STATE["unknown"]}
    for name in names:
        at = zlib.crc32(name.encode("utf-8", "surrogateescape")) % len(PALETTE)
        if len(taken) == len(PALETTE):
            taken.clear()
        while at in taken:
            at = (at + 1) % len(PALETTE)
        taken.add(at)
        colours[name] = PALETTE[at]
    return colours


def template(theme: str | None) -> dict[str, Any]:
    """A plotly template for `layout.template`: transparent, in the shell's font and greys."""
    dark = theme == "dark"
    text, line, grid = ("#c9d1d9", "#484f58", "#2d333b") if dark else ("#343a40", "#ced4da", "#eceff2")
    axis = {"gridcolor": grid, "linecolor": line, "zerolinecolor": grid, "tickcolor": line, "automargin": True}
    return {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": text, "size": 12, "family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"},
            "xaxis": axis,
            "yaxis": axis,
            "colorway": list(PALETTE),
            "margin": {"l": 56, "r": 16, "t": 16, "b": 40},
            "hoverlabel": {
                "bgcolor": "#22272e" if dark else "#ffffff",
                "bordercolor": line,
                "font": {"color": text},
                "align": "left",
            },
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "#868e96", "activecolor": text},
        }
    }
