"""One app of a run: how many of its tasks are where, how long its tries took and waited, and which stand out.

In: a run and an app's name. Out: numbers, histograms, tasks by state over time, its slowest and its failed tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.components.card import number, numbers
from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.states import app_dot, segmented_bar, state_badge
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.components.times import count, duration, size, when
from heliograph_dashboard.data import Data
from heliograph_dashboard.eta import HOW, unfinished
from heliograph_dashboard.figures import histogram, states_over_time
from heliograph_dashboard.figures.colours import app_colours
from heliograph_dashboard.figures.histogram import Unit
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.summary import estimate
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_dashboard.progress import levels, patience
from heliograph_dashboard.urls import run_path
from heliograph_store.read.apps import AppSummary, Measure, app_histogram, app_summaries
from heliograph_store.read.runs import Run, find_run
from heliograph_store.read.tasks import Task, task_page

MEASURES: Final[tuple[tuple[Measure, str, Unit], ...]] = (
    ("run_time", "run time", "duration"),
    ("waiting", "waiting, from launch to begin", "duration"),
    ("memory", "peak memory", "bytes"),
    ("cpu", "CPU time", "duration"),
)
ROWS: Final = 8


def layout(view: View) -> Component:
    run, name = view.run, view.params["app"]
    if run is None:
        raise RuntimeError("the path of an app names its run")
    found = _find(view.data, run, name)
    if found is None:
        back = dcc.Link("All apps of this run", href=run_path(run.run))
        none = empty(f"There is no app {cut(name, 80)} in this run", "None of its tasks has arrived yet.", back)
        return nothing_yet("app", none)
    config = {"displaylogo": False, "responsive": True}
    graphs = [
        html.Div(dcc.Graph(id=f"app-{measure}", config=config, style={"height": 220}), className="hg-figure")
        for measure, _, _ in MEASURES
    ]
    return html.Div(
        [
            dcc.Store(id="app-place", data={"run": run.run, "app": name}),
            html.Div(_head(view.data, run, found), className="hg-title-line"),
            html.Div(_numbers(view.data, run, found), id="app-numbers"),
            html.Section(
                [
                    html.H2("How long its tries took, and what they used"),
                    html.Div(graphs, className="hg-cols hg-cols-2"),
                ],
                className="hg-card hg-below",
            ),
            html.Section(
                [
                    html.H2("Its tasks by state"),
                    html.Div(dcc.Graph(id="app-states", config=config, style={"height": 240}), className="hg-figure"),
                ],
                className="hg-card hg-below",
            ),
            html.Div(_tasks(view.data, run, name), id="app-tasks", className="hg-cols hg-below"),
        ]
    )


def callbacks(app: Dash, data: Data) -> None:
    fill_when_there(app, data, "app", layout, _there)

    @app.callback(
        Output("app-numbers", "children"),
        Output("app-tasks", "children"),
        Input("tick", "data"),
        State("app-place", "data"),
        prevent_initial_call=True,
    )
    def update(_tick: Any, place: dict[str, Any]) -> Any:
        run = data.read(find_run, str(place["run"]))
        found = None if run is None else _find(data, run, str(place["app"]))
        if run is None or found is None:
            return no_update, no_update
        return _numbers(data, run, found), _tasks(data, run, str(place["app"]))

    @app.callback(
        Output("app-states", "figure"),
        *(Output(f"app-{measure}", "figure") for measure, _, _ in MEASURES),
        Input("tick", "data"),
        Input("theme", "data"),
        Input("app-place", "data"),
        State("zone", "data"),
    )
    def draw(_tick: Any, theme: str | None, place: dict[str, Any], zone: str | None) -> Any:
        run = data.read(find_run, str(place["run"]))
        found = None if run is None else _find(data, run, str(place["app"]))
        if run is None or found is None:
            return (no_update,) * (1 + len(MEASURES))
        states = states_over_time.figure(
            data.read_seldom(patience(run), levels, run.id, app=found.app),
            theme=theme,
            zone=zone or "UTC",
            until=run.ended or run.last_seen,
        )
        return states, *(_histogram(data, run, found, m, theme) for m in MEASURES)


def _there(view: View) -> bool:
    return view.run is not None and _find(view.data, view.run, view.params.get("app", "")) is not None


def _find(data: Data, run: Run, name: str) -> AppSummary | None:
    return next((app for app in data.read(app_summaries, run.id) if app.app == name), None)


def _colour(data: Data, run: Run, found: AppSummary) -> str:
    return app_colours({app.app for app in data.read(app_summaries, run.id)})[found.app]


def _link(run: Run, page: str, **query: str) -> str:
    return run_path(run.run, page) + "?" + urlencode(query)


# -- numbers and figures ---------------------------------------------------------------------------------------------


def _head(data: Data, run: Run, found: AppSummary) -> list[Component | str]:
    name = found.app or ""
    links = [
        dcc.Link("All its tasks", href=_link(run, "tasks", app=name)),
        dcc.Link("Resources over time", href=_link(run, "resources", app=name)),
        dcc.Link("Failures", href=_link(run, "failures", app=name)) if found.failures else None,
    ]
    return [
        html.H2(
            [app_dot(_colour(data, run, found)), " ", cut(name, 300)], className="hg-app-name", title=cut(name, 2000)
        ),
        html.Span([link for link in links if link is not None], className="hg-links"),
    ]


def _failed(found: AppSummary) -> str:
    by_others = found.states.get("dep_fail", 0)
    return f"{by_others:,} more by a dependency" if by_others else f"{found.failures:,} tries went wrong"


def _numbers(data: Data, run: Run, found: AppSummary) -> list[Component]:
    name = found.app or ""

    def some(n: int, **query: str) -> Component | str:
        return dcc.Link(count(n), href=_link(run, "tasks", app=name, **query)) if n else count(n)

    time_ = found.run_time
    left = estimate(data, run, found.app, found.states, time_.median if time_ else None)
    items = [
        number("Tasks", some(found.tasks), f"{found.tries:,} tries"),
        number("Done", some(found.done - found.memoized, state="exec_done"), f"and {found.memoized:,} memoized"),
        number("Failed", some(found.states.get("failed", 0), state="failed"), _failed(found)),
        number("Retries", count(found.retries), "tries after the first"),
    ]
    if found.joins:
        items.append(number("Joins", count(found.joins), "waited for tasks of theirs"))
    if waiting := unfinished(found.states):
        label = html.Span("Time left", title=HOW, className="hg-tip")
        items.append(number(label, duration(left.micros) if left else "—", f"{waiting:,} tasks left"))
    if time_ is not None:
        items.append(number("Ran, median", duration(time_.median), f"p95 {duration(time_.p95)}"))
    if found.waiting is not None:
        items.append(number("Waited, median", duration(found.waiting.median), f"p95 {duration(found.waiting.p95)}"))
    if found.memory is not None:
        items.append(number("Memory p95", size(found.memory.p95), f"highest {size(found.memory.max)}"))
    if found.cpu is not None:
        items.append(number("CPU time", duration(found.cpu.total), "of all its tries"))
    return [segmented_bar(found.states), html.Div(numbers(items), className="hg-below")]


def _histogram(
    data: Data, run: Run, found: AppSummary, measure: tuple[Measure, str, Unit], theme: str | None
) -> dict[str, Any]:
    (name, title, unit), colour = measure, _colour(data, run, found)
    known = getattr(found, name)
    marks = [] if known is None else [("median", float(known.median)), ("p95", float(known.p95))]
    shown = histogram.bars(data.read(app_histogram, run.id, found.app, name))
    return histogram.figure(shown, unit=unit, title=title, colour=colour, theme=theme, marks=marks)


# -- its tasks -------------------------------------------------------------------------------------------------------


def _tasks(data: Data, run: Run, name: str) -> list[Component]:
    slowest = data.read(task_page, run.id, app=name, sort="took", descending=True, limit=ROWS)
    failed = data.read(task_page, run.id, app=name, state="failed", descending=True, limit=ROWS)
    return [
        _short(
            run,
            "Slowest",
            [task for task in slowest if task.took is not None],
            _link(run, "tasks", app=name, sort="-took"),
        ),
        _short(run, "Failed last", failed, _link(run, "tasks", app=name, state="failed", sort="-task")),
    ]


def _short(run: Run, title: str, tasks: Sequence[Task], all_: str) -> Component:
    heads = (("Task", ""), ("State", ""), ("Ran", "hg-num"), ("Began", ""), ("Host", ""))
    rows = [
        html.Tr(
            [
                html.Td(dcc.Link(str(task.number), href=run_path(run.run, f"tasks/{task.task}"))),
                html.Td(state_badge(task.state)),
                html.Td(duration(task.took), className="hg-num"),
                html.Td(when(task.since)),
                html.Td(
                    dcc.Link(cut(task.host, 40), href=run_path(run.run, f"nodes/{quote(task.host, safe='')}"))
                    if task.host
                    else "–"
                ),
            ]
        )
        for task in tasks
    ]
    table = html.Table(
        [html.Thead(html.Tr([html.Th(head, className=kind, scope="col") for head, kind in heads])), html.Tbody(rows)],
        className="hg-plain",
    )
    head = html.Div([html.H2(title), dcc.Link("all", href=all_)], className="hg-card-head")
    body = html.Div(table, className="hg-plain-wrap") if rows else html.P("None.", className="hg-remark")
    return html.Section([head, body], className="hg-card")


PAGE = Page(name="app", path="/runs/<run>/apps/<app>", title="", layout=layout, callbacks=callbacks)
