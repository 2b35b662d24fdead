"""All runs: what they are, how they are, how far they are.

In: filters and order from the URL. Out: a table of runs, the newest first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal

from dash import Dash, html
from dash.development.base_component import Component

from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.table import Asked, Column, Filter, Rows, Table
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.colours import GROUPS
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.urls import run_path
from heliograph_store.read.run_table import ORDERS, RunRow, Wanted, run_page, run_total, values_of
from heliograph_store.read.runs import Run

STATES: Final = ("running", "completed", "failed", "lost", "unknown")
STEP: Final = 5_000_000
"""Microseconds: whether a run is alive is asked as of full steps, so that all viewers ask the same."""
START: Final = """config = Config(
    executors=[...],
    monitoring=heliograph.parsl.MonitoringHub(),
)"""


def fetch(data: Data, _run: Run | None, asked: Asked) -> Rows:
    wanted = Wanted(
        search=asked.filters.get("search", ""),
        state=asked.filters.get("state", ""),
        owner=asked.filters.get("owner", ""),
        host=asked.filters.get("host", ""),
        now=time.time_ns() // 1000 // STEP * STEP,
        lag=data.flow().lag // STEP * STEP,
    )
    order = asked.sort if asked.sort in ORDERS else "began"
    page = data.read(
        run_page, wanted, order=order, descending=asked.descending, after=_key(asked.after), limit=asked.limit + 1
    )
    more = len(page) > asked.limit
    page = page[: asked.limit]
    return Rows(
        rows=[_row(row) for row in page],
        next=list(page[-1].key) if more else None,
        total=data.read(run_total, wanted),
    )


def _key(after: Any) -> tuple[Any, int] | None:
    """A place in the order, as it came from the browser."""
    match after:
        case (str() | int() as place, int() as number):
            return place, number
    return None


def _row(row: RunRow) -> dict[str, Any]:
    def of(group: str) -> int:
        return sum(count for state, count in row.states.items() if state in GROUPS[group])

    return {
        "run": row.run,
        "name": cut(row.name or row.run, 200),
        "href": run_path(row.run),
        "version": cut(row.version, 60),
        "owner": cut(row.owner, 60),
        "host": cut(row.host, 100),
        "state": row.state,
        "began": row.began or None,
        "duration": (row.ended or row.latest) - row.began if row.began else None,
        "progress": {state or "unknown": count for state, count in row.states.items()},
        "done": of("done"),
        "failed": of("failed"),
        "tasks": row.tasks,
    }


def _states(_view: View) -> Sequence[tuple[str, str]]:
    return [(state, state) for state in STATES]


def _values(column: Literal["owner", "host"], view: View) -> Sequence[tuple[str, str]]:
    return [(value, cut(value, 60)) for value in view.data.read(values_of, column)]


TABLE: Final = Table(
    name="workflows",
    noun="workflows",
    key="run",
    sort="-began",
    fetch=fetch,
    filters=(
        Filter(name="search", label="Search name, owner, host, id…"),
        Filter(name="state", label="Any state", kind="choice", options=_states),
        Filter(name="owner", label="Any owner", kind="choice", options=partial(_values, "owner")),
        Filter(name="host", label="Any host", kind="choice", options=partial(_values, "host")),
    ),
    columns=(
        Column(field="name", title="Workflow", sort=True, link="href", least=220),
        Column(field="version", title="Version", width=80, sort=True),
        Column(field="state", title="State", kind="run_state", width=124, sort=True),
        Column(field="progress", title="Progress", kind="bar", width=110),
        Column(field="done", title="Done", kind="number", width=84, sort=True),
        Column(field="failed", title="Failed", kind="number", width=80, sort=True),
        Column(field="tasks", title="Tasks", kind="number", width=88, sort=True),
        Column(field="began", title="Started", kind="time", width=166, sort=True),
        Column(field="duration", title="Duration", kind="duration", width=108, sort=True),
        Column(field="owner", title="Owner", width=84, sort=True),
        Column(field="host", title="Host", width=98, sort=True),
    ),
)


def layout(view: View) -> Component:
    if not view.query and not view.data.read(run_total, Wanted()):
        return empty(
            "No workflow has been recorded yet",
            "Add Heliograph to a Parsl configuration and start it; it appears here by itself.",
            html.Pre(START, className="hg-pre"),
        )
    return html.Div([html.H1("Workflows", className="hg-title"), TABLE.layout(view)])


def callbacks(app: Dash, data: Data) -> None:
    TABLE.callbacks(app, data)


PAGE = Page(name="workflows", path="/", title="", layout=layout, callbacks=callbacks)
