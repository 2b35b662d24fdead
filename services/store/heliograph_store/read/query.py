"""Running a query: a SELECT in, its rows as dicts out, on a short-lived connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Executable, Integer, cast, literal_column, tuple_

from heliograph_store.schema import RANK_BITS, STATES, UNKNOWN_STATE
from heliograph_store.store import Store

MAX_PAGE = 10_000
"""No list is longer than this, whatever is asked for."""


def fetch(store: Store, query: Executable) -> list[dict[str, Any]]:
    """All rows. Raises StoreUnavailable."""
    with store.connection() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def page_size(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))


def beyond(
    columns: Sequence[ColumnElement[Any]], after: Sequence[Any], *, descending: bool = False
) -> ColumnElement[bool]:
    """The keyset condition: rows that come after this key in this order."""
    key, last = tuple_(*columns), tuple_(*after)
    return key < last if descending else key > last


def state_rank(progress: ColumnElement[int]) -> ColumnElement[int]:
    """The rank of the state in a task's progress; 15 when it has none."""
    # Literal, because PostgreSQL takes two expressions with parameters for different ones (in GROUP BY).
    return cast(progress.bitwise_and(literal_column(str(UNKNOWN_STATE))), Integer)


def try_number(progress: ColumnElement[int]) -> ColumnElement[int]:
    """The number of the latest try in a task's progress; -1 when it has no state."""
    return progress.bitwise_rshift(literal_column(str(RANK_BITS)))


def state_name(rank: int | None) -> str | None:
    """The name of a state, None for a task or try that has none yet."""
    return STATES[rank] if rank is not None and 0 <= rank < len(STATES) else None


def flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
