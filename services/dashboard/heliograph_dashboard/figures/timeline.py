"""The timeline: workers by time, as bars, as an image, or as how many workers were busy with each app.

In: tries of a window or their sums, the window, the reader's clock. Out: plotly figures as plain dicts. Colours are
those of apps; where nothing ran, nothing is drawn. Of more than `MOST_RASTER`
tries sums are to be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import numpy as np

from heliograph_dashboard.components.states import state_label
from heliograph_dashboard.components.times import duration
from heliograph_dashboard.figures.colours import app_colours
from heliograph_dashboard.figures.labels import app_label
from heliograph_dashboard.figures.lanes import lanes_of
from heliograph_dashboard.figures.packed import packed
from heliograph_dashboard.figures.timeline_image import MOST_APPS, image
from heliograph_dashboard.figures.timeline_scene import (
    FAILED,
    FEWEST,
    HEAD,
    LANE,
    LOST,
    NAMED_LANES,
    OTHERS,
    Drawing,
    Figure,
    Scene,
    Window,
    between_hosts,
    frame,
    lane_axis,
    legend_room,
)
from heliograph_store.read.busy import Busy
from heliograph_store.read.nodes import Node
from heliograph_store.read.timeline import Ran

Level = Literal["bars", "raster", "area"]
MOST_BARS: Final = 2_000
MOST_LANES: Final = 320
"""More workers than that are drawn as an image, because a bar would be thinner than a pixel."""
MOST_RASTER: Final = 6_000


def tries_figure(
    tries: Sequence[Ran], pools: Iterable[Node], window: Window, *, apps: Iterable[str | None], theme: str | None
) -> tuple[Level, Drawing]:
    """Bars, or an image where there are too many tries or workers for them. `apps`: all of the run, for the colours."""
    lanes, lane = lanes_of(tries, pools)
    image_only = len(tries) > MOST_BARS or len(set(lane)) > MOST_LANES
    if not image_only and len(lanes) > MOST_LANES:  # too many idle ones to be shown
        lanes, lane = lanes_of(tries)
    scene = Scene(tries, lanes, lane, window, app_colours(apps), theme)
    return ("raster", image(scene)) if image_only else ("bars", _bars(scene))


def _bars(scene: Scene) -> Drawing:
    groups: dict[tuple[str | None, bool, bool], list[int]] = {}
    for index, one in enumerate(scene.tries):
        groups.setdefault((one.app, one.failed, one.ended is None), []).append(index)
    order = sorted(groups, key=lambda group: (group[0] is None, group[0] or "", *group[1:]))
    told: set[str | None] = set()
    traces = []
    for group in order:
        traces.append({**_alike(scene, group, groups[group]), "showlegend": group[0] not in told})
        told.add(group[0])
    traces += _marks(scene)
    lanes = scene.lanes
    layout = frame(scene.window, scene.theme)
    layout |= {"barmode": "overlay", "bargap": 0, "yaxis": lane_axis(lanes, len(lanes), 1, layout["yaxis"])}
    layout["shapes"] = between_hosts(lanes, 1, scene.theme)
    height = HEAD + legend_room(traces) + (LANE * max(FEWEST, len(lanes)) if len(lanes) <= NAMED_LANES else 620)
    return Drawing(figure={"data": traces, "layout": layout}, height=height, lanes=len(lanes))


def _alike(scene: Scene, group: tuple[str | None, bool, bool], members: Sequence[int]) -> Figure:
    """The bars of one app that look alike: those that failed, those without an end, the others."""
    app, failed, unended = group
    clock, paint = scene.window.clock, scene.paint(app)
    some = [(scene.tries[i], scene.lane[i], scene.ends[i]) for i in members]
    begins = np.asarray([one.began for one, _, _ in some], dtype=np.float64)
    return {
        "type": "bar",
        "orientation": "h",
        "name": app_label(app, 32),
        "legendgroup": f"app:{app}",
        "base": clock.shown(begins),
        "x": packed((np.asarray([end for _, _, end in some], dtype=np.float64) - begins) / 1000),
        "y": packed(np.asarray([lane for _, lane, _ in some])),
        "width": 0.82,
        "customdata": [str(one.task) for one, _, _ in some],
        "text": [_told(one, scene.titles[lane], end) for one, lane, end in some],
        "textposition": "none",
        "meta": app_label(app, 80),
        "hovertemplate": "<b>%{meta}</b><br>%{text}<extra></extra>",
        "marker": {
            "color": paint,
            "opacity": 0.55 if unended else 1,
            # A line of its own colour, so that the shortest bar is still a pixel wide.
            "line": {"width": 1.6, "color": FAILED} if failed else {"width": 0.7, "color": paint},
        },
    }


def _told(one: Ran, lane: str, end: int) -> str:
    spent = duration(end - one.began)
    so_far = f"{spent} so far" if one.ended is None else spent
    attempt = f", try {one.try_}" if one.try_ else ""
    state = state_label(one.state) + (" (this try failed)" if one.failed and one.state not in {"failed"} else "")
    return f"task {one.number}{attempt}<br>{state} · {so_far}<br>{lane}"


def _marks(scene: Scene) -> Iterator[Figure]:
    """Failed tries, and those of which nobody knows the end."""
    tries, window = scene.tries, scene.window
    edge = "#1c2128" if scene.theme == "dark" else "#ffffff"
    wrong = [i for i, one in enumerate(tries) if one.failed]
    unknown = [i for i, one in enumerate(tries) if one.ended is None] if window.lost else []
    for members, name, symbol, colour in (
        (wrong, "failed", "x", FAILED),
        (unknown, "end unknown: last sign of life", "diamond-open", LOST),
    ):
        if members:
            yield {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": window.clock.shown([scene.ends[i] for i in members]),
                "y": packed(np.asarray([scene.lane[i] for i in members])),
                "customdata": [str(tries[i].task) for i in members],
                "text": [f"{app_label(tries[i].app, 80)}, task {tries[i].number}" for i in members],
                "hovertemplate": f"%{{text}}<br>{name}<extra></extra>",
                "marker": {"symbol": symbol, "size": 8, "color": colour, "line": {"width": 1, "color": edge}},
            }


def area_figure(busy: Sequence[Busy], window: Window, *, apps: Iterable[str | None], theme: str | None) -> Drawing:
    """How many workers were busy with each app, on average over each stretch of time."""
    colours = app_colours(apps)
    total: dict[str | None, int] = {}
    for one in busy:
        total[one.name] = total.get(one.name, 0) + one.busy
    largest = sorted((app for app in total if total[app]), key=lambda app: (-total[app], app or ""))[:MOST_APPS]
    edges = _edges(busy)
    place = {moment: index for index, moment in enumerate(edges)}
    sums = {app: np.zeros(len(edges)) for app in largest}
    rest = np.zeros(len(edges))
    for one in busy:
        sums.get(one.name, rest)[place[one.at]] += one.busy / max(1, one.width)
    x = window.clock.shown(edges)
    traces = []
    series = [(app_label(app, 32), colours.get(app, colours[None]), values) for app, values in sums.items()]
    for name, paint, values in [*series, *([("other apps", OTHERS, rest)] if rest.any() else [])]:
        traces.append({
            "type": "scatter", "mode": "lines", "stackgroup": "busy", "name": name, "x": x,
            "y": packed(values.astype(np.float32)),
            "line": {"shape": "hv", "width": 0, "color": paint}, "fillcolor": paint, "meta": name,
            "hovertemplate": "%{meta}: %{y:,.1f}<extra></extra>",
        })  # fmt: skip
    layout = frame(window, theme)
    layout["hovermode"] = "x unified"
    layout["yaxis"] |= {"title": {"text": "busy workers"}, "rangemode": "tozero", "fixedrange": True}
    return Drawing(figure={"data": traces, "layout": layout}, height=480, lanes=0)


def _edges(busy: Sequence[Busy]) -> list[int]:
    """Where the height changes: every stretch in which something ran begins and ends."""
    return sorted({at for one in busy for at in (one.at, one.at + one.width)})
