"""One write transaction, on the driver's own cursor: what SQLite and PostgreSQL do differently stands here.

In: a `Store`. Out: a `Session` with the five things a writer needs: lock runs, read rows by a key, write rows, insert
what is missing, and add to counters. SQL is made from `schema.py`; the drivers are used directly, because building an
SQLAlchemy statement costs more than the rows of a batch.

Locks are taken in one order everywhere: runs (sorted), then names (sorted), then rows of those runs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from typing import Any, Final, Protocol

import psycopg
from psycopg import errors as pg
from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError

from heliograph_store.errors import StoreUnavailable
from heliograph_store.schema import runs
from heliograph_store.store import Store, unavailable

Values = tuple[Any, ...]


class TryAgain(Exception):
    """The database chose this transaction as the victim of a deadlock: run it again at once."""


class BadValue(Exception):
    """The database cannot hold one of the values (too large a number, a NUL in a text)."""


class Session(Protocol):
    """A write transaction. Everything is undone unless `write_session` leaves normally."""

    def lock(self, runs: Collection[str]) -> None:
        """Let no other writer touch these runs until the end of the transaction."""

    def select(self, table: Table, run: int, columns: tuple[str, ...], keys: Collection[Values]) -> list[Values]:
        """All columns of the rows of a run whose `columns` have the values of one of `keys`."""

    def select_tasks(self, table: Table, run: int, tasks: Collection[int]) -> list[Values]:
        """All columns of the rows of a run that belong to these tasks."""

    def look_up(self, table: Table, column: str, keys: Collection[Any]) -> list[Values]:
        """All columns of the rows whose `column` is one of `keys`."""

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        """Insert rows that are known not to be there."""

    def replace(self, table: Table, rows: Sequence[Values]) -> None:
        """Insert rows, or replace all columns of those that are there."""

    def insert_missing(self, table: Table, rows: Sequence[Values]) -> int:
        """Insert rows whose keys are not there yet; returns how many."""

    def add_names(self, table: Table, column: str, texts: Sequence[str]) -> None:
        """Insert texts into a dictionary (or `runs`) where they are missing; their ids come from `look_up`."""

    def update_run(self, values: Values) -> None:
        """Replace a row of `runs`, its id first."""

    def add(self, table: Table, deltas: Mapping[Values, int]) -> None:
        """Add to the counter that is the last column of the table; rows that come to zero vanish."""


@contextmanager
def write_session(store: Store) -> Iterator[Session]:
    """A session whose transaction commits at the end. Raises StoreUnavailable, TryAgain and BadValue."""
    with _our_errors(store.name), unavailable(store.name), store.engine.connect() as connection:
        raw = connection.connection.driver_connection
        if isinstance(raw, sqlite3.Connection):
            raw.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteSession(raw)
                raw.execute("COMMIT")
            except BaseException:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raise
        else:
            assert isinstance(raw, psycopg.Connection)  # noqa: S101 — the two drivers of `connect`
            with raw.transaction():
                yield PostgresSession(raw)


@contextmanager
def _our_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (pg.DeadlockDetected, pg.SerializationFailure) as error:
        raise TryAgain(str(error)) from error
    except (OverflowError, psycopg.DataError, sqlite3.DataError) as error:
        raise BadValue(str(error)) from error
    except (psycopg.Error, sqlite3.Error) as error:
        if isinstance(error, (psycopg.ProgrammingError, psycopg.IntegrityError, sqlite3.ProgrammingError)):
            raise
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise StoreUnavailable(f"{name}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
    except DBAPIError as error:
        raise StoreUnavailable(f"{name}: {error.orig}") from error


class SqliteSession:
    """SQLite: BEGIN IMMEDIATE is the lock, and keys travel as one JSON parameter."""

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

    def replace(self, table: Table, rows: Sequence[Values]) -> None:
        self._many("REPLACE", table, rows)

    def insert_missing(self, table: Table, rows: Sequence[Values]) -> int:
        return self._many("INSERT OR IGNORE", table, rows)

    def _many(self, verb: str, table: Table, rows: Sequence[Values]) -> int:
        if not rows:
            return 0
        marks = ",".join("?" * len(rows[0]))
        self._cursor.executemany(f"{verb} INTO {table.name} VALUES ({marks})", rows)
        return self._cursor.rowcount

    def add_names(self, table: Table, column: str, texts: Sequence[str]) -> None:
        self._cursor.executemany(
            f"INSERT INTO {table.name} ({column}) VALUES (?) ON CONFLICT DO NOTHING",  # noqa: S608
            [(text,) for text in texts],
        )

    def update_run(self, values: Values) -> None:
        self._cursor.execute(_update_run("?"), (*values[1:], values[0]))

    def add(self, table: Table, deltas: Mapping[Values, int]) -> None:
        changed = sorted((*key, delta) for key, delta in deltas.items() if delta)
        source = f"VALUES ({','.join('?' * len(table.columns))})"
        self._cursor.executemany(_add_sql(table, source), changed)
        _delete_empty(self._cursor, table, "?", changed)


def _json_keys(keys: Iterable[Values]) -> str:
    keys = list(keys)
    if any(isinstance(part, str) and "\0" in part for key in keys for part in key):
        raise BadValue("NUL in a text")  # SQLite would take it, and cut it in JSON: then the key is never found
    return json.dumps(keys)


class PostgresSession:
    """PostgreSQL: advisory locks on runs, COPY for new rows, COPY into a staging table for all others."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._cursor = connection.cursor()

    def lock(self, runs: Collection[str]) -> None:
        keys = sorted(run_lock_key(run) for run in runs)
        self._cursor.execute("SELECT pg_advisory_xact_lock(k) FROM unnest(%s::bigint[]) AS k", (keys,))

    def select(self, table: Table, run: int, columns: tuple[str, ...], keys: Collection[Values]) -> list[Values]:
        if not keys:
            return []
        arrays = [list(column) for column in zip(*keys, strict=True)]
        return self._cursor.execute(_postgres_select(table, columns), (*arrays, run)).fetchall()

    def select_tasks(self, table: Table, run: int, tasks: Collection[int]) -> list[Values]:
        if not tasks:
            return []
        sql = f"SELECT * FROM {table.name} WHERE run = %s AND task = ANY(%s::bigint[])"  # noqa: S608
        return self._cursor.execute(sql, (run, list(tasks))).fetchall()

    def look_up(self, table: Table, column: str, keys: Collection[Any]) -> list[Values]:
        if not keys:
            return []
        kind = _array_type(table, column)
        sql = f'SELECT * FROM {table.name} WHERE "{column}" = ANY(%s::{kind})'  # noqa: S608
        return self._cursor.execute(sql, (list(keys),)).fetchall()

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            self._copy(table.name, rows)

    def replace(self, table: Table, rows: Sequence[Values]) -> None:
        self._staged(table, rows, replace=True)

    def insert_missing(self, table: Table, rows: Sequence[Values]) -> int:
        return self._staged(table, rows, replace=False)

    def _staged(self, table: Table, rows: Sequence[Values], *, replace: bool) -> int:
        if not rows:
            return 0
        if len(rows) <= FEW:
            self._cursor.executemany(_upsert_values(table, replace=replace), rows)
            return self._cursor.rowcount
        self._cursor.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS stage_{table.name} (LIKE {table.name}) ON COMMIT DELETE ROWS"
        )
        self._copy(f"stage_{table.name}", rows)
        # The stage is emptied at commit; until then it may hold rows of the transaction's other runs.
        self._cursor.execute(_upsert_staged(table, replace=replace), (rows[0][0],))
        return self._cursor.rowcount

    def _copy(self, target: str, rows: Iterable[Values]) -> None:
        with self._cursor.copy(f"COPY {target} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def add_names(self, table: Table, column: str, texts: Sequence[str]) -> None:
        self._cursor.execute(
            f"INSERT INTO {table.name} ({column}) SELECT t FROM unnest(%s::text[]) AS t ORDER BY t "  # noqa: S608
            "ON CONFLICT DO NOTHING",
            (list(texts),),
        )

    def update_run(self, values: Values) -> None:
        self._cursor.execute(_update_run("%s"), (*values[1:], values[0]))

    def add(self, table: Table, deltas: Mapping[Values, int]) -> None:
        changed = sorted((*key, delta) for key, delta in deltas.items() if delta)
        if changed:
            source = f"SELECT * FROM unnest({', '.join(['%s::bigint[]'] * len(table.columns))})"  # noqa: S608
            columns = [list(column) for column in zip(*changed, strict=True)]
            self._cursor.execute(_add_sql(table, source), columns)
            _delete_empty(self._cursor, table, "%s", changed)


FEW: Final = 12
"""Up to so many rows, single statements cost less than a staging table."""


def run_lock_key(run: str) -> int:
    """The advisory lock of a run: from its name, because it may have no id yet."""
    return int.from_bytes(blake2b(b"heliograph " + run.encode(), digest_size=8).digest(), "big", signed=True)


@cache
def _add_sql(table: Table, source: str) -> str:
    *keys, counter = (column.name for column in table.columns)
    return (
        f"INSERT INTO {table.name} {source} "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {counter} = {table.name}.{counter} + excluded.{counter}"
    )


def _delete_empty(cursor: Any, table: Table, mark: str, changed: Iterable[Values]) -> None:
    """Counters that came to zero go: a fresh count would not have them either."""
    fallen = [row[:-1] for row in changed if row[-1] < 0]
    if fallen:
        *keys, counter = (column.name for column in table.columns)
        where = " AND ".join(f"{key} = {mark}" for key in keys)
        cursor.executemany(f"DELETE FROM {table.name} WHERE {where} AND {counter} = 0", fallen)  # noqa: S608


@cache
def _update_run(mark: str) -> str:
    changes = ", ".join(f'"{name}" = {mark}' for name in runs.c.keys()[1:])
    return f"UPDATE runs SET {changes} WHERE id = {mark}"  # noqa: S608


@cache
def _sqlite_select(table: str, columns: tuple[str, ...]) -> str:
    same = " AND ".join(f"t.\"{c}\" = json_extract(j.value, '$[{i}]')" for i, c in enumerate(columns))
    return f"SELECT t.* FROM json_each(?) AS j CROSS JOIN {table} AS t ON t.run = ? AND {same}"  # noqa: S608


@cache
def _postgres_select(table: Table, columns: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%s::{_array_type(table, column)}" for column in columns)
    keys = ", ".join(f"k{i}" for i in range(len(columns)))
    same = " AND ".join(f't."{column}" = k.k{i}' for i, column in enumerate(columns))
    return f"SELECT t.* FROM unnest({arrays}) AS k({keys}) JOIN {table.name} AS t ON t.run = %s AND {same}"  # noqa: S608


def _array_type(table: Table, column: str) -> str:
    return "text[]" if table.c[column].type.python_type is str else "bigint[]"


@cache
def _conflict(table: Table, *, replace: bool) -> str:
    keys = [c.name for c in table.primary_key.columns]
    rest = [c.name for c in table.columns if not c.primary_key]
    if not replace or not rest:
        return "ON CONFLICT DO NOTHING"
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in rest)
    return f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"


@cache
def _upsert_staged(table: Table, *, replace: bool) -> str:
    keys = ", ".join(c.name for c in table.primary_key.columns)
    return (
        f"INSERT INTO {table.name} SELECT * FROM stage_{table.name} WHERE run = %s ORDER BY {keys} "  # noqa: S608
        + _conflict(table, replace=replace)
    )


@cache
def _upsert_values(table: Table, *, replace: bool) -> str:
    marks = ", ".join(["%s"] * len(table.columns))
    return f"INSERT INTO {table.name} VALUES ({marks}) " + _conflict(table, replace=replace)  # noqa: S608
