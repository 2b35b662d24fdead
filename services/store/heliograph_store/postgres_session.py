"""A write transaction on PostgreSQL.

In: the driver's connection, in a transaction. Out: a `Session`: advisory locks on runs, COPY for rows known to be
new, COPY into a staging table for all others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any, Final

import psycopg
from psycopg import errors
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from heliograph_store.sql import Change, Values, add_sql, changes_of, delete_empty, update_run_sql

FEW: Final = 12
"""Up to so many rows, single statements cost less than a staging table."""

MEASURED: Final = frozenset({"samples", "node_samples"})


class PostgresSession:
    """See `session.Session`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._cursor = connection.cursor()
        # Every read here is by primary key. A plan made while a table was small would read all of it, and go on so;
        # and the penalty that keeps plans from it would make the server compile each staging query (JIT).
        settings = (("enable_seqscan", "off"), ("plan_cache_mode", "force_custom_plan"), ("jit", "off"))
        self._cursor.execute("SELECT " + ", ".join(f"set_config('{k}', '{v}', true)" for k, v in settings))

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
            self._copy(table, table.name, rows)

    def update(self, table: Table, changes: Sequence[Change]) -> None:
        self.replace(table, [now for _, now in changes])

    def replace(self, table: Table, rows: Sequence[Values]) -> None:
        self._staged(table, rows, replace=True)

    def insert_missing(self, table: Table, rows: Sequence[Sequence[Any]]) -> int:
        if len(rows) > FEW and table.name in MEASURED:
            # Samples come a second time only when a batch does: most often they can go straight in, for half the work.
            try:
                with self._cursor.connection.transaction():
                    self._copy(table, table.name, rows)
            except errors.UniqueViolation:
                pass
            else:
                return len(rows)
        return self._staged(table, rows, replace=False)

    def _staged(self, table: Table, rows: Sequence[Sequence[Any]], *, replace: bool) -> int:
        if not rows:
            return 0
        if len(rows) <= FEW:
            self._cursor.executemany(_upsert_values(table, replace=replace), rows)
            return self._cursor.rowcount
        self._cursor.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS stage_{table.name} (LIKE {table.name}) ON COMMIT DELETE ROWS"
        )
        self._copy(table, f"stage_{table.name}", rows)
        # The stage is emptied at commit; until then it may hold rows of the transaction's other runs.
        self._cursor.execute(_upsert_staged(table, replace=replace), (rows[0][0],))
        return self._cursor.rowcount

    def _copy(self, table: Table, target: str, rows: Iterable[Sequence[Any]]) -> None:
        # Binary: making texts of numbers costs three times as much here, and reading them again costs the server. The
        # driver cuts what is too large for a SMALLINT or an INTEGER: those hold flags, ranks and ids only.
        with self._cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(_types(table))
            for row in rows:
                copy.write_row(row)

    def add_names(self, table: Table, column: str, texts: Sequence[str]) -> None:
        self._cursor.execute(
            f"INSERT INTO {table.name} ({column}) SELECT t FROM unnest(%s::text[]) AS t ORDER BY t "  # noqa: S608
            "ON CONFLICT DO NOTHING",
            (list(texts),),
        )

    def clear(self, table: Table) -> None:
        self._cursor.execute(f"DELETE FROM {table.name}")  # noqa: S608

    def all_rows(self, table: Table) -> list[Values]:
        return self._cursor.execute(f"SELECT * FROM {table.name}").fetchall()  # noqa: S608

    def task_keys(self, run: int, after: int, limit: int) -> list[int]:
        sql = "SELECT task FROM tasks WHERE run = %s AND task > %s ORDER BY task LIMIT %s"
        return [row[0] for row in self._cursor.execute(sql, (run, after, limit)).fetchall()]

    def update_run(self, values: Values) -> None:
        self._cursor.execute(update_run_sql("%s"), (*values[1:], values[0]))

    def add(self, table: Table, deltas: Mapping[Values, Sequence[int]]) -> None:
        changed = changes_of(deltas)
        if changed:
            source = f"SELECT * FROM unnest({', '.join(['%s::bigint[]'] * len(table.columns))})"  # noqa: S608
            columns = [list(column) for column in zip(*changed, strict=True)]
            self._cursor.execute(add_sql(table, source), columns)
            delete_empty(self._cursor, table, "%s", changed)


def run_lock_key(run: str) -> int:
    """The advisory lock of a run: from its name, because it may have no id yet."""
    return int.from_bytes(blake2b(b"heliograph " + run.encode(), digest_size=8).digest(), "big", signed=True)


@cache
def _postgres_select(table: Table, columns: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%s::{_array_type(table, column)}" for column in columns)
    keys = ", ".join(f"k{i}" for i in range(len(columns)))
    same = " AND ".join(f't."{column}" = k.k{i}' for i, column in enumerate(columns))
    return f"SELECT t.* FROM unnest({arrays}) AS k({keys}) JOIN {table.name} AS t ON t.run = %s AND {same}"  # noqa: S608


def _array_type(table: Table, column: str) -> str:
    return "text[]" if table.c[column].type.python_type is str else "bigint[]"


@cache
def _types(table: Table) -> tuple[str, ...]:
    """PostgreSQL's names for the types of the columns."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return tuple(column.type.compile(dialect).lower() for column in table.columns)


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
