"""What stands around a task: what it waits for, what waits for it, what it joined; a page of each at a time.

In: a task. Out: a card's contents, and the callbacks that turn its pages.
"""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.components import beside
from heliograph_dashboard.data import Data
from heliograph_dashboard.pages.links import in_run, path_of
from heliograph_store.read.one_task import DIRECTIONS, Direction, TaskRecord, neighbour_count, neighbours
from heliograph_store.read.runs import Run, find_run


def around(data: Data, run: Run, record: TaskRecord) -> list[Component]:
    sections = []
    for direction in DIRECTIONS:
        total = data.read(neighbour_count, run.id, record.task, direction)
        if total:
            first = data.read(neighbours, run.id, record.task, direction, limit=beside.PAGE)
            sections.append(beside.section(direction, total, first, run_path=path_of(run)))
    graph = dcc.Link("in the graph", href=in_run(run, "graph", query={"task": str(record.task)}))
    head = html.Div([html.H2("Dependencies"), graph], className="hg-card-head")
    return [head, *(sections or [html.P("It waits for no task, and none waits for it.", className="hg-remark")])]


def callbacks(app: Dash, data: Data) -> None:
    for direction in DIRECTIONS:
        _paging(app, data, direction)


def _paging(app: Dash, data: Data, direction: Direction) -> None:
    @app.callback(
        Output(f"task-beside-{direction}", "children"),
        Input(f"task-more-{direction}", "n_clicks"),
        State(f"task-after-{direction}", "data"),
        State("task-place", "data"),
        prevent_initial_call=True,
    )
    def turn(clicks: int | None, after: list[int] | None, place: dict[str, Any]) -> Any:
        run = data.read(find_run, str(place["run"]))
        if run is None or not clicks:
            return no_update
        task = int(place["task"])
        key = (int(after[0]), int(after[1])) if after else None
        total = data.read(neighbour_count, run.id, task, direction)
        found = data.read(neighbours, run.id, task, direction, after=key, limit=beside.PAGE)
        begin = int(after[2]) if after else 0
        return beside.page(direction, total, found, begin=begin, run_path=path_of(run))
