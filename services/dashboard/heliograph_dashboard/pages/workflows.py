"""All runs: what they are, how they are, how far they are.

In: filters from the URL. Out: a table of runs, the newest first.
"""

from __future__ import annotations

import time
from typing import Any

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.states import run_badge
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.data import Data
from heliograph_dashboard.page import Page, View
from heliograph_store.read.liveness import liveness
from heliograph_store.read.runs import list_runs


def layout(view: View) -> Component:
    runs = view.data.read(list_runs, search=view.query.get("search"), limit=50)
    if not runs:
        return empty(
            "No workflow has been recorded yet", "Start one with Heliograph's MonitoringHub in its configuration."
        )
    now = time.time_ns() // 1000
    rows = [
        html.Li(
            [
                dcc.Link(cut(run.name or run.run), href=view.link("summary", run=run.run)),
                " ",
                run_badge(liveness(run, now)),
            ]
        )
        for run in runs
    ]
    return html.Div([html.H1("Workflows"), html.Ul(rows), html.Div(id="workflows-tick")])


def callbacks(app: Dash, data: Data) -> None:
    @app.callback(Output("workflows-tick", "children"), Input("tick", "data"), prevent_initial_call=True)
    def tick(tick: Any) -> Any:
        return str(tick)


PAGE = Page(name="workflows", path="/", title="", layout=layout, callbacks=callbacks)
