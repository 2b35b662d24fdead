"""The graph of a run: by app, task by task, or around one task.

In: the URL (`view`, `colour`, `task`, `depth`) and the controls. Out: a figure that a click leads on from.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.app_graph import app_figure
from heliograph_dashboard.figures.graph import Colour, task_figure
from heliograph_dashboard.page import Page, View
from heliograph_store.read.graph import MAX_DEPTH, TaskGraph, app_edges, neighbourhood, whole_graph
from heliograph_store.read.runs import app_counts, find_run

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
            {"task": str(self.task), "depth": str(self.depth)} if self.shown == "near" and self.task is not None else {}
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
    tasks = sum(count.total for count in view.data.read(app_counts, run.id))
    if not tasks:
        return empty("No tasks yet", "The graph is drawn as soon as the run submits its first task.")
    now = asked(view.query, tasks)
    base = view.link("summary")
    return html.Div(
        [
            dcc.Store(id="graph-links", data={"tasks": f"{base}/tasks/", "apps": f"{base}/apps/"}),
            dcc.Store(id="graph-seen"),
            dcc.Store(id="graph-opened"),
            _controls(now),
            html.P(id="graph-note", className="hg-note", **{"aria-live": "polite"}),
            html.Div(
                dcc.Graph(id="graph-figure", config=CONFIG, style={"height": PLOT}, responsive=True),
                className="hg-card hg-plot",
            ),
        ]
    )


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
    app.clientside_callback(
        ClientsideFunction("graph", "open"),
        Output("graph-opened", "data"),
        Input("graph-figure", "clickData"),
        State("graph-view", "value"),
        State("graph-links", "data"),
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
        return drawing(data, run.id, asked(wanted, 0), theme, seen)


def drawing(data: Data, run: int, now: Asked, theme: str, seen: dict[str, Any] | None) -> Any:
    """(figure, style, note, what was drawn). Raises PreventUpdate when the browser has it already."""
    counts = data.read(app_counts, run)
    tasks = sum(count.total for count in counts)
    if now.shown == "apps":
        edges = data.read(app_edges, run)
        made = app_figure(counts, edges, colour=now.colour, theme=theme)
        mark = _mark(now, theme, [sorted(c.states.items(), key=str) for c in counts], edges)
        _only_if_new(mark, seen, 0)
        style = {"height": made.height, "minWidth": made.width}
        return (
            made.figure,
            style,
            _note(f"{len(counts):,} apps, {tasks:,} tasks; on the arrows: how often a task waits for another."),
            mark,
        )
    if now.shown == "near" and now.task is None:
        return (
            {},
            {"height": PLOT},
            _note("Give the number of a task to see what it waits for, and what waits for it."),
            None,
        )
    graph: TaskGraph | None
    if now.shown == "near" and now.task is not None:
        graph = data.read(neighbourhood, run, now.task, depth=now.depth)
        if graph is None:
            return {}, {"height": PLOT}, _note(f"This run has no task {now.task}."), None
        said = _near_note(graph, now)
    else:
        graph = data.read(whole_graph, run, limit=LARGEST) if tasks <= LARGEST else None
        if graph is None:
            return {}, {"height": 80}, _note(_too_large(tasks)), None
        said = f"{len(graph.nodes):,} tasks, {len(graph.edges):,} edges. Scroll to zoom, drag to move, click to open."
    mark = _mark(now, theme, [(n.task, n.state, n.seconds) for n in graph.nodes], graph.edges)
    _only_if_new(mark, seen, len(graph.nodes))
    figure = task_figure(
        graph,
        colour=now.colour,
        theme=theme,
        apps=[count.app for count in counts],
        focus=now.task if now.shown == "near" else None,
    )
    return figure, {"height": PLOT}, _note(said), mark


def _mark(now: Asked, theme: str, *content: Any) -> dict[str, Any]:
    digest = hashlib.blake2b(repr(content).encode(), digest_size=12).hexdigest()
    return {"asked": repr((now, theme)), "digest": digest, "at": time.time()}


def _only_if_new(mark: dict[str, Any], seen: dict[str, Any] | None, nodes: int) -> None:
    """Sends nothing when nothing changed, and of a large graph that changes all the time only now and then."""
    if not seen or seen.get("asked") != mark["asked"]:
        return
    soon = nodes > SMALL and mark["at"] - float(seen.get("at") or 0) < SELDOM
    if seen.get("digest") == mark["digest"] or soon:
        raise PreventUpdate


def _note(text: str) -> list[Any]:
    return [text]


def _too_large(tasks: int) -> str:
    return (
        f"This run has {tasks:,} tasks; one by one at most {LARGEST:,} are drawn. "
        "By app shows all of them; around a task shows what one waits for and what waits for it."
    )


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
