"""What bars and the image of a timeline share: the window, the lanes, the frame around them.

In: tries of a window and their lanes. Out: parts of plotly figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from heliograph_dashboard.figures.clock import Clock
from heliograph_dashboard.figures.colours import STATE, template
from heliograph_dashboard.figures.labels import label
from heliograph_dashboard.figures.lanes import Lane
from heliograph_store.read.timeline import Ran

Figure = dict[str, Any]
NAMED_LANES: Final = 64
LANE: Final = 17
"""Pixels of a lane that has its name beside it."""
FEWEST: Final = 4
"""Lanes that there is room for at least."""
HEAD: Final = 96
"""Pixels above and below the lanes."""
LEGEND_ROW: Final = 20
"""Pixels of a row of the legend, of which HEAD has room for one."""
LEGEND_WIDTH: Final = 900
MOST_LEGEND_ROWS: Final = 10
OTHERS: Final = "#868e96"
FAILED: Final = STATE["failed"]
LOST: Final = "#f08c00"


@dataclass(frozen=True, kw_only=True)
class Window:
    """From when to when, in microseconds UTC. Tries without an end reach until `last`: now while the run is alive, its
    last sign of life when it is not, which `lost` says."""

    since: int
    until: int
    last: int
    lost: bool
    clock: Clock


@dataclass(frozen=True)
class Scene:
    """The tries of a window, each with the number of its lane."""

    tries: Sequence[Ran]
    lanes: Sequence[Lane]
    lane: Sequence[int]
    window: Window
    colours: Mapping[str | None, str]
    theme: str | None

    @cached_property
    def ends(self) -> list[int]:
        """When each try ended, or as far as it is drawn."""
        last = self.window.last
        return [max(one.began, last) if one.ended is None else one.ended for one in self.tries]

    @cached_property
    def titles(self) -> list[str]:
        """Of the lanes, as a hover shows them."""
        return [label(lane.title, 80) for lane in self.lanes]

    def paint(self, app: str | None) -> str:
        return self.colours.get(app, self.colours[None])


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, its height in pixels, and what the browser needs to name what is under the pointer in an image."""

    figure: Figure
    height: int
    lanes: int
    names: Mapping[str, Any] | None = None


def frame(window: Window, theme: str | None) -> Figure:
    begin, end = window.clock.shown([window.since, window.until])
    return {
        "template": template(theme),
        "xaxis": {
            "type": "date",
            "range": [begin, end],
            "title": {"text": f"time ({window.clock.name})", "font": {"size": 11}},
            "showgrid": True,
            "hoverformat": "%H:%M:%S.%L",
        },
        "yaxis": {"fixedrange": True, "zeroline": False},
        "margin": {"l": 8, "r": 12, "t": 30, "b": 44},
        "hovermode": "closest",
        "dragmode": "zoom",
        "clickmode": "event",
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.01,
            "x": 0,
            "tracegroupgap": 0,
            "uirevision": "legend",
        },
        "uirevision": f"{window.since}",
    }


def legend_room(traces: Iterable[Figure]) -> int:
    """Pixels that the legend needs beyond its first row, on a narrow screen: it would lie upon the lanes otherwise."""
    rows, used = 0, LEGEND_WIDTH
    for trace in traces:
        if trace.get("showlegend", True) and trace.get("name"):
            width = 50 + 7 * len(trace["name"])
            rows, used = (rows + 1, width) if used + width > LEGEND_WIDTH else (rows, used + width)
    return LEGEND_ROW * max(0, min(rows, MOST_LEGEND_ROWS) - 1)


def lane_axis(lanes: Sequence[Lane], rows: int, a_row: int, axis: Figure) -> Figure:
    """Names of lanes where there is room for them, else of their hosts."""
    hosts = _hosts(lanes)
    if len(lanes) <= NAMED_LANES and a_row == 1:
        firsts = {first for _, first, _ in hosts}
        ticks = list(range(len(lanes)))
        texts = [
            f"<b>{label(lane.host, 28)}</b>  {label(lane.name, 20)}" if at in firsts else label(lane.name, 20)
            for at, lane in enumerate(lanes)
        ]
    else:
        step = max(1, -(-len(hosts) // 40))
        some = hosts[::step]
        ticks = [round((first + last) / 2 / a_row) for _, first, last in some]
        texts = [label(host, 28) for host, _, _ in some]
    return {
        **axis, "range": [max(rows, FEWEST) - 0.5, -0.5], "tickvals": ticks, "ticktext": texts, "showgrid": False,
        "ticks": "", "tickfont": {"size": 11}, "automargin": True,
    }  # fmt: skip


def _hosts(lanes: Sequence[Lane]) -> list[tuple[str, int, int]]:
    """Each host with its first and last lane."""
    found: list[tuple[str, int, int]] = []
    for at, lane in enumerate(lanes):
        if found and found[-1][0] == lane.host:
            found[-1] = (lane.host, found[-1][1], at)
        else:
            found.append((lane.host, at, at))
    return found


def between_hosts(lanes: Sequence[Lane], a_row: int, theme: str | None) -> list[Figure]:
    hosts = _hosts(lanes)
    if len(hosts) > 120:
        return []
    line = {"width": 1, "color": "#3b424b" if theme == "dark" else "#dee2e6"}
    return [
        {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line, "layer": "below"}
        for y in (first / a_row - 0.5 for _, first, _ in hosts[1:])
    ]
