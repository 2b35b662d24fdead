"""Facts about one thing: names and values in a list that flows into as many columns as fit.

In: pairs of a name and a value; a value that is None or '' is left out. Out: a definition list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from dash import html
from dash.development.base_component import Component

Value: TypeAlias = Component | str | int | float | list[Component | str] | None
Fact: TypeAlias = tuple[str, Value] | tuple[str, Value, str]


def facts(pairs: Iterable[Fact], *, narrow: bool = False) -> Component:
    """A third part of a pair is the explanation that shows on hover."""
    shown = [pair for pair in pairs if pair[1] not in (None, "", [])]
    return html.Dl(
        [
            html.Div(
                [html.Dt(pair[0], title=pair[2] if len(pair) > 2 else None), html.Dd(pair[1])], className="hg-fact"
            )
            for pair in shown
        ],
        className="hg-factlist hg-factlist-narrow" if narrow else "hg-factlist",
    )
