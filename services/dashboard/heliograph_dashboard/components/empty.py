"""What stands where there is nothing to show: why, and what to do about it.

In: texts. Out: components.
"""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component


def empty(title: str, text: str = "", *more: Component | str) -> Component:
    """Nothing here, and what would bring something."""
    return html.Div([html.P(title, className="hg-empty-title"), html.P(text), *more], className="hg-empty")


def trouble(title: str, text: str = "") -> Component:
    """It cannot be shown now."""
    return html.Div(
        [html.P(title, className="hg-empty-title"), html.P(text)], className="hg-empty hg-trouble", role="alert"
    )
