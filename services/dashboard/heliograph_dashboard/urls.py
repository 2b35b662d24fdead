"""Paths of pages: a path in, the page and its parameters out; a page and parameters in, a link out.

A link carries the prefix under which the dashboard is seen from the browser (JupyterHub, Open OnDemand), which
is a matter of the request: whoever serves it sets `prefix`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode

from heliograph_dashboard.page import Page

prefix: ContextVar[str] = ContextVar("prefix", default="/")
"""The prefix of the request that is being answered; begins and ends with a slash."""


def href(path: str) -> str:
    """A path inside the dashboard as the browser must ask for it."""
    return prefix.get() + path.lstrip("/")


def run_path(run: str, rest: str = "") -> str:
    """A link to a run's page, for those who have no `View`: `rest` as in 'tasks/7', already quoted."""
    return href(f"/runs/{quote(run, safe='')}" + (f"/{rest}" if rest else ""))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a path leads."""

    page: Page
    params: Mapping[str, str]


class Urls:
    """The paths of all pages."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._pages = {page.name: page for page in pages}
        self._patterns = [(re.compile(_pattern(page.path)), page) for page in pages]

    def find(self, pathname: str) -> Place | None:
        """The page of a path as the browser has it (prefix included)."""
        path = "/" + pathname.removeprefix(prefix.get()).strip("/")
        for pattern, page in self._patterns:
            if found := pattern.fullmatch(path):
                return Place(page=page, params={name: unquote(text) for name, text in found.groupdict().items()})
        return None

    def link(self, page: str, /, *, query: Mapping[str, str] | None = None, **params: str) -> str:
        """Where a page is. Raises KeyError for a page or parameter that is not there."""

        def value(found: re.Match[str]) -> str:
            return quote(params[found[1]], safe="")

        return href(re.sub(r"<(\w+)>", value, self._pages[page].path)) + search(query or {})


def search(query: Mapping[str, str]) -> str:
    """A query as it stands in a URL, with its question mark; what is empty is left out."""
    given = {key: value for key, value in query.items() if value}
    return "?" + urlencode(given) if given else ""


def query_of(text: str | None) -> dict[str, str]:
    """The query of a URL; of a name that comes twice the last counts."""
    return dict(parse_qsl((text or "").removeprefix("?")))


def _pattern(path: str) -> str:
    parts = re.split(r"<(\w+)>", path)
    return "".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
