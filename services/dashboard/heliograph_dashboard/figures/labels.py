"""Texts from workflows in figures: plotly reads a few HTML tags and entities in them, so those are escaped.

In: any text. Out: one that plotly draws as it is. It may stand in `name`, `text`, `hovertext`, `meta` and annotations,
and reaches a hover template only through them (`%{text}`, `%{meta[0]}`): a template in a text would be filled in.
"""

from __future__ import annotations

from heliograph_dashboard.components.text import cut

NO_APP = "not described yet"
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def label(text: str | None, length: int = 40) -> str:
    """At most `length` characters of the text, to be drawn literally."""
    return cut(text, length).translate(_ENTITIES)


def app_label(app: str | None, length: int = 40) -> str:
    return NO_APP if app is None else label(app, length)
