"""A graph of a few hundred tasks: a small run whole, or the neighbourhood of one task.

In: a `TaskGraph`, how to colour it. Out: a plotly figure as plain dicts, with arrows and names. `customdata` of every
node begins with its task's key. Larger graphs are drawn otherwise (`graph_canvas`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from heliograph_dashboard.components.states import state_label
from heliograph_dashboard.components.times import SECOND, duration
from heliograph_dashboard.figures.colours import STATE, app_colours, state_colour, template
from heliograph_dashboard.figures.graph_layout import STEP, Layout, layered
from heliograph_dashboard.figures.labels import app_label
from heliograph_dashboard.figures.packed import packed
from heliograph_store.read.graph import TaskGraph, TaskNode

Colour = Literal["app", "state"]
Figure = dict[str, Any]
Ints = NDArray[np.int64]

MOST_NODES: Final = 300
"""More are drawn by the browser's own canvas."""
NAMED_NODES: Final = 48
"""So many have their names beside them."""
MOST_TRACES: Final = 60
SIZES: Final = ((60, 14), (10**9, 10))
"""Up to so many nodes, so many pixels."""


def task_figure(
    graph: TaskGraph, *, apps: Iterable[str | None], colour: Colour, theme: str | None, focus: int | None = None
) -> Figure:
    """The figure of these tasks. `apps` are all of the run, because they share the colours; `focus` is the task whose
    neighbourhood it is."""
    ends, join = ends_of(graph)
    layout = layered(len(graph.nodes), ends[:, 0], ends[:, 1])
    traces = [
        _edges(layout, ends[which], colour=paint, name=name)
        for which, paint, name in (
            (~join, line_colour(theme), "waits for"),
            (join, join_colour(theme), "joins"),
        )
        if which.any()
    ]
    traces += _nodes(graph.nodes, layout, colour, app_colours(apps))
    if focus is not None:
        traces += _around_focus(graph, layout, focus, theme)
    return {"data": traces, "layout": _frame(graph, layout, theme, focus)}


def ends_of(graph: TaskGraph) -> tuple[Ints, NDArray[np.bool_]]:
    """The edges as rows of (from, to), and which of them are joins."""
    ends = np.asarray([edge[:2] for edge in graph.edges], dtype=np.int64).reshape(-1, 2)
    return ends, np.asarray([edge[2] for edge in graph.edges], dtype=np.bool_)


def line_colour(theme: str | None) -> str:
    """Of dependencies."""
    return "#8b96a3" if theme == "dark" else "#9aa5b1"


def join_colour(theme: str | None) -> str:
    return "#a78bfa" if theme == "dark" else STATE["joining"]


def _edges(layout: Layout, ends: Ints, *, colour: str, name: str) -> Figure:
    """Every edge from its node to its node, with an arrow there, and a gap."""
    x: list[int | None] = []
    y: list[int | None] = []
    for start, end in ends.tolist():
        x += (int(layout.x[start]), int(layout.x[end]), None)
        y += (int(layout.y[start]), int(layout.y[end]), None)
    return {
        "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "hoverinfo": "skip", "name": name, "opacity": 0.9,
        "line": {"color": colour, "width": 1.2, "dash": "dot" if name == "joins" else "solid"},
        "marker": {
            "symbol": "arrow", "angleref": "previous", "size": [0, 9, 0] * len(ends), "standoff": 7, "color": colour,
            "opacity": 1, "line": {"width": 0},
        },
        "showlegend": name == "joins", "legendrank": 2000,
    }  # fmt: skip


def _nodes(
    nodes: Sequence[TaskNode], layout: Layout, colour: Colour, colours: Mapping[str | None, str]
) -> Iterator[Figure]:
    """One trace for each app and state, and a legend entry for each colour."""
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
            "type": "scatter",
            "mode": "markers",
            "x": packed(layout.x[at]),
            "y": packed(layout.y[at]),
            "customdata": [[str(node.task), _spent(node), node.number] for node in some],
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
        trace["hovertemplate"] = _hover(alike)
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


def _hover(alike: bool) -> str:
    named = "<b>%{meta[0]}</b><br>" if alike else "%{text}<br>"
    state = "%{meta[1]} · " if alike else ""
    return f"{named}task %{{customdata[2]}}<br>{state}%{{customdata[1]}}<extra></extra>"


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
