"""Nodes: what there is, since when, what it last told, and how busy it is; lost ones marked.

In: a run's nodes with their signs of life, and the busy time of their workers. Out: a picture of all of them over time,
and a table.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.card import card, number
from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.table import Asked, Column, Filter, Rows, Table
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.colours import RUN
from heliograph_dashboard.figures.nodes import Load, picture
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.links import in_run, part
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_store.read.failures import HostTries, host_tries
from heliograph_store.read.presence import Host, host_list
from heliograph_store.read.run_efficiency import host_use
from heliograph_store.read.runs import Run, find_run

CONFIG: Final = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
PRESENCE: Final[Mapping[str, tuple[str, str]]] = {
    "alive": (RUN["completed"], "It told of itself within the last minute."),
    "lost": (RUN["lost"], "It told nothing for more than a minute, and did not say goodbye."),
    "left": (RUN["unknown"], "It said goodbye, or its block ended."),
    "over": (RUN["unknown"], "It was there when the run ended."),
    "unknown": (RUN["unknown"], "Nothing tells whether it is there: no agent runs on it, or records are late."),
}
"""Colour and meaning of what `presence` says."""
LABEL: Final = {"over": "run over"}
FRESH: Final = 5_000_000
"""Microseconds for which one answer to 'is it there?' serves all viewers."""


def hosts_of(data: Data, run: Run) -> Sequence[Host]:
    """The run's nodes as of now."""
    now = time.time_ns() // 1000 // FRESH * FRESH
    return data.read(host_list, run, now=now, lag=data.flow().lag // FRESH * FRESH)


def presence_label(state: str) -> str:
    return LABEL.get(state, state)


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    hosts = hosts_of(view.data, run)
    if not hosts and run.ended is not None:
        return empty("No nodes are known", "No worker and no agent of this run told where it was.")
    if not hosts:
        return nothing_yet(
            "nodes",
            empty(
                "No nodes yet",
                "A node appears when the first task runs on it, or when its agent reports. While all tasks are still "
                "waiting, see the blocks: a batch job may be queued.",
                dcc.Link("Blocks", href=view.link("blocks")),
            ),
        )
    return html.Div(
        [
            html.Div(_numbers(hosts), id="nodes-numbers", className="hg-numbers"),
            card(
                html.Div(dcc.Graph(id="nodes-figure", config=CONFIG, responsive=True), className="hg-scroll"),
                title="How busy they are",
                note="a row a node; the darker, the more of its workers run a try",
            ),
            card(TABLE.layout(view), title="Nodes"),
        ],
        className="hg-stack",
    )


def callbacks(app: Dash, data: Data) -> None:
    fill_when_there(app, data, "nodes", layout, _there)
    TABLE.callbacks(app, data)

    @app.callback(
        Output("nodes-figure", "figure"),
        Output("nodes-figure", "style"),
        Output("nodes-numbers", "children"),
        Input("theme", "data"),
        Input("zone", "data"),
        Input("tick", "data"),
        State("looking", "data"),
    )
    def draw(theme: str | None, zone: str | None, _tick: Any, looking: Mapping[str, Any] | None) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None or theme is None:
            raise PreventUpdate
        hosts = hosts_of(data, run)
        load = data.read(host_use, run).load
        workers = {host.host: host.workers for host in hosts}
        made = picture(Load(at=load.at, width=load.width, busy=load.busy), workers, theme=theme, zone=zone or "UTC")
        return made, {"height": made["layout"]["height"]}, _numbers(hosts)


def _there(view: View) -> bool:
    return view.run is not None and bool(hosts_of(view.data, view.run))


def _numbers(hosts: Sequence[Host]) -> list[Component]:
    states = Counter(host.presence for host in hosts)
    told = ", ".join(f"{n:,} {presence_label(state)}" for state, n in sorted(states.items()))
    workers = [host.workers for host in hosts if host.workers is not None]
    cores = sum(max((pool.cpu_count or 0 for pool in host.pools), default=0) for host in hosts)
    dropped = sum(host.dropped for host in hosts)
    return [
        number("Nodes", f"{len(hosts):,}", told),
        number("Workers", f"{sum(workers):,}" if workers else "—", "that pools told of"),
        number("Cores", f"{cores:,}" if cores else "—", "of all nodes"),
        number("Dropped records", f"{dropped:,}", "that agents could not keep" if dropped else "nothing is missing"),
    ]


def _rows(data: Data, run: Run | None, asked: Asked) -> Rows:
    if run is None:
        return Rows(rows=[])
    use = data.read(host_use, run)
    shares = {one.host: one.workers.ratio for one in use.shares}
    tries = {one.host: one for one in data.read(host_tries, run.id)}
    rows = [
        _row(host, use.load.running.get(host.host), shares.get(host.host), tries.get(host.host), run)
        for host in hosts_of(data, run)
    ]
    wanted = asked.filters
    shown = [
        row
        for row in rows
        if wanted.get("state", row["state"]) == row["state"]
        and wanted.get("host", "").lower() in str(row["host"]).lower()
        and wanted.get("block", row["blocks"]) in (row["blocks"], *str(row["blocks"]).split(", "))
    ]
    return part(shown, asked)


def _row(host: Host, running: int | None, share: float | None, tries: HostTries | None, run: Run) -> dict[str, Any]:
    memory = max((pool.memory_total or 0 for pool in host.pools), default=0)
    cores = max((pool.cpu_count or 0 for pool in host.pools), default=0)
    return {
        "host": cut_middle(host.host, 120),
        "link": in_run(run, "nodes", host.host),
        "state": presence_label(host.presence),
        "state_colour": PRESENCE[host.presence][0],
        "running": running or 0,
        "tries": tries.tries if tries else 0,
        "failed": tries.failed if tries else 0,
        "workers": host.workers,
        "share": share,
        "cores": cores or None,
        "memory": memory or None,
        "executors": cut(", ".join(host.executors), 80),
        "blocks": cut(", ".join(host.blocks), 80),
        "since": host.first_seen,
        "last": host.last_sign,
        "dropped": host.dropped,
    }


def _states(_view: View) -> list[tuple[str, str]]:
    return [(presence_label(state), presence_label(state)) for state in PRESENCE]


_SIGNS = "From its last signs of life; never stored"
_BUSY = "Worker efficiency: busy time of its workers while they were there"
_DROPPED = "Records that its agents could not keep"
TABLE = Table(
    name="nodes-table",
    columns=(
        Column(field="host", title="Node", sort=True, link="link"),
        Column(field="state", title="State", kind="badge", width=110, sort=True, tip=_SIGNS),
        Column(field="running", title="Running", kind="number", width=96, sort=True, tip="Tries that have no end"),
        Column(field="tries", title="Tries", kind="number", width=90, sort=True),
        Column(field="failed", title="Failed", kind="number", width=84, sort=True, tip="Tries that went wrong"),
        Column(field="workers", title="Workers", kind="number", width=96, sort=True),
        Column(field="share", title="Busy", kind="percent", width=84, sort=True, tip=_BUSY),
        Column(field="last", title="Last sign", kind="time", width=166, sort=True),
        Column(field="since", title="Since", kind="time", width=166, sort=True),
        Column(field="cores", title="Cores", kind="number", width=84, sort=True),
        Column(field="memory", title="Memory", kind="bytes", width=96, sort=True),
        Column(field="executors", title="Executors", width=120, sort=True),
        Column(field="blocks", title="Blocks", width=90, sort=True),
        Column(field="dropped", title="Dropped", kind="number", width=96, sort=True, tip=_DROPPED),
    ),
    fetch=_rows,
    key="host",
    noun="nodes",
    sort="host",
    filters=(
        Filter(name="host", label="Name contains"),
        Filter(name="state", label="State", kind="choice", options=_states),
        Filter(name="block", label="Block"),
    ),
    height="min(60vh, 760px)",
)
PAGE = Page(name="nodes", path="/runs/<run>/nodes", title="Nodes", layout=layout, callbacks=callbacks)
