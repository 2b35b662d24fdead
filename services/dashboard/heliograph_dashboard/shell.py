"""Which page is shown, and what around it follows: breadcrumbs, the navigation of a run, its head, lines of warning.

In: the browser's URL. Out: the page's first layout. Nothing here knows what a page shows; `frame` is what it stands in.

How a visit goes: `url` changes → `route` (in the browser: a change that the page itself made is no visit) → the page's
`layout` on the server. A page that wants its filters in the URL writes them to the store `query`; the URL follows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.components import banner, empty
from heliograph_dashboard.components.runhead import run_head
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.data import Data
from heliograph_dashboard.frame import frame
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages import PAGES
from heliograph_dashboard.urls import Place, Urls, query_of
from heliograph_store.errors import StoreError
from heliograph_store.read.liveness import liveness
from heliograph_store.read.pipeline import losses
from heliograph_store.read.runs import find_run

log = logging.getLogger("heliograph.dashboard")


def build(dash: Dash, data: Data, urls: Urls) -> None:
    """Give the app its layout and its own callbacks."""
    dash.layout = lambda: frame(urls)
    _in_the_browser(dash)
    _visits(dash, data, urls)
    _live(dash, data)


def _in_the_browser(dash: Dash) -> None:
    browser = dash.clientside_callback
    browser(
        ClientsideFunction("heliograph", "route"),
        Output("route", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
    )
    browser(ClientsideFunction("heliograph", "zone"), Output("zone", "data"), Input("url", "id"))
    browser(
        ClientsideFunction("heliograph", "follow"),
        Output("query-done", "data"),
        Input("query", "data"),
        prevent_initial_call=True,
    )
    browser(
        ClientsideFunction("heliograph", "theme"),
        Output("theme", "data"),
        Output("mantine", "forceColorScheme"),
        Input("theme-toggle", "n_clicks"),
        State("theme", "data"),
    )
    browser(
        ClientsideFunction("heliograph", "pause"),
        Output("paused", "data"),
        Output("pause", "aria-pressed"),
        Input("pause", "n_clicks"),
        State("paused", "data"),
        prevent_initial_call=True,
    )
    browser(ClientsideFunction("heliograph", "look"), Output("looking-done", "data"), Input("looking", "data"))
    browser(ClientsideFunction("heliograph", "title"), Output("title-done", "data"), Input("page-title", "data"))


def _visits(dash: Dash, data: Data, urls: Urls) -> None:
    @dash.callback(
        Output("page", "children"),
        Output("crumbs", "children"),
        Output("run-head", "children"),
        Output("run-nav", "children"),
        Output("looking", "data"),
        Output("page-title", "data"),
        Input("route", "data"),
        prevent_initial_call=True,
    )
    def visit(route: dict[str, str] | None) -> Any:
        if not route:
            return (no_update,) * 6
        place = urls.find(route.get("pathname") or "/")
        if place is None:
            return _nowhere(urls)
        try:
            return _visit(data, urls, place, route)
        except StoreError as error:
            log.warning("a page cannot be shown: %s", error)
            sorry = empty.trouble("The database cannot be read now", "The page is shown as soon as it answers.")
            return sorry, [], None, [], {"run": None}, "Heliograph"


def _live(dash: Dash, data: Data) -> None:
    @dash.callback(
        Output("run-head", "children", allow_duplicate=True),
        Input("tick", "data"),
        State("looking", "data"),
        prevent_initial_call=True,
    )
    def refresh(_tick: Any, looking: dict[str, Any] | None) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        return no_update if run is None else run_head(data, run)

    @dash.callback(
        Output("route", "data", allow_duplicate=True),
        Input("tick", "data"),
        State("looking", "data"),
        State("route", "data"),
        prevent_initial_call=True,
    )
    def arrive(tick: dict[str, Any] | None, looking: dict[str, Any] | None, route: dict[str, Any] | None) -> Any:
        """A run that was waited for is there: visit its page again."""
        if not looking or not looking.get("awaited") or not tick or not route:
            return no_update
        if data.read(find_run, str(looking["run"])) is None:
            return no_update
        return {**route, "arrived": tick.get("version")}

    @dash.callback(
        Output("banner", "children"), Input("looking", "data"), Input("tick", "data"), Input("trouble", "data")
    )
    def warn(looking: dict[str, Any] | None, _tick: Any, trouble: bool) -> Any:
        if trouble:
            return [banner.away()]
        try:
            flow = data.flow()
            run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
            if run is None:
                return banner.of_flow(flow)
            state = liveness(run, time.time_ns() // 1000, flow.lag)
            return banner.of_flow(flow) + banner.of_run(run, state, data.read(losses, run_id=run.id))
        except StoreError:
            return [banner.away()]


def _visit(data: Data, urls: Urls, place: Place, route: Mapping[str, str]) -> Any:
    page, params = place.page, place.params
    run = None
    if "run" in params:
        run = data.read(find_run, params["run"])
        if run is None:
            return _not_yet(urls, params["run"])
    # The version first: what changes while the page is being made is then news.
    looking = {"run": None if run is None else run.run, "version": data.version(None if run is None else run.id)}
    view = View(
        data=data,
        urls=urls,
        run=run,
        params=params,
        query=query_of(route.get("search")),
        zone=route.get("zone") or "UTC",
    )
    head = None if run is None else run_head(data, run)
    what = [cut(params[key], 40) for key in params if key != "run"]
    name = page.title or " ".join([page.name.capitalize(), *what])
    title = " · ".join([name, *([cut(run.name or run.run[:8])] if run is not None else []), "Heliograph"])
    return page.layout(view), _crumbs(view, page), head, _navigation(view, page), looking, title


def _nowhere(urls: Urls, text: str = "There is no such page") -> Any:
    back = dcc.Link("All workflows", href=urls.link("workflows"), className="hg-link")
    return (
        empty.empty(text, "It may have been deleted, or the link is not complete.", back),
        [],
        None,
        [],
        {"run": None},
        text,
    )


def _not_yet(urls: Urls, run: str) -> Any:
    """A run of which nothing has come: looked for as if it were there, so that its first record is news."""
    shown = empty.empty(
        f"Nothing of a run {cut(run, 80)} has arrived yet",
        "If it was started just now, its records are on their way: it is shown here as soon as the first one comes. "
        "If it should be there for long, the link may not be complete, the run may have been deleted, or its records "
        "go to another database.",
        dcc.Link("All workflows", href=urls.link("workflows"), className="hg-link"),
    )
    return shown, [], None, [], {"run": run, "version": 0, "awaited": True}, "Not there yet · Heliograph"


def _crumbs(view: View, page: Page) -> list[Component]:
    crumbs: list[tuple[str, str | None]] = [("Workflows", view.link("workflows"))]
    if view.run is not None:
        crumbs.append((view.run.name or view.run.run[:8], view.link("summary")))
        crumbs += [(f"{page.name.capitalize()} {view.params[key]}", None) for key in view.params if key != "run"]
        if page.title and page.name != "summary":
            crumbs.append((page.title, None))
    parts: list[Component] = []
    for text, href in crumbs:
        if parts:
            parts.append(html.Span("/", className="hg-crumb-gap", **{"aria-hidden": "true"}))
        shown = cut(text, 48)
        parts.append(
            dcc.Link(shown, href=href, className="hg-crumb") if href else html.Span(shown, title=cut(text, 400))
        )
    return parts


def _navigation(view: View, page: Page) -> list[Component]:
    """The pages of a run; the one that is shown is marked."""
    if view.run is None:
        return []
    here = _shown_in(page)
    return [
        dcc.Link(
            other.title,
            href=view.link(other.name),
            className="hg-tab hg-tab-here" if other.name == here else "hg-tab",
        )
        for other in PAGES
        if other.title
    ]


def _shown_in(page: Page) -> str:
    """A page that is not in the navigation belongs to the one whose path is the beginning of its own."""
    if page.title:
        return page.name
    above = [other for other in PAGES if other.title and page.path.startswith(other.path)]
    return max(above, key=lambda other: len(other.path)).name if above else ""
