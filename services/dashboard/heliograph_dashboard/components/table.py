"""Tables whose rows stay on the server: one page at a time, found by key, sorted and filtered by the store.

In: a `Table`: its columns, its filters, and a function that fetches a page. Out: a grid with its bar of filters, page
buttons and export links; what is asked for stands in the URL. The same function serves the export of all rows.

Cells get values, never markup: what a value looks like is the business of `assets/table.js`, which sets text only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from heliograph_dashboard.data import Data
from heliograph_dashboard.page import View
from heliograph_dashboard.urls import href, search
from heliograph_store.read.runs import Run, find_run

Kind = Literal[
    "text", "code", "number", "percent", "duration", "bytes", "time", "state", "run_state", "flag", "bar", "app",
    "badge",
]  # fmt: skip
"""How a value is shown. 'duration' and 'time' are microseconds, 'bar' a mapping of states to counts, 'percent' a share
of one; the colour of an 'app' or a 'badge' stands in the row as '<field>_colour'."""

SIZES: Final = ("25", "50", "100", "200")
DEFAULT_SIZE: Final = 50
FORMATS: Final = ("csv", "json", "parquet")
_NUMERIC: Final = frozenset({"number", "percent", "duration", "bytes"})


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column. With `link` its cells lead to the address that stands in the row under that name."""

    field: str
    title: str
    kind: Kind = "text"
    width: int | None = None
    """Pixels at least; what is left over goes to columns without one."""
    sort: bool = False
    link: str | None = None
    tip: str = ""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter in the bar above the table; `name` is what it is called in the URL."""

    name: str
    label: str
    kind: Literal["text", "choice"] = "text"
    options: Callable[[View], Sequence[tuple[str, str]]] | None = None
    """Value and label of each choice."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one page of a table is asked for."""

    filters: Mapping[str, str] = field(default_factory=dict)
    """By the names of the filters, and of `Table.hidden`; only those that are set."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Of the path."""
    sort: str = ""
    descending: bool = False
    after: Any = None
    """`Rows.next` of the page before; None for the first."""
    limit: int = DEFAULT_SIZE


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A page. `next` is what JSON can hold, None after the last page; `total` None when nobody has counted.

    `so_far` says how far was looked when that was not far enough to fill the page; `next` looks on from there.
    """

    rows: Sequence[Mapping[str, Any]]
    next: Any = None
    total: int | None = None
    so_far: str = ""


Fetch = Callable[[Data, Run | None, Asked], Rows]


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
                self._bar(view, asked),
                dag.AgGrid(
                    id=self._id("grid"),
                    columnDefs=[self._column(column, asked["sort"]) for column in self.columns],
                    rowData=first["rows"],
                    getRowId="params.data.row_id",
                    defaultColDef={
                        "resizable": True,
                        "sortable": False,
                        "suppressMovable": False,
                        "cellDataType": False,
                    },
                    dashGridOptions={
                        "theme": {"function": "hgTheme(themeQuartz)"},
                        "suppressCellFocus": False,
                        "animateRows": False,
                        "enableCellTextSelection": True,
                        "ensureDomOrder": True,
                        "tooltipShowDelay": 400,
                        "alwaysMultiSort": False,
                        "suppressMultiSort": True,
                        "suppressNoRowsOverlay": True,
                        "accentedSort": False,
                        "domLayout": "autoHeight" if self.height == "auto" else "normal",
                    },
                    eventListeners={"sortChanged": ["hgSort(params, setEventData)"]},
                    columnSize=None,
                    style={"width": "100%", **({} if self.height == "auto" else {"height": self.height})},
                    className="hg-grid",
                ),
                html.Div(first["empty"], id=self._id("empty"), className="hg-grid-empty"),
                self._foot(first, asked),
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
            "after": _cursor(view.query.get("after")),
            "back": [],
            "limit": int(size) if size in SIZES else DEFAULT_SIZE,
        }

    def _known_sort(self, given: str | None) -> str:
        fields = {column.field for column in self.columns if column.sort}
        return given if given and given.removeprefix("-") in fields else self.sort

    def _bar(self, view: View, asked: Mapping[str, Any]) -> Component:
        controls = [self._control(view, f, asked["filters"].get(f.name, "")) for f in self.filters]
        base = href(f"/export/{self.name}")
        links = [
            html.A(
                form.upper() if form != "parquet" else "Parquet",
                id=self._id(form),
                href=f"{base}.{form}{export_query(asked)}",
                download="",
                className="hg-export-link",
                target="_self",
            )
            for form in FORMATS
        ]
        export = html.Div([html.Span("Export all", className="hg-muted"), *links], className="hg-export")
        return html.Div([*controls, export], className="hg-table-bar")

    def _control(self, view: View, f: Filter, value: str) -> Component:
        common = {"id": self._id(f"filter-{f.name}"), "size": "xs", "value": value, "className": "hg-filter"}
        if f.kind == "choice":
            options = f.options(view) if f.options is not None else ()
            known = {value for value, _ in options}
            given = [*options, *([(value, value)] if value and value not in known else [])]
            data = [{"value": v, "label": label} for v, label in given]
            return dmc.Select(
                **{**common, "value": value or None},
                data=data,
                placeholder=f.label,
                clearable=True,
                searchable=len(data) > 8,
                **{"aria-label": f.label},
            )
        return dmc.TextInput(**common, placeholder=f.label, debounce=350, **{"aria-label": f.label})

    def _column(self, column: Column, sort: str) -> dict[str, Any]:
        definition: dict[str, Any] = {
            "field": column.field,
            "headerName": column.title,
            "cellRenderer": "HgCell",
            "cellRendererParams": {"kind": column.kind, "link": column.link},
            "suppressHeaderMenuButton": True,
        }
        if column.kind in _NUMERIC:
            definition |= {"type": "rightAligned"}
        if column.width:
            definition |= {"minWidth": column.width, "width": column.width}
        else:
            definition |= {"flex": 1, "minWidth": 120}
        if column.tip:
            definition["headerTooltip"] = column.tip
        if column.sort:
            # The store sorts; the grid only shows which way, so all its comparisons say 'equal'.
            definition |= {"sortable": True, "comparator": {"function": "hgKeepOrder"}}
            if column.field == sort.removeprefix("-"):
                definition["sort"] = "desc" if sort.startswith("-") else "asc"
        return definition

    def _foot(self, first: Mapping[str, Any], asked: Mapping[str, Any]) -> Component:
        def button(name: str, text: str, tip: str, disabled: bool) -> Component:
            return html.Button(
                text, id=self._id(name), disabled=disabled, className="hg-button hg-page-button", title=tip, n_clicks=0
            )

        return html.Div(
            [
                html.Span(first["status"], id=self._id("status"), className="hg-muted", role="status"),
                html.Div(
                    [
                        dmc.Select(
                            id=self._id("limit"),
                            data=[{"value": s, "label": f"{s} rows"} for s in SIZES],
                            value=str(asked["limit"]),
                            size="xs",
                            w=100,
                            allowDeselect=False,
                            **{"aria-label": "Rows on a page"},
                        ),
                        button("first", "⇤ First", "Back to the first page", asked["after"] is None),
                        button("back", "← Back", "The page before", asked["after"] is None),
                        button("more", "Next →", "The page after", first["next"] is None),
                    ],
                    className="hg-pager",
                ),
            ],
            className="hg-table-foot",
        )

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


def asked_of(state: Mapping[str, Any]) -> Asked:
    """What a table's store in the browser asks for. Raises ValueError or TypeError for what is none."""
    sort = str(state.get("sort") or "")
    after = state.get("after")
    return Asked(
        filters={str(k): str(v) for k, v in (state.get("filters") or {}).items() if v},
        params={str(k): str(v) for k, v in (state.get("params") or {}).items()},
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        after=tuple(after) if isinstance(after, list) else after,
        limit=max(1, min(int(state.get("limit") or DEFAULT_SIZE), int(SIZES[-1]))),
    )


def export_query(asked: Mapping[str, Any]) -> str:
    """The query of an export link: run, path parameters, filters, order. `assets/table.js` writes the same."""
    given = {"run": asked["run"] or "", **asked["params"], **asked["filters"], "sort": asked["sort"]}
    return search(given)


def _cursor(text: str | None) -> Any:
    """The page that a URL names; a cursor that was tampered with is the first page."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
