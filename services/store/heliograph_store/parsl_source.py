"""Reads the rows of an old Parsl monitoring database, and nothing else: no write, no lock beyond a reader's.

In: the URL of a `monitoring.db` (SQLite) or of a PostgreSQL database that Parsl wrote. Out: rows as dicts in a stable
order, times as naive `datetime` in the local time of the host that ran the workflow. Tables and columns that an older
Parsl did not have are absent from the dicts.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

Row = Mapping[str, Any]
CHUNK = 2000
"""Rows fetched at a time from one table."""


class NotParslDatabase(ValueError):
    """This is not a monitoring database of Parsl's, or it cannot be read. The text says which and why."""


class OldDatabase:
    """A Parsl monitoring database, opened for reading only. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self._engine = _read_only_engine(url)
        try:
            with closing(self._engine.connect()) as connection:
                inspector = sa.inspect(connection)
                tables = set(inspector.get_table_names())
                self._columns = {t: [c["name"] for c in inspector.get_columns(t)] for t in tables}
        except sa.exc.DBAPIError as error:
            self.close()
            raise NotParslDatabase(f"cannot read the database: {error.orig}") from error
        if "workflow" not in tables or "run_id" not in self._columns["workflow"]:
            self.close()
            ours = "a Heliograph database" if "runs" in tables else "no table `workflow`"
            raise NotParslDatabase(f"not a monitoring database of Parsl's: {ours}")

    def close(self) -> None:
        self._engine.dispose()

    def workflows(self) -> list[Row]:
        """All runs, oldest first."""
        return list(self.rows("workflow", order="time_began, run_id"))

    def rows(self, table: str, *, run: str | None = None, order: str) -> Iterator[Row]:
        """Rows of a table (of one run) in this order, streamed. Nothing when an older Parsl did not have the table.

        `order` names columns; those that the table lacks are left out. A time stays as the database gives it: text on
        SQLite, `datetime` on PostgreSQL; `moment` reads both.
        """
        columns = self._columns.get(table)
        if not columns or (run is not None and "run_id" not in columns):
            return
        relation = sa.table(table, *(sa.column(c) for c in columns))
        wanted = [relation.c[name.strip()] for name in order.split(",") if name.strip() in columns]
        query = sa.select(relation).order_by(*wanted)
        if run is not None:
            query = query.where(relation.c.run_id == run)
        yield from self._stream(query)

    def pids(self, run: str) -> Iterator[Row]:
        """The process of each try that was sampled: task_id, try_id, pid; in that order."""
        columns = self._columns.get("resource", [])
        if "psutil_process_pid" not in columns or "try_id" not in columns:
            return
        r = sa.table("resource", *(sa.column(c) for c in ("run_id", "task_id", "try_id", "psutil_process_pid")))
        key = (r.c.task_id, r.c.try_id)
        newest = sa.func.max(r.c.psutil_process_pid).label("pid")
        yield from self._stream(sa.select(*key, newest).where(r.c.run_id == run).group_by(*key).order_by(*key))

    def _stream(self, query: sa.Select[Any]) -> Iterator[Row]:
        with closing(self._engine.connect()) as connection:
            result = connection.execution_options(yield_per=CHUNK).execute(query)
            for row in result.mappings():
                yield dict(row)


def moment(value: object) -> datetime | None:
    """A naive local time as Parsl stored it, None when there is none or it is not a time."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).replace(tzinfo=None)
    except ValueError:
        return None


def identity(url: str) -> str:
    """What names this database in record ids: the real path for SQLite, the URL without its credentials otherwise."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return os.path.realpath(parsed.database or "")
    return parsed.set(drivername="postgresql", username=None, password=None, query={}).render_as_string()


def _read_only_engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise NotParslDatabase("not a database URL; sqlite:////full/path/monitoring.db is one") from error
    if backend == "postgresql":
        engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"), poolclass=sa.pool.NullPool)
        return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    if backend != "sqlite":
        raise NotParslDatabase(f"cannot import from {backend}: only from SQLite and PostgreSQL")
    path = os.path.realpath(parsed.database or "")
    if not os.path.isfile(path):
        raise NotParslDatabase(f"no such file: {path}")
    # `mode=ro` makes SQLite refuse any write, a rollback of a hot journal included.
    address = f"file:{quote(path)}?mode=ro"
    return sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(address, uri=True), poolclass=sa.pool.NullPool)
