"""How a table looks: its bar of filters and export links, its grid, and the buttons that turn its pages.

In: a table's name, columns and filters, and what is asked for. Out: components, whose ids begin with the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dash_ag_grid as dag
import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from heliograph_dashboard.components.table_values import FORMATS, SIZES, Column, Filter, export_query
from heliograph_dashboard.page import View
from heliograph_dashboard.urls import href

_NUMERIC: Final = frozenset({"number", "percent", "duration", "bytes"})


def bar(name: str, filters: Sequence[Filter], view: View, asked: Mapping[str, Any]) -> Component:
    controls = [_control(name, view, f, asked["filters"].get(f.name, "")) for f in filters]
    base = href(f"/export/{name}")
    links = [
        html.A(
            form.upper() if form != "parquet" else "Parquet",
            id=f"{name}-{form}",
            href=f"{base}.{form}{export_query(asked)}",
            download="",
            className="hg-export-link",
            target="_self",
        )
        for form in FORMATS
    ]
    export = html.Div([html.Span("Export all", className="hg-muted"), *links], className="hg-export")
    return html.Div([*controls, export], className="hg-table-bar")


def _control(name: str, view: View, f: Filter, value: str) -> Component:
    common = {"id": f"{name}-filter-{f.name}", "size": "xs", "value": value, "className": "hg-filter"}
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


def grid(name: str, columns: Sequence[Column], sort: str, rows: Sequence[Mapping[str, Any]], height: str) -> Component:
    return dag.AgGrid(
        id=f"{name}-grid",
        columnDefs=[_column(column, sort) for column in columns],
        rowData=rows,
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
            "domLayout": "autoHeight" if height == "auto" else "normal",
        },
        eventListeners={"sortChanged": ["hgSort(params, setEventData)"], "cellKeyDown": ["hgEnter(params)"]},
        columnSize=None,
        style={"width": "100%", **({} if height == "auto" else {"height": height})},
        className="hg-grid",
    )


def _column(column: Column, sort: str) -> dict[str, Any]:
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
        definition |= {"flex": 1, "minWidth": column.least}
    if column.tip:
        definition["headerTooltip"] = column.tip
    if column.sort:
        # The store sorts; the grid only shows which way, so all its comparisons say 'equal'.
        definition |= {"sortable": True, "comparator": {"function": "hgKeepOrder"}}
        if column.field == sort.removeprefix("-"):
            definition["sort"] = "desc" if sort.startswith("-") else "asc"
    return definition


def foot(name: str, first: Mapping[str, Any], asked: Mapping[str, Any]) -> Component:
    def button(part: str, text: str, tip: str, disabled: bool) -> Component:
        return html.Button(
            text, id=f"{name}-{part}", disabled=disabled, className="hg-button hg-page-button", title=tip, n_clicks=0
        )

    return html.Div(
        [
            html.Span(first["status"], id=f"{name}-status", className="hg-muted", role="status"),
            html.Div(
                [
                    dmc.Select(
                        id=f"{name}-limit",
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
