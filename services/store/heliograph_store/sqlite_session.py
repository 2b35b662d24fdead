"""A write transaction on SQLite.

In: the driver's connection, in BEGIN IMMEDIATE: that is the lock, for there is one writer at a time. Out: a `Session`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import compress
from operator import ne
from types import NoneType
from typing import Any, Final

from sqlalchemy import Table

from heliograph_store.sql import BadValue, Change, Values, add_sql, changes_of, delete_empty, update_run_sql

TOGETHER: Final = 16
"""Rows in one statement."""

# The driver asks what to make of every None, looks in vain for two methods, and writes an error message about each that
# nobody reads: 0.4 µs a value, ten times what a number takes. With an adapter that gives None back it does not look.
sqlite3.register_adapter(NoneType, {None: None}.__getitem__)


class SqliteSession:
    """See `session.Session`. Keys travel as one JSON parameter, whatever their number."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()

    def lock(self, runs: Collection[str]) -> None:
        pass  # there is one writer at a time

    def select(self, table: Table, run: int, columns: tuple[str, ...], keys: Collection[Values]) -> list[Values]:
        if not keys:
            return []
        return self._cursor.execute(_sqlite_select(table.name, columns), (_json_keys(keys), run)).fetchall()

    def select_tasks(self, table: Table, run: int, tasks: Collection[int]) -> list[Values]:
        if not tasks:
            return []
        sql = f"SELECT t.* FROM json_each(?) AS j CROSS JOIN {table.name} AS t ON t.run = ? AND t.task = j.value"  # noqa: S608
        return self._cursor.execute(sql, (json.dumps(list(tasks)), run)).fetchall()

    def look_up(self, table: Table, column: str, keys: Collection[Any]) -> list[Values]:
        if not keys:
            return []
        same = f"t.{column} = json_extract(j.value, '$[0]')"
        sql = f"SELECT t.* FROM json_each(?) AS j CROSS JOIN {table.name} AS t ON {same}"  # noqa: S608
        return self._cursor.execute(sql, (_json_keys([(key,) for key in keys]),)).fetchall()

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        self._many("INSERT", table, rows)

    def update(self, table: Table, changes: Sequence[Change]) -> None:
        # Rows that changed in the same columns share a statement: it leaves all indexes of other columns alone, where
        # REPLACE would take a row out of every index and put it in again.
        keys = len(table.primary_key.columns)
        groups: defaultdict[tuple[bool, ...], list[Values]] = defaultdict(list)
        for before, now in changes:
            mask = tuple(map(ne, before, now))
            groups[mask].append((*compress(now, mask), *now[:keys]))
        for mask, rows in groups.items():
            self._cursor.executemany(_update_sql(table, mask), rows)

    def replace(self, table: Table, rows: Sequence[Values]) -> None:
        self._many("REPLACE", table, rows)

    def insert_missing(self, table: Table, rows: Sequence[Sequence[Any]]) -> int:
        return self._many("INSERT OR IGNORE", table, rows)

    def _many(self, verb: str, table: Table, rows: Sequence[Sequence[Any]]) -> int:
        if not rows:
            return 0
        # Many rows to a statement: opening cursors and leaving the interpreter for each row costs a quarter of it all.
        marks, whole = f"({','.join('?' * len(rows[0]))})", len(rows) // TOGETHER * TOGETHER
        sql = f"{verb} INTO {table.name} VALUES "
        self._cursor.executemany(
            sql + ",".join([marks] * TOGETHER),
            (_flat(rows[at : at + TOGETHER]) for at in range(0, whole, TOGETHER)),
        )
        written = self._cursor.rowcount if whole else 0
        if whole < len(rows):
            self._cursor.executemany(sql + marks, rows[whole:])
            written += self._cursor.rowcount
        return written

    def add_names(self, table: Table, column: str, texts: Sequence[str]) -> None:
        self._cursor.executemany(
            f"INSERT INTO {table.name} ({column}) VALUES (?) ON CONFLICT DO NOTHING",  # noqa: S608
            [(text,) for text in texts],
        )

    def clear(self, table: Table) -> None:
        self._cursor.execute(f"DELETE FROM {table.name}")  # noqa: S608

    def all_rows(self, table: Table) -> list[Values]:
        return self._cursor.execute(f"SELECT * FROM {table.name}").fetchall()  # noqa: S608

    def task_keys(self, run: int, after: int, limit: int) -> list[int]:
        sql = "SELECT task FROM tasks WHERE run = ? AND task > ? ORDER BY task LIMIT ?"
        return [row[0] for row in self._cursor.execute(sql, (run, after, limit)).fetchall()]

    def update_run(self, values: Values) -> None:
        self._cursor.execute(update_run_sql("?"), (*values[1:], values[0]))

    def add(self, table: Table, deltas: Mapping[Values, Sequence[int]]) -> None:
        changed = changes_of(deltas)
        source = f"VALUES ({','.join('?' * len(table.columns))})"
        self._cursor.executemany(add_sql(table, source), changed)
        delete_empty(self._cursor, table, "?", changed)


def _flat(rows: Sequence[Sequence[Any]]) -> list[Any]:
    """The values of all these rows. (`itertools.chain` hands on one value at a time, and takes half as long again.)"""
    flat: list[Any] = []
    for row in rows:
        flat += row
    return flat


def _json_keys(keys: Iterable[Values]) -> str:
    keys = list(keys)
    if any(isinstance(part, str) and "\0" in part for key in keys for part in key):
        raise BadValue("NUL in a text")  # SQLite would take it, and cut it in JSON: then the key is never found
    return json.dumps(keys)


@lru_cache(maxsize=1024)
def _update_sql(table: Table, mask: tuple[bool, ...]) -> str:
    changes = ", ".join(f"{name} = ?" for name in compress(table.c.keys(), mask))
    keys = " AND ".join(f"{column.name} = ?" for column in table.primary_key.columns)
    return f"UPDATE {table.name} SET {changes} WHERE {keys}"  # noqa: S608


@cache
def _sqlite_select(table: str, columns: tuple[str, ...]) -> str:
    same = " AND ".join(f"t.\"{c}\" = json_extract(j.value, '$[{i}]')" for i, c in enumerate(columns))
    return f"SELECT t.* FROM json_each(?) AS j CROSS JOIN {table} AS t ON t.run = ? AND {same}"  # noqa: S608
