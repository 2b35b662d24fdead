"""What surrounds every page and never changes: header, places for what `shell` fills, and what scripts keep.

In: addresses. Out: the app's layout.
"""

from __future__ import annotations

import json

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from heliograph_dashboard.components.states import LABELS
from heliograph_dashboard.figures.colours import GROUP, GROUPS, RUN, STATE
from heliograph_dashboard.urls import Urls

THEME = {
    "primaryColor": "blue",
    "fontFamily": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "fontFamilyMonospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
    "defaultRadius": "sm",
    "headings": {"fontWeight": "600"},
}


def frame(urls: Urls) -> Component:
    stores = [
        dcc.Location(id="url", refresh=False),
        dcc.Store(id="route"),
        dcc.Store(id="query"),
        dcc.Store(id="query-done"),
        dcc.Store(id="zone"),
        dcc.Store(id="tick"),
        dcc.Store(id="looking", data={"run": None}),
        dcc.Store(id="looking-done"),
        dcc.Store(id="trouble", data=False),
        dcc.Store(id="paused", data=False),
        dcc.Store(id="theme"),
        dcc.Store(id="page-title"),
        dcc.Store(id="title-done"),
    ]
    return dmc.MantineProvider(
        id="mantine",
        theme=THEME,
        children=html.Div(
            [*stores, _words(), html.A("Skip to the page", href="#page", className="hg-skip"), _header(urls), _main()]
        ),
    )


def _words() -> Component:
    """What the browser's scripts must know of names and colours."""
    words = {"groups": GROUPS, "group": GROUP, "state": STATE, "run": RUN, "labels": LABELS}
    return html.Div(id="words", hidden=True, **{"data-words": json.dumps({k: dict(v) for k, v in words.items()})})


def _header(urls: Urls) -> Component:
    live = html.Span(
        [html.Span(className="hg-live-dot"), html.Span("connecting", id="live-text")], id="live", className="hg-live"
    )
    return html.Header(
        [
            dcc.Link(
                [html.Span(className="hg-logo"), html.Span("Heliograph", className="hg-name")],
                href=urls.link("workflows"),
                className="hg-home",
            ),
            html.Nav(id="crumbs", className="hg-crumbs", **{"aria-label": "Where you are"}),
            html.Div(
                [
                    live,
                    html.Button(
                        html.Span(className="hg-icon hg-icon-pause"),
                        id="pause",
                        className="hg-button",
                        title="Pause or go on with live updates",
                        **{"aria-label": "Pause live updates", "aria-pressed": "false"},
                    ),
                    html.Button(
                        html.Span(className="hg-icon hg-icon-theme"),
                        id="theme-toggle",
                        className="hg-button",
                        title="Light or dark",
                        **{"aria-label": "Change between light and dark"},
                    ),
                ],
                className="hg-tools",
            ),
        ],
        className="hg-header",
    )


def _main() -> Component:
    return html.Div(
        [
            html.Div(id="banner", **{"aria-live": "polite"}),
            html.Div(id="run-head", className="hg-run-head"),
            html.Nav(id="run-nav", className="hg-tabs", **{"aria-label": "Pages of this run"}),
            html.Main(id="page", className="hg-page", tabIndex=-1),
        ]
    )
