"""What is drawn of a run's graph: which tasks or apps, how, and whether it is worth sending again.

In: a run and what the URL and the controls ask for. Out: a figure, or the data of the browser's own canvas, with a note
that says what is to be seen.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, cast

from dash import html
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.states import app_dot
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.app_graph import app_figure
from heliograph_dashboard.figures.graph import MOST_NODES, Colour, task_figure
from heliograph_dashboard.figures.graph_canvas import canvas_data, legend
from heliograph_store.read.app_graph import AppEdge, app_edges
from heliograph_store.read.graph import MAX_DEPTH, TaskGraph, neighbourhood, whole_graph
from heliograph_store.read.runs import AppCounts, Run, app_counts

Shown = Literal["apps", "tasks", "near"]
SMALL: Final = 300
"""A run of up to so many tasks is shown task by task at first."""
LARGEST: Final = 20_000
"""More tasks are not drawn one by one."""
DEPTH: Final = 2
PLOT: Final = "max(420px, calc(100vh - 270px))"
"""Height of a graph of tasks."""
SELDOM: Final = 10.0
"""Seconds between two drawings of a graph of thousands of tasks while its run goes on."""
NOTHING: Final = {"xaxis": {"visible": False}, "yaxis": {"visible": False}, "paper_bgcolor": "rgba(0,0,0,0)"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the URL and the controls ask for."""

    shown: Shown
    colour: Colour
    task: int | None
    depth: int

    def query(self) -> dict[str, str]:
        near = (
            {"task": str(self.task), "depth": str(self.depth)}
            if self.shown == "near" and self.task is not None
            else {"task": "", "depth": ""}
        )
        return {"view": self.shown, "colour": self.colour, **near}


def asked(query: Mapping[str, Any], tasks: int) -> Asked:
    """What is asked for; whatever cannot be understood is as if it were not there."""
    task = _number(query.get("task"))
    usual: Shown = "near" if task is not None else "tasks" if tasks <= SMALL else "apps"
    shown = {"apps": "apps", "tasks": "tasks", "near": "near"}.get(str(query.get("view")), usual)
    return Asked(
        shown=cast(Shown, shown),
        colour="state" if query.get("colour") == "state" else "app",
        task=task,
        depth=max(1, min(_number(query.get("depth")) or DEPTH, MAX_DEPTH)),
    )


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What goes to the browser: a figure, or the data of its own canvas."""

    note: str
    figure: Mapping[str, Any] = field(default_factory=lambda: {"data": [], "layout": NOTHING})
    style: Mapping[str, Any] = field(default_factory=lambda: {"display": "none"})
    large: dict[str, Any] | None = None

    def outputs(self, seen: dict[str, Any] | None) -> tuple[Any, ...]:
        marks = [html.Span([app_dot(colour), name]) for name, colour in legend(self.large)] if self.large else []
        return self.figure, self.style, self.note, marks, self.large, seen


def drawing(data: Data, run: Run, now: Asked, theme: str, seen: dict[str, Any] | None) -> tuple[Any, ...]:
    """The outputs of `draw`. Raises PreventUpdate when the browser has it already, or had it drawn a moment ago and the
    run is large and goes on."""
    counts = data.read(app_counts, run.id)
    tasks = sum(count.total for count in counts)
    mark: dict[str, Any] = {"asked": repr((now, theme)), "at": int(time.time())}
    same = seen is not None and seen["asked"] == mark["asked"]
    if seen is not None and same and run.ended is None and tasks > SMALL and mark["at"] - seen["at"] < SELDOM:
        raise PreventUpdate
    content, draw = _content(data, run.id, now, counts, theme)
    mark["digest"] = hashlib.blake2b(repr(content).encode(), digest_size=12).hexdigest()
    if seen is not None and same and seen.get("digest") == mark["digest"]:
        raise PreventUpdate
    return draw().outputs(mark)


def _content(
    data: Data, run: int, now: Asked, counts: Sequence[AppCounts], theme: str
) -> tuple[object, Callable[[], Drawn]]:
    """What there is to see, and how it is drawn."""
    if now.shown == "apps":
        edges = data.read(app_edges, run)
        return ([sorted(count.states.items(), key=str) for count in counts], edges), partial(
            _draw_apps, counts, edges, now, theme
        )
    graph = _graph(data, run, now, sum(count.total for count in counts))
    if isinstance(graph, str):
        return graph, partial(Drawn, note=graph)
    content = ([(node.task, node.state, node.seconds) for node in graph.nodes], graph.edges)
    return content, partial(_draw_tasks, graph, [count.app for count in counts], now, theme)


def _draw_apps(counts: Sequence[AppCounts], edges: Sequence[AppEdge], now: Asked, theme: str) -> Drawn:
    made = app_figure(counts, edges, colour=now.colour, theme=theme)
    style = {"height": made.height, "minWidth": made.width}
    return Drawn(note=_apps_note(counts, edges), figure=made.figure, style=style)


def _draw_tasks(graph: TaskGraph, apps: Sequence[str | None], now: Asked, theme: str) -> Drawn:
    if len(graph.nodes) > MOST_NODES:
        large = canvas_data(graph, apps=apps, colour=now.colour, theme=theme)
        return Drawn(note=_tasks_note(graph, now), large=large)
    focus = now.task if now.shown == "near" else None
    figure = task_figure(graph, colour=now.colour, theme=theme, apps=apps, focus=focus)
    return Drawn(note=_tasks_note(graph, now), figure=figure, style={"height": PLOT})


def _graph(data: Data, run: int, now: Asked, tasks: int) -> TaskGraph | str:
    """The tasks to be drawn, or why none are."""
    if now.shown == "tasks":
        graph = data.read(whole_graph, run, limit=LARGEST) if tasks <= LARGEST else None
        return graph or (
            f"This run has {tasks:,} tasks; one by one at most {LARGEST:,} are drawn. "
            "By app shows all of them; around a task shows what one waits for and what waits for it."
        )
    if now.task is None:
        return "Give the number of a task to see what it waits for, and what waits for it."
    near = data.read(neighbourhood, run, now.task, depth=now.depth)
    return near or f"This run has no task {now.task}."


def _apps_note(counts: Sequence[AppCounts], edges: Sequence[AppEdge]) -> str:
    tasks = sum(count.total for count in counts)
    said = f"{len(counts):,} apps, {tasks:,} tasks; on the arrows: how often a task waits for another."
    return said + (" Numbers with ≈ are estimated from a part of the tasks." if any(e.about for e in edges) else "")


def _tasks_note(graph: TaskGraph, now: Asked) -> str:
    if now.shown == "near":
        return _near_note(graph, now)
    what = f"{len(graph.nodes):,} tasks, {len(graph.edges):,} edges."
    return f"{what} Scroll to zoom, drag to move, double-click to see all, click to open."


def _near_note(graph: TaskGraph, now: Asked) -> str:
    more = sum(sum(both) for both in graph.hidden.values())
    steps = f"{now.depth} step{'s' * (now.depth != 1)} before and after task {now.task}"
    return f"{steps}: {len(graph.nodes):,} tasks" + (
        f"; {more:,} edges lead to tasks that are not shown." if more else "."
    )


def _number(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if 0 <= number < 1 << 62 else None
