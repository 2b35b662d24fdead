"""SQL that both databases share, made once from `schema.py`, and what a transaction can fail with.

In: tables. Out: statement texts with the driver's own parameter marks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table

from heliograph_store.schema import runs

Values = tuple[Any, ...]
Change = tuple[Values, Values]
"""A row as it is stored, and as it is to be; both have the same key."""


class TryAgain(Exception):
    """The database chose this transaction as the victim of a deadlock: run it again at once."""


class BadValue(Exception):
    """The database cannot hold one of the values (too large a number, a NUL in a text)."""


@cache
def add_sql(table: Table, source: str) -> str:
    keys, counters = keys_and_counters(table)
    changes = ", ".join(f"{counter} = {table.name}.{counter} + excluded.{counter}" for counter in counters)
    return f"INSERT INTO {table.name} {source} ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"


@cache
def keys_and_counters(table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of a rollup: the columns of its primary key, then the rest, all of them counters."""
    keys = tuple(column.name for column in table.primary_key.columns)
    return keys, tuple(column.name for column in table.columns)[len(keys) :]


def changes_of(deltas: Mapping[Values, Sequence[int]]) -> list[Values]:
    """Rows to add to a rollup, in the order in which they are locked, without those that change nothing."""
    return sorted((*key, *counts) for key, counts in deltas.items() if any(counts))


def delete_empty(cursor: Any, table: Table, mark: str, changed: Iterable[Values]) -> None:
    """Rows whose counters all came to zero go: a fresh count would not have them either."""
    keys, counters = keys_and_counters(table)
    size = len(keys)
    fallen = [row[:size] for row in changed if min(row[size:]) < 0]
    if fallen:
        where = " AND ".join([*(f"{key} = {mark}" for key in keys), *(f"{counter} = 0" for counter in counters)])
        cursor.executemany(f"DELETE FROM {table.name} WHERE {where}", fallen)  # noqa: S608


@cache
def update_run_sql(mark: str) -> str:
    changes = ", ".join(f'"{name}" = {mark}' for name in runs.c.keys()[1:])
    return f"UPDATE runs SET {changes} WHERE id = {mark}"  # noqa: S608
