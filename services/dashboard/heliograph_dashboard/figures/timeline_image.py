"""The timeline as an image: every pixel has the colour of the app that kept its workers busy the longest.

In: a scene. Out: a plotly heatmap, a mark for every pixel with failures, and the names that the browser shows of what
is under the pointer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from heliograph_dashboard.components.text import cut
from heliograph_dashboard.figures.labels import NO_APP, app_label
from heliograph_dashboard.figures.packed import packed
from heliograph_dashboard.figures.raster import Spans, rasterise
from heliograph_dashboard.figures.timeline_scene import (
    FAILED,
    HEAD,
    LANE,
    OTHERS,
    Drawing,
    Figure,
    Scene,
    between_hosts,
    frame,
    lane_axis,
    legend_room,
)

MOST_APPS: Final = 15
"""Apps with a colour of their own."""
PIXELS: Final = (280, 640)
"""Rows and columns at most: what a screen shows of it without being sent for long."""
MOST_MARKS: Final = 1500
"""Of failures; of more every n-th is marked."""


def image(scene: Scene) -> Drawing:
    window, lanes = scene.window, scene.lanes
    shown, number = largest([one.app for one in scene.tries])
    rows, columns = PIXELS
    spans = Spans(
        lane=np.asarray(scene.lane, dtype=np.int64),
        app=np.asarray([number[one.app] for one in scene.tries], dtype=np.int64),
        began=np.asarray([one.began for one in scene.tries], dtype=np.float64),
        ended=np.asarray(scene.ends, dtype=np.float64),
    )
    grid = rasterise(
        spans, lanes=len(lanes), apps=len(shown) + 1, since=window.since, until=window.until, rows=rows, columns=columns
    )
    paints = [*(scene.paint(app) for app in shown), OTHERS]
    width = (window.until - window.since) / columns / 1000
    height = len(grid.cells)
    heat = {
        "type": "heatmap",
        "z": packed(grid.cells),
        "x0": window.clock.shown([window.since + width * 500])[0],
        "dx": width,
        "y0": 0,
        "dy": 1,
        "zmin": 0,
        "zmax": 2 * len(paints) + 1,
        "colorscale": _scale(paints),
        "showscale": False,
        "hoverinfo": "none",
    }
    layout = frame(window, scene.theme)
    layout["yaxis"] = lane_axis(lanes, height, grid.lanes_a_row, layout["yaxis"])
    layout["shapes"] = between_hosts(lanes, grid.lanes_a_row, scene.theme)
    traces = [heat, *_legend(scene, shown, others=len(number) > len(shown)), *_failed_cells(scene, grid.lanes_a_row)]
    return Drawing(
        figure={"data": traces, "layout": layout},
        height=HEAD + legend_room(traces) + max(240, min(620, LANE * height)),
        lanes=len(lanes),
        names={
            "apps": [*(NO_APP if app is None else cut(app, 80) for app in shown), "another app"],
            "lanes": [cut(lane.title, 100) for lane in lanes],
            "a_row": grid.lanes_a_row,
        },
    )


def largest(apps: Sequence[str | None]) -> tuple[list[str | None], dict[str | None, int]]:
    """The apps with most tries, by name, and the numbers of all: those without a colour share the last."""
    counts: dict[str | None, int] = {}
    for app in apps:
        counts[app] = counts.get(app, 0) + 1
    most = sorted(counts, key=lambda app: (-counts[app], app or ""))[:MOST_APPS]
    shown = sorted(most, key=lambda app: (app is None, app or ""))
    number: dict[str | None, int] = {app: at for at, app in enumerate(shown)}
    return shown, {app: number.get(app, len(shown)) for app in counts}


def _scale(paints: Sequence[str]) -> list[tuple[float, str]]:
    """Steps: nothing, then for each app its colour and the same colour pale."""
    steps = ["rgba(0,0,0,0)", *(paint + alpha for paint in paints for alpha in ("ff", "80"))]
    last = len(steps)
    return [(at / last, _rgba(step)) for index, step in enumerate(steps) for at in (index, index + 1)]


def _rgba(colour: str) -> str:
    if not colour.startswith("#"):
        return colour
    red, green, blue, alpha = (int(colour[at : at + 2], 16) for at in (1, 3, 5, 7))
    return f"rgba({red},{green},{blue},{alpha / 255:.2f})"


def _legend(scene: Scene, shown: Sequence[str | None], *, others: bool) -> Iterator[Figure]:
    paints = [(app_label(app, 32), scene.paint(app)) for app in shown]
    for name, paint in [*paints, *([("other apps", OTHERS)] if others else [])]:
        yield {
            "type": "scatter", "mode": "markers", "x": [None], "y": [None], "name": name, "hoverinfo": "skip",
            "marker": {"symbol": "square", "size": 10, "color": paint},
        }  # fmt: skip


def _failed_cells(scene: Scene, a_row: int) -> Iterator[Figure]:
    """One mark for all failures in a pixel."""
    window = scene.window
    width = (window.until - window.since) / PIXELS[1]
    cells = {
        (int((end - window.since) / width), lane // a_row)
        for one, lane, end in zip(scene.tries, scene.lane, scene.ends, strict=True)
        if one.failed and window.since <= end <= window.until
    }
    if cells:
        column, row = (np.asarray(part) for part in zip(*sorted(cells)[:: len(cells) // MOST_MARKS + 1], strict=True))
        yield {
            "type": "scatter",
            "mode": "markers",
            "name": "failed",
            "x": window.clock.shown(window.since + (column + 0.5) * width),
            "y": packed(row),
            "hoverinfo": "skip",
            "marker": {"symbol": "x", "size": 5, "color": FAILED},
        }
