"""SQL that both databases share, made once from `schema.py`, and what a transaction can fail with.

In: tables. Out: statement texts with the driver's own parameter marks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Table

from heliograph_store.schema import runs

Values = tuple[Any, ...]


class TryAgain(Exception):
    """The database chose this transaction as the victim of a deadlock: run it again at once."""


class BadValue(Exception):
    """The database cannot hold one of the values (too large a number, a NUL in a text)."""


@cache
def add_sql(table: Table, source: str) -> str:
    *keys, counter = (column.name for column in table.columns)
    return (
        f"INSERT INTO {table.name} {source} "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {counter} = {table.name}.{counter} + excluded.{counter}"
    )


def delete_empty(cursor: Any, table: Table, mark: str, changed: Iterable[Values]) -> None:
    """Counters that came to zero go: a fresh count would not have them either."""
    fallen = [row[:-1] for row in changed if row[-1] < 0]
    if fallen:
        *keys, counter = (column.name for column in table.columns)
        where = " AND ".join(f"{key} = {mark}" for key in keys)
        cursor.executemany(f"DELETE FROM {table.name} WHERE {where} AND {counter} = 0", fallen)  # noqa: S608


@cache
def update_run_sql(mark: str) -> str:
    changes = ", ".join(f'"{name}" = {mark}' for name in runs.c.keys()[1:])
    return f"UPDATE runs SET {changes} WHERE id = {mark}"  # noqa: S608
