"""What pages of a run share: links for callbacks, which have no view; cursors from a URL; pages of short lists.

In: a run and the parts of a path below it; what a URL gives as a cursor; rows. Out: an address with the path prefix; a
key; the rows of one page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from heliograph_dashboard.components.table import Asked, Rows
from heliograph_dashboard.urls import href, search
from heliograph_store.read.runs import Run


def in_run(run: Run, *parts: str, query: Mapping[str, str] | None = None) -> str:
    """`/runs/<run>/<part>/<part>…`, every part as one piece of the path whatever is in it."""
    return href("/".join(["/runs", *(quote(part, safe="") for part in (run.run, *parts))])) + search(query or {})


def path_of(run: Run) -> str:
    """The path of a run without the prefix, for those who add to it."""
    return f"/runs/{quote(run.run, safe='')}"


def cursor(given: Any, *types: type) -> Any:
    """A key of these types; None for anything else: a page can have several tables, and a URL can be edited."""
    if not isinstance(given, tuple | list) or len(given) != len(types):
        return None
    fits = all(
        isinstance(value, kind) and not isinstance(value, bool) for value, kind in zip(given, types, strict=True)
    )
    return tuple(given) if fits else None


def part(rows: Sequence[Mapping[str, Any]], asked: Asked) -> Rows:
    """One page of a list that is short enough to be read whole, in the order that is asked for; unknown stands last."""
    known = [row for row in rows if row.get(asked.sort) is not None]
    known.sort(key=lambda row: row[asked.sort], reverse=asked.descending)
    ordered = [*known, *(row for row in rows if row.get(asked.sort) is None)] if asked.sort else list(rows)
    place = cursor(asked.after, int)
    begin = max(0, place[0]) if place else 0
    end = begin + asked.limit
    return Rows(rows=ordered[begin:end], next=[end] if end < len(ordered) else None, total=len(ordered))
