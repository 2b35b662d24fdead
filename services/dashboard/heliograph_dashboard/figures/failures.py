"""Failures over time: how many tries and tasks went wrong in each stretch; and which node a group points to.

In: counts of entered states; how many tries of a group each node ran. Out: a plotly figure; the node, if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heliograph_dashboard.components.states import state_label
from heliograph_dashboard.components.times import local
from heliograph_dashboard.figures.colours import STATE, template
from heliograph_store.read.progress import Entered

WRONG: Final = ("failed", "dep_fail", "fail_retryable")
"""States that are drawn, from the ground up."""
NEARLY_ALL: Final = 0.8
FEW: Final = 5
"""Of fewer tries nothing can be said about a node."""
CLEARLY: Final = 0.6
"""A node that ran more than this part of its share of a group is simply where the run took place."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A node from which nearly all of a group comes: its share of the group, and of all tries of the run."""

    host: str
    share: float
    of_all: float | None


def suspect(hosts: Sequence[tuple[str | None, int]], tries: int, of_all: Mapping[str | None, float]) -> Suspect | None:
    """The node that a group of failures points to: at least `NEARLY_ALL` of at least `FEW` tries come from it, though
    it ran clearly less than that of all tries. `hosts` is (name, tries), the most frequent first."""
    if tries < FEW or not hosts:
        return None
    host, count = hosts[0]
    share = count / tries
    general = of_all.get(host)
    if host is None or share < NEARLY_ALL or (general is not None and general > CLEARLY * share):
        return None
    return Suspect(host=host, share=share, of_all=general)


def over_time(rows: Iterable[Entered], *, width: int, theme: str | None, zone: str) -> dict[str, Any]:
    """Stacked bars, one a stretch of `width` microseconds."""
    by_state: dict[str, dict[int, int]] = {}
    for row in rows:
        if row.state in WRONG:
            counts = by_state.setdefault(row.state, {})
            counts[row.at] = counts.get(row.at, 0) + row.entered
    return {
        "data": [
            {
                "type": "bar",
                "name": state_label(state),
                "x": local([at + width // 2 for at in sorted(by_state[state])], zone),
                "y": [by_state[state][at] for at in sorted(by_state[state])],
                "width": width / 1000,
                "marker": {"color": STATE[state]},
                "hovertemplate": "%{y:,d}",
            }
            for state in WRONG
            if state in by_state
        ],
        "layout": {
            "template": template(theme),
            "barmode": "stack",
            "bargap": 0.1,
            "height": 200,
            "margin": {"t": 28, "b": 32, "l": 48, "r": 12},
            "hovermode": "x unified",
            "showlegend": True,
            "xaxis": {"type": "date"},
            "yaxis": {"rangemode": "tozero", "tickformat": ",d"},
            "uirevision": "failures",
        },
    }
