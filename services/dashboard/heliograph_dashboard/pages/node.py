"""One node: its signs of life, what runs there now, what it did, how busy it is, and what its agents report.

In: the host's name in the path. Out: facts, figures, and tables of tries and agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.card import card
from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.facts import facts
from heliograph_dashboard.components.table import Asked, Column, Rows, Table
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.components.times import duration, size, when
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures import resources as figures
from heliograph_dashboard.figures.colours import app_colours
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.links import in_run, part
from heliograph_dashboard.pages.nodes import PRESENCE, hosts_of, presence_label
from heliograph_store.read.load import last_sign, running_on
from heliograph_store.read.presence import Host
from heliograph_store.read.resources import node_levels
from heliograph_store.read.runs import Run, app_counts, find_run

CONFIG: Final = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
MOST: Final = 1000
"""Tries that are listed as running now; a node has fewer workers."""


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    name = view.params["host"]
    host = _host(view.data, run, name)
    if host is None:
        return empty(
            f"Nothing of this run was heard from {cut(name, 80)}",
            "The node may be spelled otherwise; all that took part in the run are listed.",
            dcc.Link("All nodes", href=view.link("nodes")),
        )
    links = [
        dcc.Link("its tasks", href=in_run(run, "tasks", query={"host": name})),
        " · ",
        dcc.Link("disk and network", href=view.link("resources", query={"host": name})),
    ]
    return html.Div(
        [
            dcc.Store(id="node-host", data=name),
            html.Div([html.H2(cut_middle(name, 80), title=cut(name, 400)), html.Span(_badge(host), id="node-badge"),
                      html.Span(links, className="hg-push hg-muted")], className="hg-controls"),
            html.Div(_about(host), id="node-about", className="hg-card"),
            html.Div([_plot("cpu", "CPU"), _plot("memory", "Memory")], className="hg-plots"),
            card(RUNNING.layout(view), title="Running now"),
            card(POOLS.layout(view), title="Pools of workers"),
            card(AGENTS.layout(view), title="Agents"),
        ],
        className="hg-stack",
    )  # fmt: skip


def callbacks(app: Dash, data: Data) -> None:
    for table in (RUNNING, POOLS, AGENTS):
        table.callbacks(app, data)

    @app.callback(
        Output("node-cpu", "figure"),
        Output("node-memory", "figure"),
        Output("node-cpu-none", "children"),
        Output("node-memory-none", "children"),
        Output("node-badge", "children"),
        Output("node-about", "children"),
        Input("node-host", "data"),
        Input("theme", "data"),
        Input("zone", "data"),
        Input("tick", "data"),
        State("looking", "data"),
    )
    def draw(
        name: str | None, theme: str | None, zone: str | None, _tick: Any, looking: Mapping[str, Any] | None
    ) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        host = _host(data, run, name) if run is not None and name else None
        if run is None or theme is None or host is None:
            raise PreventUpdate
        series = data.read(node_levels, run.id, host=host.host)
        shown = {"theme": theme, "zone": zone or "UTC"}
        none = "" if series.points else "No samples of this node."
        return (
            figures.node_cpu(series, **shown),
            figures.node_memory(series, **shown),
            none,
            none,
            _badge(host),
            _about(host),
        )


def _host(data: Data, run: Run, name: str) -> Host | None:
    return next((host for host in hosts_of(data, run) if host.host == name), None)


def _badge(host: Host) -> Component:
    colour, meaning = PRESENCE[host.presence]
    return html.Span(
        [html.Span(className="hg-dot", style={"backgroundColor": colour}), presence_label(host.presence)],
        className="hg-badge",
        style={"--hg-colour": colour},
        title=meaning,
    )


def _about(host: Host) -> Component:
    first: Any = host.pools[0] if host.pools else None
    return facts(
        [
            ("State", PRESENCE[host.presence][1]),
            ("First heard of", when(host.first_seen)),
            ("Last sign of life", when(host.last_sign)),
            ("Last sample", None if host.sampled is None else when(host.sampled)),
            ("Workers", None if host.workers is None else f"{host.workers:,}"),
            ("Executors", cut(", ".join(host.executors), 200)),
            ("Blocks", cut(", ".join(host.blocks), 200)),
            ("Cores", None if first is None or not first.cpu_count else f"{first.cpu_count:,}"),
            ("Memory", None if first is None or not first.memory_total else size(first.memory_total)),
            ("System", None if first is None else cut(first.platform, 120)),
            ("Python", None if first is None else cut(first.python, 20)),
            ("Dropped records", f"{host.dropped:,}", "Records that its agents could not keep"),
        ]
    )


def _plot(name: str, title: str) -> Component:
    graph = dcc.Graph(id=f"node-{name}", config=CONFIG, style={"height": figures.HEIGHT}, responsive=True)
    nothing = html.Div(id=f"node-{name}-none", className="hg-plot-none")
    return card(html.Div([graph, nothing], className="hg-plot-frame"), title=title)


def _running(data: Data, run: Run | None, asked: Asked) -> Rows:
    host = asked.params.get("host")
    if run is None or not host:
        return Rows(rows=[])
    colours = app_colours(count.app for count in data.read(app_counts, run.id))
    until = last_sign(run)
    rows = [
        {
            "key": f"{try_.task}:{try_.try_}",
            "task": str(try_.task),
            "link": in_run(run, "tasks", str(try_.task)),
            "try": try_.try_,
            "app": try_.app or "not described yet",
            "app_colour": colours.get(try_.app, colours[None]),
            "worker": cut(try_.worker, 40),
            "since": try_.began,
            "for": None if try_.began is None else max(0, until - try_.began),
        }
        for try_ in data.read(running_on, run, host, limit=MOST)
    ]
    return part(rows, asked)


def _pools(data: Data, run: Run | None, asked: Asked) -> Rows:
    host = _host(data, run, asked.params.get("host", "")) if run is not None else None
    rows = [
        {
            "key": str(pool.key),
            "pool": cut_middle(pool.pool, 60),
            "executor": cut(pool.executor, 60),
            "block": cut(pool.block, 40),
            "workers": pool.workers,
            "first": pool.first_seen,
            "last": pool.last_seen,
            "active": pool.active,
            "pid": pool.pid,
        }
        for pool in (host.pools if host is not None else ())
    ]
    return part(rows, asked)


def _agents(data: Data, run: Run | None, asked: Asked) -> Rows:
    host = _host(data, run, asked.params.get("host", "")) if run is not None else None
    rows = [
        {
            "key": agent.agent,
            "agent": cut_middle(agent.agent, 60),
            "version": cut(agent.version, 20),
            "pid": agent.pid,
            "first": agent.first_seen,
            "last": agent.last_seen,
            "ended": agent.ended,
            "shipped": agent.shipped,
            "depth": agent.depth,
            "samples": agent.dropped_samples or 0,
            "states": agent.dropped_states or 0,
            "torn": agent.torn or 0,
            "clock": None if agent.clock_offset is None else duration(agent.clock_offset),
        }
        for agent in _of(host)
    ]
    return part(rows, asked)


def _of(host: Host | None) -> Sequence[Any]:
    return () if host is None else host.agents


RUNNING = Table(
    name="node-running",
    columns=(
        Column(field="task", title="Task", width=100, link="link"),
        Column(field="try", title="Try", kind="number", width=70, sort=True),
        Column(field="app", title="App", kind="app", sort=True),
        Column(field="worker", title="Worker", width=100, sort=True),
        Column(field="since", title="Since", kind="time", width=172, sort=True),
        Column(field="for", title="For", kind="duration", width=112, sort=True),
    ),
    fetch=_running,
    key="key",
    noun="tries",
    sort="since",
    height="260px",
)
POOLS = Table(
    name="node-pools",
    columns=(
        Column(field="pool", title="Pool", kind="code"),
        Column(field="executor", title="Executor", width=130),
        Column(field="block", title="Block", width=80),
        Column(field="workers", title="Workers", kind="number", width=96),
        Column(field="pid", title="Process", kind="code", width=100),
        Column(field="first", title="Registered", kind="time", width=172),
        Column(field="last", title="Last told", kind="time", width=172),
        Column(field="active", title="Active", kind="flag", width=90),
    ),
    fetch=_pools,
    key="key",
    noun="pools",
    height="200px",
)
AGENTS = Table(
    name="node-agents",
    columns=(
        Column(field="agent", title="Agent", kind="code"),
        Column(field="version", title="Version", width=90),
        Column(field="pid", title="Process", kind="code", width=90),
        Column(field="first", title="Since", kind="time", width=172),
        Column(field="last", title="Last report", kind="time", width=172),
        Column(field="ended", title="Ended", kind="flag", width=84, tip="It had nothing left to do"),
        Column(field="shipped", title="Shipped", kind="number", width=96, tip="Records over its life, of all runs"),
        Column(field="depth", title="Waiting", kind="bytes", width=96, tip="In journals, not yet confirmed by the bus"),
        Column(field="samples", title="Lost samples", kind="number", width=118),
        Column(field="states", title="Lost states", kind="number", width=110),
        Column(field="torn", title="Torn", kind="number", width=80, tip="Stretches of journal that could not be read"),
        Column(field="clock", title="Clock", width=90, tip="Its clock minus the hub's"),
    ),
    fetch=_agents,
    key="key",
    noun="agents",
    height="200px",
)
PAGE = Page(name="node", path="/runs/<run>/nodes/<host>", title="", layout=layout, callbacks=callbacks)
