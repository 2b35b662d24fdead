"""What a page of the dashboard is: where it is found, how it looks at first, what it answers afterwards.

In: a `View`, made for one visit. Out: components. Pages are listed in `pages/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dash import Dash
from dash.development.base_component import Component

from heliograph_store.read.runs import Run

if TYPE_CHECKING:
    from heliograph_dashboard.data import Data
    from heliograph_dashboard.urls import Urls


@dataclass(frozen=True, kw_only=True)
class View:
    """One visit of a page: what was asked for, and the way to the data and to other pages."""

    data: Data
    urls: Urls
    run: Run | None = None
    """The run that the path names."""
    params: Mapping[str, str] = field(default_factory=dict)
    """The parameters of the path, decoded."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Of the URL: every filter, sort and selection of a view stands there."""
    zone: str = "UTC"
    """The browser's time zone, by its IANA name: for the time axes of figures (`components.times.local`)."""

    def link(self, page: str, /, *, query: Mapping[str, str] | None = None, **params: str) -> str:
        """Where a page is, with the path prefix; the run is this view's unless another is named."""
        known = {"run": self.run.run} if self.run is not None else {}
        return self.urls.link(page, query=query, **{**known, **params})


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page. Its `name` is also the prefix of the ids of all its components: 'tasks' has 'tasks-table'."""

    name: str
    path: str
    """As in '/runs/<run>/tasks'; `<run>` is the run's text id."""
    title: str
    """In the navigation of a run; '' keeps it out of there."""
    layout: Callable[[View], Component]
    """Called once a visit: the first paint, with the first data."""
    callbacks: Callable[[Dash, Data], None]
    """Registers the page's callbacks, once a process."""
