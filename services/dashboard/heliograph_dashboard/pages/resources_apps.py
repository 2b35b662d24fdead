"""The part of the resources page that says how run time, waiting, memory and CPU time are spread over apps.

In: histograms of a run's apps. Out: a box an app, and the histogram of the app that is chosen.
"""

from __future__ import annotations

from typing import Any, Final, cast

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.card import card
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.colours import app_colours
from heliograph_dashboard.figures.distribution import MOST, TITLES, boxes, histogram
from heliograph_dashboard.page import View
from heliograph_store.read.apps import Measure, app_histogram
from heliograph_store.read.runs import app_counts, find_run

CONFIG: Final = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def measure_of(text: Any) -> Measure:
    """A measure that there is; run time where another is named."""
    return cast(Measure, text) if text in TITLES else "run_time"


def layout(view: View) -> Component:
    choice = dmc.SegmentedControl(
        id="resources-measure",
        value=measure_of(view.query.get("measure")),
        size="xs",
        data=[{"value": name, "label": title} for name, title in TITLES.items()],
    )
    return card(
        html.Div([choice, html.Span(id="resources-spread-note", className="hg-muted")], className="hg-controls"),
        html.Div(dcc.Graph(id="resources-spread", config=CONFIG, responsive=True), className="hg-scroll"),
        title="Distributions by app",
        note="every try counts; boxes hold the middle half, whiskers reach from 5 to 95 %",
    )


def callbacks(app: Dash, data: Data) -> None:
    @app.callback(
        Output("query", "data", allow_duplicate=True),
        Input("resources-measure", "value"),
        prevent_initial_call=True,
    )
    def note(measure: str | None) -> Any:
        return {"measure": "" if measure_of(measure) == "run_time" else measure_of(measure)}

    @app.callback(
        Output("resources-spread", "figure"),
        Output("resources-spread", "style"),
        Output("resources-spread-note", "children"),
        Input("resources-measure", "value"),
        Input("resources-asked", "data"),
        Input("theme", "data"),
        Input("tick", "data"),
        State("looking", "data"),
    )
    def draw(
        named: str | None, asked: dict[str, str] | None, theme: str | None, _tick: Any, looking: dict[str, Any] | None
    ) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None or theme is None:
            raise PreventUpdate
        measure, chosen = measure_of(named), (asked or {}).get("app")
        counts = data.read(app_counts, run.id)
        colours = app_colours(count.app for count in counts)
        if chosen:
            bins = data.read(app_histogram, run.id, chosen, measure)
            made = histogram(bins, measure, colours.get(chosen, colours[None]), theme=theme)
            return (
                made,
                {"height": made["layout"]["height"]},
                f"{sum(b.tries for b in bins):,} tries of {cut(chosen, 60)}",
            )
        largest = [count.app for count in counts[:MOST]]
        made = boxes({a: data.read(app_histogram, run.id, a, measure) for a in largest}, measure, colours, theme=theme)
        told = f"the {MOST} apps with the most tasks" if len(counts) > MOST else ""
        return made, {"height": made["layout"]["height"]}, told
