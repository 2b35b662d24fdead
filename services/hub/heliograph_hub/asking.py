"""Parameters that several lists share, checked before they come near the store.

In: query and path parameters. Out: typed values; what cannot be a value is answered with 400 by the framework.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator

from heliograph_hub.access import may_read
from heliograph_hub.errors import Problem
from heliograph_hub.parts import Parts, parts_of
from heliograph_store.read.runs import Run, find_run
from heliograph_store.store import Store

MAX_PAGE = 1000
MAX_INT = (1 << 63) - 1


def _storable(text: str) -> str:
    if "\0" in text:  # PostgreSQL has no such text
        raise ValueError("must not contain a NUL character")
    return text


def _capped(limit: int) -> int:
    return min(limit, MAX_PAGE)


Text = Annotated[str, Query(max_length=300), AfterValidator(_storable)]
After = Annotated[str | None, Query(description="`next` of the page before")]
Limit = Annotated[int, Query(ge=1, description=f"Rows a page, at most {MAX_PAGE}"), AfterValidator(_capped)]
TaskKey = Annotated[int, Path(ge=0, le=MAX_INT, description="The task's key; a Parsl task's is its number")]


def reader(request: Request) -> Parts:
    """The hub's parts, for somebody who may read."""
    parts = parts_of(request)
    may_read(parts.config, request)
    return parts


Reader = Annotated[Parts, Depends(reader)]


def asked_run(
    parts: Reader, run: Annotated[str, Path(max_length=300, description="The run's id"), AfterValidator(_storable)]
) -> tuple[Store, Run]:
    """The store and the run of the path. 404 when there is none."""
    store = parts.store.get()
    found = find_run(store, run)
    if found is None:
        raise Problem(404, "there is no such run", what_to_do="see GET /v1/runs for those that there are")
    return store, found


OfRun = Annotated[tuple[Store, Run], Depends(asked_run)]
