"""Resources: CPU, memory, disk and network over time, how well they are used, and how apps differ in them.

In: the URL (`app`, `host` or `task`: whose resources) and the controls. Out: figures, thinned on the server to what a
screen can show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.card import card
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures import resources as figures
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages import resources_apps, resources_efficiency
from heliograph_store.read.grid import NOTHING, Series
from heliograph_store.read.resources import node_levels, node_rates
from heliograph_store.read.runs import Run, app_counts, find_run
from heliograph_store.read.sampled import sampled_hosts
from heliograph_store.read.taskuse import app_use, task_use

CONFIG: Final = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
EVERYTHING: Final = ""
OF_NODES: Final = (
    "Measured on the nodes, everything that ran there included. The line is the mean over all nodes, the band reaches "
    "from the lowest to the highest sample of any of them."
)
OF_ONE: Final = "Measured on the node, everything that ran there included; the band holds every single sample."
OF_APP: Final = (
    "Sum over the tries at a time, from samples of their processes. Tries that share a process (threads), and those "
    "that were too short to be sampled, are not in it."
)
TOO_MANY: Final = (
    "This run has too many samples to be added up for one app while you wait, so these are the nodes' as a whole. "
    "How apps differ is shown below; a single task's use is on its own page."
)

WANTED: Final = {
    "wanted": Input("resources-asked", "data"),
    "theme": Input("theme", "data"),
    "zone": Input("zone", "data"),
    "tick": Input("tick", "data"),
}
LOOKING: Final = {"looking": State("looking", "data")}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Whose resources: a task's, an app's, a node's, or (all None) the run's."""

    app: str | None = None
    host: str | None = None
    task: int | None = None

    def query(self) -> dict[str, str]:
        given = {"app": self.app, "host": self.host, "task": None if self.task is None else str(self.task)}
        return {name: value for name, value in given.items() if value}


def asked(query: Mapping[str, Any]) -> Asked:
    """The narrowest thing that is named; what cannot be understood is as if it were not there."""
    task = str(query.get("task") or "")
    if task.isascii() and task.isdecimal() and len(task) < 19:
        return Asked(task=int(task))
    if query.get("app"):
        return Asked(app=str(query["app"]))
    return Asked(host=str(query["host"])) if query.get("host") else Asked()


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    now = asked(view.query)
    return html.Div(
        [
            dcc.Store(id="resources-asked", data=now.query()),
            _controls(view, run, now),
            html.P(id="resources-note", className="hg-note", **{"aria-live": "polite"}),
            html.Div(
                [
                    _plot("cpu", "CPU"),
                    _plot("memory", "Memory"),
                    _plot("disk", "Disk"),
                    _plot("network", "Network"),
                ],
                className="hg-plots",
            ),
            resources_efficiency.layout(view),
            resources_apps.layout(view),
        ],
        className="hg-stack",
    )


def _controls(view: View, run: Run, now: Asked) -> Component:
    apps = sorted(count.app for count in view.data.read(app_counts, run.id) if count.app is not None)
    hosts = view.data.read(sampled_hosts, run.id)
    task = []
    if now.task is not None:
        link = dcc.Link(f"task {now.task}", href=f"{view.link('summary')}/tasks/{now.task}")
        task = [
            html.Span(["only ", link], className="hg-muted"),
            dcc.Link("show the whole run", href=view.link("resources")),
        ]
    return html.Div(
        [
            html.Span("Resources of", className="hg-muted"),
            _choice("app", "the whole run, or an app", [(a, cut(a, 60)) for a in apps], now.app),
            _choice("host", "or a node", [(h, cut_middle(h, 48)) for h in hosts], now.host),
            *task,
        ],
        className="hg-controls",
    )


def _choice(name: str, label: str, options: list[tuple[str, str]], value: str | None) -> Component:
    known = {option for option, _ in options}
    if value and value not in known:
        options = [*options, (value, cut(value, 60))]
    return dmc.Select(
        id=f"resources-{name}",
        data=[{"value": option, "label": text} for option, text in options],
        value=value,
        placeholder=label,
        size="xs",
        w=240,
        clearable=True,
        searchable=len(options) > 8,
        limit=200,
        **{"aria-label": label},
    )


def _plot(name: str, title: str) -> Component:
    graph = dcc.Graph(id=f"resources-{name}", config=CONFIG, style={"height": figures.HEIGHT}, responsive=True)
    nothing = html.Div(id=f"resources-{name}-none", className="hg-plot-none")
    return card(html.Div([graph, nothing], className="hg-plot-frame"), title=title)


def callbacks(app: Dash, data: Data) -> None:
    resources_efficiency.callbacks(app, data)
    resources_apps.callbacks(app, data)
    _choices(app)
    _levels(app, data)
    _rates(app, data)


def _choices(app: Dash) -> None:
    @app.callback(
        Output("resources-asked", "data"),
        Output("query", "data", allow_duplicate=True),
        Output("resources-app", "value"),
        Output("resources-host", "value"),
        Input("resources-app", "value"),
        Input("resources-host", "value"),
        State("resources-asked", "data"),
        prevent_initial_call=True,
    )
    def choose(app_name: str | None, host: str | None, before: dict[str, Any]) -> Any:
        was = asked(before)
        if was.app and host and host != was.host:
            app_name = None  # the later choice counts
        now = asked({"app": app_name, "host": None if app_name else host})
        if now == was or (was.task is not None and now == Asked()):
            raise PreventUpdate
        return now.query(), {"app": "", "host": "", "task": "", **now.query()}, now.app, now.host


def _levels(app: Dash, data: Data) -> None:
    @app.callback(
        output=[
            *(Output(f"resources-{name}", "figure") for name in ("cpu", "memory")),
            *(Output(f"resources-{name}-none", "children") for name in ("cpu", "memory")),
            Output("resources-note", "children"),
        ],
        inputs=WANTED,
        state=LOOKING,
    )
    def levels(*, wanted: Any, theme: str | None, zone: str | None, tick: Any, looking: Any) -> Any:
        del tick  # only says that something changed
        run = _run(data, looking, theme)
        now = asked(wanted or {})
        series = _use(data, run, now)
        note = OF_ONE if now.host else OF_NODES if series is None and now == Asked() else OF_APP
        if series is None:
            found = data.read(node_levels, run.id, host=now.host)
            note = (TOO_MANY if now.app else note) + _chosen(found)
            made = [f(found, theme=theme, zone=zone or "UTC") for f in (figures.node_cpu, figures.node_memory)]
        else:
            found = series
            made = [f(found, theme=theme, zone=zone or "UTC") for f in (figures.use_cpu, figures.use_memory)]
        return [*made, *(_nothing(found, run) for _ in made), note]


def _rates(app: Dash, data: Data) -> None:
    @app.callback(
        output=[
            *(Output(f"resources-{name}", "figure") for name in ("disk", "network")),
            *(Output(f"resources-{name}-none", "children") for name in ("disk", "network")),
        ],
        inputs=WANTED,
        state=LOOKING,
    )
    def rates(*, wanted: Any, theme: str | None, zone: str | None, tick: Any, looking: Any) -> Any:
        del tick
        run = _run(data, looking, theme)
        now = asked(wanted or {})
        series = _use(data, run, now)
        if series is None:
            found = data.read(node_rates, run.id, host=now.host)
            made = [f(found, theme=theme, zone=zone or "UTC") for f in (figures.node_disk, figures.node_network)]
            return [*made, *(_nothing(found, run) for _ in made)]
        disk = figures.use_disk(series, theme=theme, zone=zone or "UTC")
        network = figures.node_network(NOTHING, theme=theme, zone="UTC")
        return [disk, network, _nothing(series, run), "What a single process sends is not measured; see the nodes."]


def _chosen(series: Series) -> str:
    """Says when some nodes stand for all."""
    if series.chosen == series.nodes:
        return ""
    return (
        f" So many samples would keep you waiting: {series.chosen:,} of {series.nodes:,} nodes, evenly chosen, stand "
        "for all of them. Choose a node to see all of its own."
    )


def _run(data: Data, looking: Mapping[str, Any] | None, theme: str | None) -> Run:
    """The run that is looked at. Raises PreventUpdate while the page is not ready to draw."""
    run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
    if run is None or theme is None:
        raise PreventUpdate
    return run


def _use(data: Data, run: Run, now: Asked) -> Series | None:
    """The samples of tries that are asked for; None when those of nodes are to be shown."""
    if now.task is not None:
        return data.read(task_use, run.id, now.task)
    return data.read(app_use, run.id, now.app) if now.app else None


def _nothing(series: Series, run: Run) -> str:
    """Why there is nothing to see."""
    if series.points:
        return ""
    if run.sample_interval == 0:
        return "Resources of this run are not sampled (its sampling interval is 0)."
    return "No samples yet. The first one comes after one sampling interval."


PAGE = Page(name="resources", path="/runs/<run>/resources", title="Resources", layout=layout, callbacks=callbacks)
