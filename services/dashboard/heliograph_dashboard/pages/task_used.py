"""The figures of a task's page: when each try was in which state, and what it used.

In: the task that a page names in its store `task-place`. Out: two cards' contents, and the callback that draws them.
"""

from __future__ import annotations

import time
from typing import Any, Final

from dash import Dash, Input, Output, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.data import Data
from heliograph_dashboard.figures import phases, task_resources
from heliograph_store.read.runs import Run, find_run
from heliograph_store.read.samples import TaskPoint, task_series
from heliograph_store.read.tries import Try, tries_of

POINTS: Final = 300


def used() -> list[Component]:
    return [
        html.Div(
            [html.H2("What it used"), html.Span(id="task-used-note", className="hg-muted hg-remark")],
            className="hg-card-head",
        ),
        html.Div(
            [graph(f"task-{measure}") for measure in task_resources.MEASURES],
            id="task-used",
            className="hg-cols hg-cols-3",
        ),
    ]


def graph(identity: str) -> Component:
    config = {"displaylogo": False, "responsive": True, "displayModeBar": "hover"}
    return html.Div(dcc.Graph(id=identity, config=config), className="hg-figure")


def callbacks(app: Dash, data: Data) -> None:
    @app.callback(
        Output("task-phases", "figure"),
        *(Output(f"task-{measure}", "figure") for measure in task_resources.MEASURES),
        Output("task-used", "hidden"),
        Output("task-used-note", "children"),
        Input("tick", "data"),
        Input("theme", "data"),
        Input("task-place", "data"),
    )
    def draw(_tick: Any, theme: str | None, place: dict[str, Any]) -> Any:
        run = data.read(find_run, str(place["run"]))
        if run is None:
            return (no_update,) * 6
        task = int(place["task"])
        tries = data.read(tries_of, run.id, task)
        points = data.read(task_series, run.id, task, buckets=POINTS)
        found = phases.phases(tries)
        zero = min([phase.begin for phase in found] + [point.at for point in points], default=0)
        began = {one.try_: begin for one in tries if (begin := one.began or one.states.get("running")) is not None}
        rates = task_resources.rates(points, began)
        return (
            phases.figure(found, until=_until(run), theme=theme),
            *(task_resources.figure(m, rates, zero=zero, theme=theme) for m in task_resources.MEASURES),
            not points,
            _note(points, tries),
        )


def _until(run: Run) -> int:
    """How far what has not ended is drawn: to the end of the run, or to the last that was heard of it."""
    return run.ended or run.last_seen or time.time_ns() // 1000


def _note(points: list[TaskPoint], tries: list[Try]) -> str:
    if not points:
        short = any(one.state is not None for one in tries)
        return (
            "No samples: it was shorter than the sampling interval, or sampling was off." if short else "Nothing yet."
        )
    measured = sum(point.samples for point in points)
    thinned = f" in {len(points):,} points, peaks kept" if measured > len(points) else ""
    shared = (
        " Dotted: the process ran other tasks, too; what it used is not this task's alone."
        if any(point.shared for point in points)
        else ""
    )
    return f"{measured:,} samples{thinned}.{shared}"
