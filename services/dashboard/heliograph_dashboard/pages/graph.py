"""The graph of a run: by app, task by task, or around one task.

In: the URL (`view`, `colour`, `task`, `depth`) and the controls. Out: a figure that a click leads on from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, cast

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.states import app_dot
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.app_graph import app_figure
from heliograph_dashboard.figures.graph import MOST_NODES, Colour, task_figure
from heliograph_dashboard.figures.graph_canvas import canvas_data, legend
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_store.read.app_graph import AppEdge, app_edges
from heliograph_store.read.graph import MAX_DEPTH, TaskGraph, neighbourhood, whole_graph
from heliograph_store.read.runs import AppCounts, Run, app_counts, find_run

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
CONFIG: Final = {"scrollZoom": True, "displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


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


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    tasks = _tasks(view)
    if not tasks:
        return nothing_yet(
            "graph", empty("No tasks yet", "The graph is drawn as soon as the run submits its first task.")
        )
    now = asked(view.query, tasks)
    base = view.link("summary")
    return html.Div(
        [
            dcc.Store(id="graph-links", data={"tasks": f"{base}/tasks/", "apps": f"{base}/apps/"}),
            dcc.Store(id="graph-seen"),
            dcc.Store(id="graph-opened"),
            dcc.Store(id="graph-large"),
            _controls(now),
            html.P(id="graph-note", className="hg-note", **{"aria-live": "polite"}),
            html.Div(
                [
                    html.Div(id="graph-legend", className="hg-graph-legend"),
                    html.Div(id="graph-canvas", className="hg-graph-canvas", style={"display": "none"}),
                    dcc.Graph(id="graph-figure", config=CONFIG, style={"height": PLOT}, responsive=True),
                ],
                className="hg-card hg-plot",
            ),
        ]
    )


def _tasks(view: View) -> int:
    return 0 if view.run is None else sum(count.total for count in view.data.read(app_counts, view.run.id))


def _controls(now: Asked) -> Component:
    return html.Div(
        [
            dmc.SegmentedControl(
                id="graph-view",
                value=now.shown,
                size="xs",
                data=[
                    {"value": "apps", "label": "By app"},
                    {"value": "tasks", "label": "Every task"},
                    {"value": "near", "label": "Around a task"},
                ],
            ),
            html.Span("coloured by", className="hg-muted"),
            dmc.SegmentedControl(
                id="graph-colour",
                value=now.colour,
                size="xs",
                data=[{"value": "app", "label": "app"}, {"value": "state", "label": "state"}],
            ),
            html.Div(
                [
                    html.Label("task", htmlFor="graph-task", className="hg-muted"),
                    dmc.NumberInput(
                        id="graph-task", value=now.task, size="xs", w=110, min=0, allowDecimal=False, debounce=400
                    ),
                    html.Label("steps", htmlFor="graph-depth", className="hg-muted"),
                    dmc.NumberInput(
                        id="graph-depth", value=now.depth, size="xs", w=64, min=1, max=MAX_DEPTH, allowDecimal=False
                    ),
                ],
                id="graph-near",
                className="hg-controls",
                style={"margin": 0, "display": "flex" if now.shown == "near" else "none"},
            ),
        ],
        className="hg-controls",
    )


def callbacks(app: Dash, data: Data) -> None:
    fill_when_there(app, data, "graph", layout, lambda view: bool(_tasks(view)))
    app.clientside_callback(
        ClientsideFunction("graph", "open"),
        Output("graph-opened", "data"),
        Input("graph-figure", "clickData"),
        State("graph-view", "value"),
        State("graph-links", "data"),
        prevent_initial_call=True,
    )

    app.clientside_callback(
        ClientsideFunction("graph", "links"),
        Output("graph-opened", "data", allow_duplicate=True),
        Input("graph-links", "data"),
        prevent_initial_call="initial_duplicate",
    )
    app.clientside_callback(
        ClientsideFunction("graphCanvas", "show"),
        Output("graph-opened", "data", allow_duplicate=True),
        Input("graph-large", "data"),
        prevent_initial_call=True,
    )
    wanted = {
        "view": Input("graph-view", "value"),
        "colour": Input("graph-colour", "value"),
        "task": Input("graph-task", "value"),
        "depth": Input("graph-depth", "value"),
    }

    @app.callback(
        output=[Output("query", "data", allow_duplicate=True), Output("graph-near", "style")],
        inputs={"wanted": wanted},
        prevent_initial_call=True,
    )
    def note(wanted: dict[str, Any]) -> Any:
        now = asked(wanted, 0)
        return now.query(), {"margin": 0, "display": "flex" if now.shown == "near" else "none"}

    @app.callback(
        output=[
            Output("graph-figure", "figure"),
            Output("graph-figure", "style"),
            Output("graph-note", "children"),
            Output("graph-legend", "children"),
            Output("graph-large", "data"),
            Output("graph-seen", "data"),
        ],
        inputs={"wanted": wanted, "theme": Input("theme", "data"), "tick": Input("tick", "data")},
        state={"looking": State("looking", "data"), "seen": State("graph-seen", "data")},
    )
    def draw(
        *,
        wanted: dict[str, Any],
        theme: str | None,
        tick: Any,
        looking: dict[str, Any] | None,
        seen: dict[str, Any] | None,
    ) -> Any:
        del tick  # only says that something changed
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None or theme is None:
            raise PreventUpdate
        return drawing(data, run, asked(wanted, 0), theme, seen)


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


PAGE = Page(name="graph", path="/runs/<run>/graph", title="Graph", layout=layout, callbacks=callbacks)
