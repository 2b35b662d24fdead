"""Blocks: the batch jobs that held a run's workers, with what became of each.

In: a run's blocks with their histories. Out: a figure with a row a block, and a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.card import card
from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.table import Asked, Column, Filter, Rows, Table
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.blocks import MOST, figure, status_colour
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.links import in_run, part
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_store.read.load import last_sign
from heliograph_store.read.nodes import Block, block_list, node_list
from heliograph_store.read.presence import BLOCK_ENDS
from heliograph_store.read.runs import Run, find_run

CONFIG: Final = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    blocks = view.data.read(block_list, run.id)
    if not blocks:
        return nothing_yet(
            "blocks",
            empty(
                "No blocks in this run",
                "A block is a batch job in which an executor runs its workers. Executors that start none, such as "
                "threads, have no blocks; those of the others are listed as soon as they are submitted.",
            ),
        )
    note = f"the latest {MOST} of {len(blocks):,}" if len(blocks) > MOST else ""
    return html.Div(
        [
            card(
                html.Div(dcc.Graph(id="blocks-figure", config=CONFIG, responsive=True), className="hg-scroll"),
                title="Over time",
                note=note,
            ),
            card(TABLE.layout(view), title="Blocks"),
        ],
        className="hg-stack",
    )


def callbacks(app: Dash, data: Data) -> None:
    fill_when_there(app, data, "blocks", layout, _there)
    TABLE.callbacks(app, data)

    @app.callback(
        Output("blocks-figure", "figure"),
        Output("blocks-figure", "style"),
        Input("theme", "data"),
        Input("zone", "data"),
        Input("tick", "data"),
        State("looking", "data"),
    )
    def draw(theme: str | None, zone: str | None, _tick: Any, looking: Mapping[str, Any] | None) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None or theme is None:
            raise PreventUpdate
        blocks = data.read(block_list, run.id)
        made = figure(blocks, until=last_sign(run), theme=theme, zone=zone or "UTC")
        return made, {"height": made["layout"]["height"]}


def _there(view: View) -> bool:
    return view.run is not None and bool(view.data.read(block_list, view.run.id))


def _rows(data: Data, run: Run | None, asked: Asked) -> Rows:
    if run is None:
        return Rows(rows=[])
    nodes: dict[tuple[str, str], set[str]] = {}
    for node in data.read(node_list, run.id, limit=10_000):
        nodes.setdefault((node.executor or "", node.block or ""), set()).add(node.host or "")
    wanted = asked.filters.get("status")
    rows = [
        _row(block, len(nodes.get((block.executor, block.block), ())), run)
        for block in data.read(block_list, run.id)
        if not wanted or block.status == wanted
    ]
    return part(rows, asked)


def _row(block: Block, nodes: int, run: Run) -> dict[str, Any]:
    first, last = block.history[0], block.history[-1]
    over = last.status.upper() in BLOCK_ENDS
    running = next((change.at for change in block.history if change.status.upper() == "RUNNING"), None)
    until = last.at if over else last_sign(run)
    return {
        "key": f"{block.executor}\0{block.block}",
        "executor": cut(block.executor, 60),
        "block": cut(block.block, 40),
        "job": cut(block.job_id, 80),
        "status": cut(block.status, 24),
        "status_colour": status_colour(block.status),
        "nodes": nodes,
        "since": first.at,
        "changed": last.at,
        "waited": None if running is None else running - first.at,
        "ran": None if running is None else max(0, until - running),
        "history": " → ".join(cut(change.status, 20) for change in block.history),
        "nodes_link": in_run(run, "nodes", query={"block": block.block}) if nodes else None,
    }


def _statuses(view: View) -> list[tuple[str, str]]:
    if view.run is None:
        return []
    return [(s, cut(s, 24)) for s in sorted({block.status for block in view.data.read(block_list, view.run.id)})]


TABLE = Table(
    name="blocks-table",
    columns=(
        Column(field="block", title="Block", width=76, sort=True),
        Column(field="executor", title="Executor", width=100, sort=True),
        Column(field="job", title="Job id", kind="code", width=104, sort=True, tip="Of the batch system"),
        Column(field="status", title="Status", kind="badge", width=130, sort=True),
        Column(field="nodes", title="Nodes", kind="number", width=74, sort=True, link="nodes_link"),
        Column(field="since", title="Since", kind="time", width=166, sort=True),
        Column(field="waited", title="Waited", kind="duration", width=94, sort=True, tip="Until it was first running"),
        Column(field="ran", title="Ran", kind="duration", width=104, sort=True),
        Column(field="changed", title="Latest change", kind="time", width=166, sort=True),
        Column(field="history", title="History"),
    ),
    fetch=_rows,
    key="key",
    noun="blocks",
    sort="since",
    filters=(Filter(name="status", label="Status", kind="choice", options=_statuses),),
    height="min(46vh, 380px)",
)
PAGE = Page(name="blocks", path="/runs/<run>/blocks", title="Blocks", layout=layout, callbacks=callbacks)
