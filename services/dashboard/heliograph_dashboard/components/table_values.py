"""What a table is made of: its columns and filters, what a page of it is asked for, and the rows that come.

In: what stands in the browser's store or in a URL. Out: values that `Table` and the functions that fetch rows share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from heliograph_dashboard.data import Data
from heliograph_dashboard.page import View
from heliograph_dashboard.urls import search
from heliograph_store.read.runs import Run

Kind = Literal[
    "text", "code", "number", "percent", "duration", "bytes", "time", "state", "run_state", "flag", "bar", "app",
    "badge", "place", "exception",
]  # fmt: skip
"""How a value is shown. 'duration' and 'time' are microseconds, 'bar' a mapping of states to counts, 'percent' a share
of one; the colour of an 'app' or a 'badge' stands in the row as '<field>_colour'. Of a 'place' the file shows without
its folders, of an 'exception' the class without its module; the whole is told on hover."""

SIZES: Final = ("25", "50", "100", "200")
DEFAULT_SIZE: Final = 50
FORMATS: Final = ("csv", "json", "parquet")


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column. With `link` its cells lead to the address that stands in the row under that name."""

    field: str
    title: str
    kind: Kind = "text"
    width: int | None = None
    """Pixels at least; what is left over goes to columns without one."""
    least: int = 160
    """Pixels at least of a column without width."""
    sort: bool = False
    link: str | None = None
    tip: str = ""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A filter in the bar above the table; `name` is what it is called in the URL."""

    name: str
    label: str
    kind: Literal["text", "choice"] = "text"
    options: Callable[[View], Sequence[tuple[str, str]]] | None = None
    """Value and label of each choice."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one page of a table is asked for."""

    filters: Mapping[str, str] = field(default_factory=dict)
    """By the names of the filters, and of `Table.hidden`; only those that are set."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Of the path."""
    sort: str = ""
    descending: bool = False
    after: Any = None
    """`Rows.next` of the page before; None for the first."""
    limit: int = DEFAULT_SIZE


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A page. `next` is what JSON can hold, None after the last page; `total` None when nobody has counted.

    `so_far` says how far was looked when that was not far enough to fill the page; `next` looks on from there.
    """

    rows: Sequence[Mapping[str, Any]]
    next: Any = None
    total: int | None = None
    so_far: str = ""


Fetch = Callable[[Data, Run | None, Asked], Rows]


def asked_of(state: Mapping[str, Any]) -> Asked:
    """What a table's store in the browser asks for. Raises ValueError or TypeError for what is none."""
    sort = str(state.get("sort") or "")
    after = state.get("after")
    return Asked(
        filters={str(k): str(v) for k, v in (state.get("filters") or {}).items() if v},
        params={str(k): str(v) for k, v in (state.get("params") or {}).items()},
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
        after=tuple(after) if isinstance(after, list) else after,
        limit=max(1, min(int(state.get("limit") or DEFAULT_SIZE), int(SIZES[-1]))),
    )


def export_query(asked: Mapping[str, Any]) -> str:
    """The query of an export link: run, path parameters, filters, order. `assets/table.js` writes the same."""
    given = {"run": asked["run"] or "", **asked["params"], **asked["filters"], "sort": asked["sort"]}
    return search(given)


def cursor_of(text: str | None) -> Any:
    """The page that a URL names; a cursor that was tampered with is the first page."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
