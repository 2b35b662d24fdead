"""Tables whose rows stay on the server: one page at a time, found by key, sorted and filtered by the store.

In: a `Table`: its columns, its filters, and a function that fetches a page. Out: a grid with its bar of filters, page
buttons and export links; what is asked for stands in the URL. The same function serves the export of all rows.

Cells get values, never markup: what a value looks like is the business of `assets/table.js`, which sets text only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from heliograph_dashboard.components import table_layout
from heliograph_dashboard.components.table_values import (
    DEFAULT_SIZE,
    FORMATS,
    SIZES,
    Asked,
    Column,
    Fetch,
    Filter,
    Rows,
    asked_of,
    cursor_of,
    export_query,
)
from heliograph_dashboard.data import Data
from heliograph_dashboard.page import View
from heliograph_store.read.runs import Run, find_run

__all__ = ["REGISTRY", "Asked", "Column", "Filter", "Rows", "Table", "asked_of", "export_query"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; its name is the prefix of its components' ids and its name in `/export/<name>.csv`.

    Every row has `key`, a value that no other row has. `sort` is the order at first: a field, with '-' before it for
    the largest first. `noun` says what the rows are, in the plural. `hidden` are filters without a control.
    """

    name: str
    columns: Sequence[Column]
    fetch: Fetch
    key: str
    noun: str
    sort: str = ""
    filters: Sequence[Filter] = ()
    hidden: Sequence[str] = ()
    live: bool = True
    height: str = "min(68vh, 900px)"
    """As in CSS; 'auto' is as high as the rows are, for tables of few."""

    def __post_init__(self) -> None:
        REGISTRY[self.name] = self

    # --- layout

    def layout(self, view: View) -> Component:
        """The table with its first page."""
        asked = self._state(view)
        first = self._rows(view.data, view.run, asked)
        return html.Div(
            [
                dcc.Store(id=self._id("asked"), data=asked),
                dcc.Store(id=self._id("next"), data=first["next"]),
                table_layout.bar(self.name, self.filters, view, asked),
                table_layout.grid(self.name, self.columns, asked["sort"], first["rows"], self.height),
                html.Div(first["empty"], id=self._id("empty"), className="hg-grid-empty"),
                table_layout.foot(self.name, first, asked),
            ],
            className="hg-table",
        )

    def _state(self, view: View) -> dict[str, Any]:
        named = {f.name for f in self.filters} | set(self.hidden)
        size = view.query.get("rows", "")
        return {
            "run": view.run.run if view.run is not None else None,
            "params": {k: v for k, v in view.params.items() if k != "run"},
            "filters": {name: value for name, value in view.query.items() if name in named and value},
            "sort": self._known_sort(view.query.get("sort")),
            "after": cursor_of(view.query.get("after")),
            "back": [],
            "limit": int(size) if size in SIZES else DEFAULT_SIZE,
        }

    def _known_sort(self, given: str | None) -> str:
        fields = {column.field for column in self.columns if column.sort}
        return given if given and given.removeprefix("-") in fields else self.sort

    # --- callbacks

    def callbacks(self, app: Dash, data: Data) -> None:
        """Register what happens when somebody filters, sorts or turns pages, and on live updates."""
        asked = self._id("asked")
        app.clientside_callback(
            ClientsideFunction("heliograph_table", "ask"),
            Output(asked, "data"),
            Output("query", "data", allow_duplicate=True),
            *[Output(self._id(form), "href") for form in FORMATS],
            *[Input(self._id(f"filter-{f.name}"), "value") for f in self.filters],
            Input(self._id("grid"), "eventData"),
            Input(self._id("limit"), "value"),
            *[Input(self._id(button), "n_clicks") for button in ("first", "back", "more")],
            State(asked, "data"),
            State(self._id("next"), "data"),
            State(self._id("csv"), "href"),
            State(self._id("grid"), "id"),
            prevent_initial_call=True,
        )
        live = [Input("tick", "data")] if self.live else []

        @app.callback(
            Output(self._id("grid"), "rowData"),
            Output(self._id("next"), "data"),
            Output(self._id("status"), "children"),
            Output(self._id("empty"), "children"),
            Output(self._id("first"), "disabled"),
            Output(self._id("back"), "disabled"),
            Output(self._id("more"), "disabled"),
            Input(asked, "data"),
            *live,
            prevent_initial_call=True,
        )
        def turn(asked: dict[str, Any], *_tick: Any) -> Any:
            run = data.read(find_run, asked["run"]) if asked.get("run") else None
            page = self._rows(data, run, asked)
            begin = asked.get("after") is None
            return page["rows"], page["next"], page["status"], page["empty"], begin, begin, page["next"] is None

    def _rows(self, data: Data, run: Run | None, asked: Mapping[str, Any]) -> dict[str, Any]:
        page = self.fetch(data, run, asked_of(asked))
        shown = len(page.rows)
        before = len(asked.get("back") or ()) * int(asked["limit"]) if asked.get("after") is not None else 0
        known = asked.get("after") is None or bool(asked.get("back"))
        span = f"{before + 1:,}–{before + shown:,}" if known else f"{shown:,} on this page"
        if page.total is not None:
            text = f"{span} of {page.total:,} {self.noun}"
        elif page.next is None and known:
            text = f"{span} of {before + shown:,} {self.noun}"
        else:
            text = f"{self.noun} {span}, more follow" if page.next is not None else f"{self.noun} {span}"
        filtered = " that match these filters" if asked["filters"] else ""
        nothing = f"There are no {self.noun}{filtered}"
        if page.so_far:
            text = f"{self.noun} {span}. {page.so_far}; Next looks on." if shown else ""
            nothing = f"Nothing found yet. {page.so_far}; Next looks on."
        return {
            "rows": [{**row, "row_id": str(row[self.key])} for row in page.rows],
            "next": page.next,
            "status": text if shown else nothing,
            "empty": "" if shown else nothing,
        }

    def _id(self, part: str) -> str:
        return f"{self.name}-{part}"


REGISTRY: Final[dict[str, Table]] = {}
"""All tables, by name: what the export can give."""
