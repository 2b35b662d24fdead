"""HTML in which text cannot become markup.

In: strings and `Markup`. Out: `Markup`. Whatever is not `Markup` is escaped, attributes included.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: str) -> Markup:
    """`<name attribute="…">children</name>`; a trailing underscore in an attribute's name (class_) is dropped."""
    inside = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{inside}>{joined(children)}</{name}>")


def joined(children: Iterable[str | None]) -> Markup:
    return Markup("".join(c if isinstance(c, Markup) else escape(c) for c in children if c is not None))


def page(title: str, *body: str) -> str:
    """A whole document, with the one style sheet and no script."""
    head = Markup(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/style.css">'
    )
    return "<!doctype html>" + tag("html", tag("head", head), tag("body", *body), lang="en")


def table(head: Iterable[str], rows: Iterable[Iterable[str | None]]) -> Markup:
    return tag(
        "table",
        tag("thead", tag("tr", *[tag("th", title, scope="col") for title in head])),
        tag("tbody", *[tag("tr", *[tag("td", cell) for cell in row]) for row in rows]),
    )
