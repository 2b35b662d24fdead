"""What a page shows while there is nothing of its kind yet, and how it fills without a reload once there is.

In: the empty state, and a way to tell that something came. Out: a component, and the callback that replaces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.data import Data
from heliograph_dashboard.page import View
from heliograph_dashboard.urls import Urls, query_of
from heliograph_store.read.runs import Run, find_run


def nothing_yet(name: str, shown: Component) -> Component:
    """The empty state of the page of that name."""
    return html.Div([dcc.Store(id=f"{name}-awaited", data=True), html.Div(shown, id=f"{name}-none")])


def fill_when_there(
    app: Dash, data: Data, name: str, layout: Callable[[View], Component], there: Callable[[View], bool]
) -> None:
    """Replace the empty state by the page's layout as soon as `there` says that something came."""

    @app.callback(
        Output(f"{name}-none", "children"),
        Output(f"{name}-awaited", "data"),
        Input("tick", "data"),
        State(f"{name}-awaited", "data"),
        State("looking", "data"),
        State("route", "data"),
        prevent_initial_call=True,
    )
    def fill(
        _tick: Any, waiting: bool | None, looking: Mapping[str, Any] | None, route: Mapping[str, str] | None
    ) -> Any:
        run = data.read(find_run, looking["run"]) if waiting and looking and looking.get("run") else None
        if run is None:
            raise PreventUpdate
        view = _view(data, run, route or {})
        if not there(view):
            raise PreventUpdate
        return layout(view), False


def _view(data: Data, run: Run, route: Mapping[str, str]) -> View:
    from heliograph_dashboard.pages import PAGES  # the list of pages holds the one that asks

    urls = Urls(PAGES)
    place = urls.find(route.get("pathname") or "/")
    return View(
        data=data,
        urls=urls,
        run=run,
        params={} if place is None else place.params,
        query=query_of(route.get("search")),
        zone=route.get("zone") or "UTC",
    )
