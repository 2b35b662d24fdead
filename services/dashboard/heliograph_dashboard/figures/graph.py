"""The graph of tasks: all of them, or the neighbourhood of one.

In: a `TaskGraph`, how to colour it. Out: a plotly figure as plain dicts. Large graphs are drawn with WebGL and sent as
typed arrays; small ones as SVG with arrows and names. `customdata` of every node begins with its task's key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from heliograph_dashboard.components.states import state_label
from heliograph_dashboard.components.times import SECOND, duration
from heliograph_dashboard.figures.colours import STATE, app_colours, state_colour, template
from heliograph_dashboard.figures.graph_layout import STEP, Layout, layered
from heliograph_dashboard.figures.labels import app_label
from heliograph_dashboard.figures.packed import packed
from heliograph_dashboard.figures.trails import GAP, trails
from heliograph_store.read.graph import TaskGraph, TaskNode

Colour = Literal["app", "state"]
Figure = dict[str, Any]
Ints = NDArray[np.int64]

SVG_NODES: Final = 300
"""More are drawn with WebGL, without arrows."""
NAMED_NODES: Final = 48
"""So many have their names beside them."""
MOST_TRACES: Final = 60
SIZES: Final = ((60, 14), (300, 10), (2000, 7), (8000, 5), (10**9, 4))
"""Up to so many nodes, so many pixels."""
JOIN: Final = STATE["joining"]


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """What follows from the edges alone, and costs most."""

    layout: Layout
    dependencies: Ints
    joins: Ints


def task_figure(
    graph: TaskGraph, *, apps: Iterable[str | None], colour: Colour, theme: str | None, focus: int | None = None
) -> Figure:
    """The figure of these tasks. `apps` are all of the run, because they share the colours; `focus` is the task whose
    neighbourhood it is."""
    pairs = np.asarray([edge[:2] for edge in graph.edges], dtype=np.int64).reshape(-1, 2)
    join = np.asarray([edge[2] for edge in graph.edges], dtype=np.bool_)
    drawn = _draw(len(graph.nodes), pairs.tobytes(), join.tobytes())
    x, y = drawn.layout.x, drawn.layout.y
    few = len(graph.nodes) <= SVG_NODES
    line = "#5b6672" if theme == "dark" else "#c3cad2"
    edges = [
        _edges(x, y, walk, colour=paint, few=few, dash=dash, name=name)
        for walk, paint, dash, name in (
            (drawn.dependencies, line, "solid", "waits for"),
            (drawn.joins, "#a78bfa" if theme == "dark" else JOIN, "dot", "joins"),
        )
        if walk.size
    ]
    traces = [*edges, *_nodes(graph.nodes, drawn.layout, colour, app_colours(apps), few=few)]
    if focus is not None:
        traces += _around_focus(graph, drawn.layout, focus, theme)
    return {"data": traces, "layout": _frame(graph, drawn.layout, theme, focus)}


@lru_cache(maxsize=32)
def _draw(nodes: int, pairs: bytes, join: bytes) -> _Drawn:
    """Kept, because a run that goes on changes its states every second and its edges seldom."""
    ends = np.frombuffer(pairs, dtype=np.int64).reshape(-1, 2)
    is_join = np.frombuffer(join, dtype=np.bool_)
    start, end = ends[:, 0], ends[:, 1]
    some = nodes <= SVG_NODES
    return _Drawn(
        layout=layered(nodes, start, end),
        dependencies=_lines(nodes, start[~is_join], end[~is_join], single=some),
        joins=_lines(nodes, start[is_join], end[is_join], single=some),
    )


def _lines(nodes: int, start: Ints, end: Ints, *, single: bool) -> Ints:
    """Nodes to be joined by lines, -1 for a gap; `single`: every edge by itself, in its direction, for its arrow."""
    if not single:
        return trails(nodes, start, end)
    return np.stack([start, end, np.full_like(start, GAP)], axis=1).reshape(-1)


def _edges(x: Ints, y: Ints, walk: Ints, *, colour: str, few: bool, dash: str, name: str) -> Figure:
    gap = walk == GAP
    line = {"color": colour, "width": 1.2 if few else 1, "dash": dash if few else "solid"}
    trace: Figure = {
        "type": "scatter" if few else "scattergl",
        "mode": "lines",
        "x": packed(x[walk]),
        "y": packed(np.where(gap, np.nan, y[walk]).astype(np.float32)),
        "line": line,
        "opacity": 0.9 if few else 0.45,
        "hoverinfo": "skip",
        "name": name,
        "showlegend": name == "joins",
        "legendrank": 2000,
    }
    if few:
        arrows = np.where(np.roll(gap, -1), 9, 0)
        arrows[gap] = 0
        trace["mode"] = "lines+markers"
        trace["marker"] = {
            "symbol": "arrow", "angleref": "previous", "size": arrows.tolist(), "standoff": 7, "color": colour,
            "opacity": 1,
        }  # fmt: skip
    return trace


def _nodes(
    nodes: Sequence[TaskNode], layout: Layout, colour: Colour, colours: Mapping[str | None, str], *, few: bool
) -> Iterator[Figure]:
    """One trace for each app and state, so that neither has to be sent for every node; a legend entry a colour."""
    size = next(pixels for most, pixels in SIZES if len(nodes) <= most)
    groups: dict[tuple[str | None, str | None], list[int]] = {}
    for index, node in enumerate(nodes):
        groups.setdefault((node.app, node.state), []).append(index)
    told: set[str | None] = set()
    for members, app, state in _merged(groups, colour):
        key = app if colour == "app" else state
        some = [nodes[i] for i in members]
        at = np.asarray(members, dtype=np.int64)
        trace = {
            "type": "scatter" if few else "scattergl",
            "mode": "markers",
            "x": packed(layout.x[at]),
            "y": packed(layout.y[at]),
            "customdata": _identities(some, few),
            "meta": [app_label(app, 80), state_label(state)],
            "marker": {
                "color": colours.get(app, colours[None]) if colour == "app" else state_colour(state),
                "size": size,
                "line": {"width": 0},
            },
            "name": app_label(app, 32) if colour == "app" else state_label(state),
            "legendgroup": f"{colour}:{key}",
            "showlegend": key not in told,
        }
        alike = len({(node.app, node.state) for node in some}) == 1
        if not alike:
            trace["text"] = [f"<b>{app_label(node.app, 32)}</b> · {state_label(node.state)}" for node in some]
        trace["hovertemplate"] = _hover(few, alike)
        told.add(key)
        yield trace


def _merged(
    groups: Mapping[tuple[str | None, str | None], list[int]], colour: Colour
) -> Iterator[tuple[list[int], str | None, str | None]]:
    """The groups in the order of the legend. The smallest ones are put together where there would be too many traces
    for a browser: with the state when coloured by state, else with an app's colour-mates."""
    rank = {state: at for at, state in enumerate(STATE)}

    def place(group: tuple[str | None, str | None]) -> tuple[Any, ...]:
        app, state = (group[0] is None, group[0] or ""), rank.get(group[1] or "unknown", len(rank))
        return (*app, state) if colour == "app" else (state, *app)

    largest = set(sorted(groups, key=lambda group: -len(groups[group]))[:MOST_TRACES])
    rest: dict[str | None, list[int]] = {}
    for group in sorted(groups, key=place):
        if group in largest:
            yield groups[group], *group
        else:
            rest.setdefault(None if colour == "app" else group[1], []).extend(groups[group])
    for state, members in rest.items():
        yield members, None, state


def _hover(few: bool, alike: bool) -> str:
    shown = "%{customdata[1]}" if few else "%{customdata[1]:,.2f} s"
    number = "%{customdata[2]}" if few else "%{customdata[0]:d}"
    if not alike:
        return f"%{{text}}<br>task {number} · {shown}<extra></extra>"
    return f"<b>%{{meta[0]}}</b><br>task {number}<br>%{{meta[1]}} · {shown}<extra></extra>"


def _identities(nodes: Sequence[TaskNode], few: bool) -> Any:
    """(key, run time, number) of every node: as text where there are few, as numbers where there are many."""
    if few:
        return [[str(node.task), _spent(node), node.number] for node in nodes]
    keys = [node.task for node in nodes]
    exact = np.float32 if max(keys) < 1 << 24 else np.float64  # a float holds whole numbers exactly up to there
    spent = [np.nan if node.seconds is None else node.seconds for node in nodes]
    return packed(np.asarray([keys, spent], dtype=exact).T)


def _spent(node: TaskNode) -> str:
    return "no run time yet" if node.seconds is None else duration(node.seconds * SECOND)


def _around_focus(graph: TaskGraph, layout: Layout, focus: int, theme: str | None) -> Iterator[Figure]:
    """A ring around the task in question, and what is not shown."""
    at = next(index for index, node in enumerate(graph.nodes) if node.task == focus)
    yield {
        "type": "scatter", "mode": "markers", "x": [int(layout.x[at])], "y": [int(layout.y[at])], "hoverinfo": "skip",
        "marker": {"size": 24, "color": "rgba(0,0,0,0)", "line": {"width": 2.5, "color": _text_colour(theme)}},
        "showlegend": False,
    }  # fmt: skip
    if graph.hidden:
        yield {
            "type": "scatter", "mode": "text", "hoverinfo": "skip", "showlegend": False,
            "x": [int(layout.x[i]) for i in graph.hidden], "y": [int(layout.y[i]) for i in graph.hidden],
            "text": [_more(*both) + "<br> " for both in graph.hidden.values()],
            "textposition": "top center", "textfont": {"size": 10, "color": "#868e96"},
        }  # fmt: skip


def _more(before: int, after: int) -> str:
    return " · ".join([*([f"‹ {before:,} more"] if before else []), *([f"{after:,} more ›"] if after else [])])


def _frame(graph: TaskGraph, layout: Layout, theme: str | None, focus: int | None) -> Figure:
    axis = {"visible": False, "zeroline": False, "showgrid": False}
    wide, high = max(1, layout.width), max(STEP, layout.height)
    return {
        "template": template(theme),
        "xaxis": {**axis, "range": [-0.06 * wide - 0.5, 1.06 * wide - 0.5]},
        "yaxis": {**axis, "range": [1.05 * high, -0.05 * high - 1]},
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hovermode": "closest",
        "hoverdistance": 12,
        "dragmode": "pan",
        "clickmode": "event",
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "itemsizing": "constant"},
        # The view is the user's own until another graph is asked for, whatever the run does meanwhile.
        "uirevision": f"{focus}",
        "annotations": _names(graph, layout, theme) if len(graph.nodes) <= NAMED_NODES else [],
    }


def _names(graph: TaskGraph, layout: Layout, theme: str | None) -> list[Mapping[str, Any]]:
    return [
        {
            "x": int(layout.x[i]), "y": int(layout.y[i]), "text": f"{app_label(node.app, 18)} {node.number}",
            "showarrow": False, "yshift": -18, "font": {"size": 11, "color": _text_colour(theme)},
        }
        for i, node in enumerate(graph.nodes)
    ]  # fmt: skip


def _text_colour(theme: str | None) -> str:
    return "#c9d1d9" if theme == "dark" else "#343a40"
