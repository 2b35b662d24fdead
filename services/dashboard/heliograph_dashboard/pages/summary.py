"""One run at a glance."""

from __future__ import annotations

from dash import Dash
from dash.development.base_component import Component

from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.data import Data
from heliograph_dashboard.page import Page, View


def layout(view: View) -> Component:
    return empty("The summary of this run comes here")


def callbacks(app: Dash, data: Data) -> None:
    """None yet."""


PAGE = Page(name="summary", path="/runs/<run>", title="Summary", layout=layout, callbacks=callbacks)
