"""How states look: a badge for one, a segmented bar for many, a dot for an app.

In: states and counts. Out: components. Colour never says it alone: every one has its text beside it or as its title.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from heliograph_dashboard.figures.colours import GROUP, GROUPS, RUN, group_of, state_colour

LABELS: Final[Mapping[str, str]] = {
    "pending": "pending",
    "launched": "launched",
    "running": "running",
    "running_ended": "ended, result on its way",
    "joining": "joining",
    "fail_retryable": "failed, will retry",
    "memo_done": "memoized",
    "exec_done": "done",
    "dep_fail": "dependency failed",
    "failed": "failed",
}
"""Parsl's names of states in words."""


def state_label(state: str | None) -> str:
    return LABELS.get(state or "", state or "unknown")


def state_badge(state: str | None) -> Component:
    """A task's or try's state."""
    return _badge(state_label(state), state_colour(state))


def run_badge(state: str) -> Component:
    """A run's state: running, completed, failed, lost, unknown."""
    return _badge(state, RUN.get(state, RUN["unknown"]))


def _badge(text: str, colour: str) -> Component:
    return html.Span(
        [html.Span(className="hg-dot", style={"backgroundColor": colour}), text],
        className="hg-badge",
        style={"--hg-colour": colour},
    )


def app_dot(colour: str) -> Component:
    """The mark of an app's colour, to be put before its name."""
    return html.Span(className="hg-dot", style={"backgroundColor": colour})


def by_group(states: Mapping[str | None, int]) -> dict[str, int]:
    """Counts by state summed into the groups that bars show, in their order."""
    groups = dict.fromkeys(GROUPS, 0)
    for state, count in states.items():
        groups[group_of(state)] += count
    return groups


def segmented_bar(states: Mapping[str | None, int], *, height: int = 8) -> Component:
    """Tasks by state as one bar: done, failed, retrying, running, and what waits as its ground."""
    groups = by_group(states)
    total = sum(groups.values())
    told = ", ".join(f"{count:,} {group}" for group, count in groups.items() if count) or "no tasks"
    segments = [
        html.Span(style={"width": f"{100 * groups[group] / total:.4f}%", "backgroundColor": GROUP[group]})
        for group in ("done", "failed", "retrying", "running")
        if total and groups[group]
    ]
    return html.Div(
        segments, className="hg-bar", style={"height": height}, title=told, role="img", **{"aria-label": told}
    )


def legend(states: Mapping[str | None, int]) -> Component:
    """The counts of a segmented bar in words."""
    items = [
        html.Span([html.Span(className="hg-dot", style={"backgroundColor": GROUP[group]}), f"{count:,} {group}"])
        for group, count in by_group(states).items()
        if count
    ]
    return dmc.Group(items, gap="md", className="hg-legend")
