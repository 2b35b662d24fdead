"""The graph of a run: by app, task by task, or around one task.

In: the URL (`view`, `colour`, `task`, `depth`) and the controls. Out: a figure that a click leads on from.
"""

from __future__ import annotations

from typing import Any, Final

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.data import Data
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.graph_drawing import PLOT, Asked, asked, drawing
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_store.read.graph import MAX_DEPTH
from heliograph_store.read.runs import app_counts, find_run

CONFIG: Final = {"scrollZoom": True, "displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


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
    _in_the_browser(app)
    _on_the_server(app, data)


def _in_the_browser(app: Dash) -> None:
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


def _on_the_server(app: Dash, data: Data) -> None:
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


PAGE = Page(name="graph", path="/runs/<run>/graph", title="Graph", layout=layout, callbacks=callbacks)
