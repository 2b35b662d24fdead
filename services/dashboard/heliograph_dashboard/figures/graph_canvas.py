"""A large graph of tasks, as numbers for the browser's own drawing (`assets/graph_canvas.js`).

In: a `TaskGraph`, how to colour it. Out: typed arrays in base64, some 20 bytes a task and 6 an edge, and the names that
the numbers stand for. Plotly's WebGL needs a policy that lets a page make code from text, and stops a browser without a
graphics card for seconds at ten thousand lines; a canvas of our own needs neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heliograph_dashboard.components.states import state_label
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.figures.colours import app_colours, state_colour
from heliograph_dashboard.figures.graph import Colour, ends_of, join_colour, line_colour
from heliograph_dashboard.figures.graph_layout import Layout, layered
from heliograph_dashboard.figures.labels import NO_APP
from heliograph_dashboard.figures.packed import packed
from heliograph_store.read.graph import TaskGraph

MOST_NAMES = 2000
"""Apps whose names are sent; tasks of others are of 'another app'."""


def canvas_data(graph: TaskGraph, *, apps: Iterable[str | None], colour: Colour, theme: str | None) -> dict[str, Any]:
    """What the browser draws. `apps` are all of the run, because they share the colours."""
    ends, join = ends_of(graph)
    layout = _layout(len(graph.nodes), ends.tobytes())
    colours = app_colours(apps)
    app, app_number = _numbered([node.app for node in graph.nodes])
    state, state_number = _numbered([node.state for node in graph.nodes])
    by_app = [colours.get(name, colours[None]) for name in app]
    by_state = [state_colour(name) for name in state]
    spent = [np.nan if node.seconds is None else node.seconds for node in graph.nodes]
    order = np.argsort(join, kind="stable")  # dependencies first
    return {
        "x": packed(layout.x),
        "y": packed(layout.y),
        "task": packed(np.asarray([node.task for node in graph.nodes], dtype=np.int64)),
        "number": packed(np.asarray([node.number for node in graph.nodes], dtype=np.int64)),
        "seconds": packed(np.asarray(spent, dtype=np.float32)),
        "app": packed(app_number),
        "state": packed(state_number),
        "edges": packed(ends[order].reshape(-1)),
        "joins": int(join.sum()),
        "apps": [NO_APP if name is None else cut(name, 80) for name in app],
        "states": [state_label(name) for name in state],
        "colour": colour,
        "colours": by_app if colour == "app" else by_state,
        "lines": [line_colour(theme), join_colour(theme)],
    }


def legend(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and colours of what is drawn, in the order of the names."""
    names = data["apps"] if data["colour"] == "app" else data["states"]
    return sorted(zip(names, data["colours"], strict=True))


def _numbered(values: Sequence[str | None]) -> tuple[list[str | None], NDArray[np.int64]]:
    """The different values, the most frequent first, and the place of every value among them."""
    counts: dict[str | None, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    distinct = sorted(counts, key=lambda value: (-counts[value], value or ""))
    place = {value: at for at, value in enumerate(distinct)}
    return distinct, np.asarray([place[value] for value in values], dtype=np.int64)


@lru_cache(maxsize=16)
def _layout(nodes: int, ends: bytes) -> Layout:
    """Kept, because a run that goes on changes its states every second and its edges seldom."""
    pairs = np.frombuffer(ends, dtype=np.int64).reshape(-1, 2)
    return layered(nodes, pairs[:, 0], pairs[:, 1])
