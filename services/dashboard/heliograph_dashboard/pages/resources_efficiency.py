"""The part of the resources page that says how well workers, processors and memory are used.

In: a run's efficiency. Out: three numbers with what they mean, workers over time, and a table by app.
"""

from __future__ import annotations

from typing import Any, Final

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.card import card
from heliograph_dashboard.components.table import Asked, Column, Rows, Table
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.colours import app_colours
from heliograph_dashboard.figures.efficiency import workers
from heliograph_dashboard.page import View
from heliograph_dashboard.pages.links import in_run, part
from heliograph_store.read.efficiency import Share
from heliograph_store.read.run_efficiency import Efficiency, efficiency_of
from heliograph_store.read.runs import Run, app_counts, find_run

CONFIG: Final = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
WORKERS: Final = (
    "Time in which a worker ran a try, of all the time in which there was a worker: from its pool's registration to "
    "its last sign of life. A worker that ran two tries at once was busy once."
)
CPU: Final = (
    "CPU time that tries used, of the cores that they asked for (one, if they did not ask) for as long as they ran. A "
    "try that kept more cores busy counts with as many as it used."
)
MEMORY: Final = (
    "Peak of a try, of the memory that it asked for, or else of its worker's part of the node; weighted by run time. A "
    "try that needed more counts with what it used."
)


def layout(view: View) -> Component:
    assert view.run is not None  # noqa: S101 (the path has it)
    found = view.data.read(efficiency_of, view.run)
    return card(
        html.Div(_numbers(found), id="resources-efficiency", className="hg-numbers"),
        html.Div(
            [
                html.Div(
                    [
                        html.H3("Workers over time"),
                        dcc.Graph(id="resources-workers", config=CONFIG, style={"height": 240}, responsive=True),
                    ]
                ),
                html.Div([html.H3("By app"), TABLE.layout(view)]),
            ],
            className="hg-plots",
        ),
        title="Efficiency",
        note="never above 100 %: overlapping times are merged before they are added up",
    )


def callbacks(app: Dash, data: Data) -> None:
    TABLE.callbacks(app, data)

    @app.callback(
        Output("resources-efficiency", "children"),
        Output("resources-workers", "figure"),
        Input("theme", "data"),
        Input("zone", "data"),
        Input("tick", "data"),
        State("looking", "data"),
    )
    def draw(theme: str | None, zone: str | None, _tick: Any, looking: dict[str, Any] | None) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None or theme is None:
            raise PreventUpdate
        found = data.read(efficiency_of, run)
        return _numbers(found), workers(found.moments, theme=theme, zone=zone or "UTC")


def _numbers(found: Efficiency) -> list[Component]:
    basis = f"{found.tries:,} tries" if found.complete else f"{found.tries:,} tries, evenly chosen from all"
    return [
        _number("Worker efficiency", found.workers, WORKERS, _hours(found.workers)),
        _number("CPU efficiency", found.cpu, CPU, _of_tries(found.cpu, basis, "cores")),
        _number("Memory efficiency", found.memory, MEMORY, _of_tries(found.memory, basis, "memory")),
    ]


def _number(label: str, share: Share, meaning: str, note: str) -> Component:
    return html.Div(
        [
            html.Div(label, className="hg-number-label"),
            html.Div(percent(share), className="hg-number-value"),
            html.Div(html.Span(style={"width": f"{100 * (share.ratio or 0):.1f}%"}), className="hg-bar hg-share"),
            html.Div(note, className="hg-number-note"),
            html.Details([html.Summary("What this means"), html.P(meaning)], className="hg-help"),
        ],
        className="hg-number",
    )


def percent(share: Share) -> str:
    """A share for people; '—' is unknown."""
    return "—" if share.ratio is None else f"{share.ratio:.1%}"


def _hours(share: Share) -> str:
    if share.ratio is None:
        return "No workers are known."
    return f"{_worker_time(share.used)} of {_worker_time(share.available)}"


def _worker_time(microseconds: float) -> str:
    hours, minutes = microseconds / 3.6e9, microseconds / 6e7
    if hours >= 100:
        return f"{hours:,.0f} worker-hours"
    return f"{hours:.3g} worker-hours" if hours >= 1 else f"{minutes:.3g} worker-minutes"


def _of_tries(share: Share, basis: str, what: str) -> str:
    if share.ratio is None:
        return "Not known of any try."
    over = f"; {share.over:,} used more {what} than they asked for" if share.over else ""
    return f"known of {share.tries:,} of {basis}{over}"


def _rows(data: Data, run: Run | None, asked: Asked) -> Rows:
    if run is None:
        return Rows(rows=[])
    found = data.read(efficiency_of, run)
    colours = app_colours(count.app for count in data.read(app_counts, run.id))
    rows = [
        {
            "app": one.app or "not described yet",
            "app_colour": colours.get(one.app, colours[None]),
            "cpu": one.cpu.ratio,
            "cpu_over": one.cpu.over,
            "memory": one.memory.ratio,
            "memory_over": one.memory.over,
            "tries": max(one.cpu.tries, one.memory.tries),
            "resources": in_run(run, "resources", query={"app": one.app or ""}),
        }
        for one in found.apps
    ]
    return part(rows, asked)


TABLE = Table(
    name="resources-apps",
    columns=(
        Column(field="app", title="App", kind="app", sort=True, link="resources"),
        Column(field="cpu", title="CPU", kind="percent", width=84, sort=True, tip=CPU),
        Column(field="memory", title="Memory", kind="percent", width=92, sort=True, tip=MEMORY),
        Column(field="tries", title="Tries", kind="number", width=84, sort=True, tip="Tries of which it is known"),
        Column(
            field="cpu_over", title="Over CPU", kind="number", width=96, tip="Tries that used more than they asked for"
        ),
        Column(
            field="memory_over",
            title="Over memory",
            kind="number",
            width=116,
            tip="Tries that used more than they asked for",
        ),
    ),
    fetch=_rows,
    key="app",
    noun="apps",
    sort="app",
    height="200px",
)
