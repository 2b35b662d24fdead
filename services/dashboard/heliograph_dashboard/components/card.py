"""Cards: a surface with a title, and figures of one number each.

In: texts and components. Out: components.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from dash import html
from dash.development.base_component import Component

Child: TypeAlias = Component | str | None


def card(*children: Child, title: str = "", note: str = "", id: str | None = None) -> Component:
    """A surface; `note` stands beside the title, smaller."""
    head = (
        html.Div([html.H2(title), html.Span(note, className="hg-muted")], className="hg-card-head") if title else None
    )
    inner = [child for child in (head, *children) if child is not None]
    return html.Section(inner, className="hg-card", **({"id": id} if id else {}))


def number(label: str, value: Child, note: Child = "") -> Component:
    """One number, large, with what it is above and more about it below."""
    parts = [html.Div(label, className="hg-number-label"), html.Div(value, className="hg-number-value")]
    if note is not None and note != "":
        parts.append(html.Div(note, className="hg-number-note"))
    return html.Div(parts, className="hg-number")


def numbers(items: Iterable[Component]) -> Component:
    """Numbers in a row that wraps."""
    return html.Div(list(items), className="hg-numbers")


def facts(items: Iterable[tuple[str, Child]]) -> Component:
    """Names and values in two columns; what has no value is left out."""
    rows: list[Component] = []
    for name, value in items:
        if value is not None and value != "":
            rows += [html.Dt(name), html.Dd(value)]
    return html.Dl(rows, className="hg-facts")
