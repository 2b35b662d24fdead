"""One write transaction, on the driver's own cursor, the same for a writer on SQLite and on PostgreSQL.

In: a `Store`. Out: a `Session` with the five things a writer needs: lock runs, read rows by a key, write rows, insert
what is missing, and add to counters. SQL is made from `schema.py`; the drivers are used directly, because building an
SQLAlchemy statement costs more than the rows of a batch.

Locks are taken in one order everywhere: runs (sorted), then names (sorted), then rows of those runs.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg
from psycopg import errors as pg
from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError

from heliograph_store.errors import StoreUnavailable
from heliograph_store.postgres_session import PostgresSession
from heliograph_store.sql import BadValue, Change, TryAgain, Values
from heliograph_store.sqlite_session import SqliteSession
from heliograph_store.store import Store, unavailable


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

    def update(self, table: Table, changes: Sequence[Change]) -> None:
        """Write rows that are known to be there and to have changed."""

    def replace(self, table: Table, rows: Sequence[Values]) -> None:
        """Insert rows, or replace all columns of those that are there."""

    def insert_missing(self, table: Table, rows: Sequence[Sequence[Any]]) -> int:
        """Insert rows whose keys are not there yet; returns how many."""

    def add_names(self, table: Table, column: str, texts: Sequence[str]) -> None:
        """Insert texts into a dictionary (or `runs`) where they are missing; their ids come from `look_up`."""

    def update_run(self, values: Values) -> None:
        """Replace a row of `runs`, its id first."""

    def add(self, table: Table, deltas: Mapping[Values, Sequence[int]]) -> None:
        """Add to the counters of a rollup (its columns beyond the key); rows that come to zero vanish."""

    def clear(self, table: Table) -> None:
        """Delete all rows."""

    def all_rows(self, table: Table) -> list[Values]:
        """All columns of all rows."""

    def task_keys(self, run: int, after: int, limit: int) -> list[int]:
        """The next keys of a run's tasks."""


@contextmanager
def write_session(store: Store) -> Iterator[Session]:
    """A session whose transaction commits at the end. Raises StoreUnavailable, TryAgain and BadValue."""
    with _our_errors(store.name), unavailable(store.name), store.engine.connect() as connection:
        raw = connection.connection.driver_connection
        if isinstance(raw, sqlite3.Connection):
            raw.execute("BEGIN IMMEDIATE")
            try:
                yield session_on(raw)
                raw.execute("COMMIT")
            except BaseException:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                raise
        else:
            assert isinstance(raw, psycopg.Connection)  # noqa: S101 — the two drivers of `connect`
            with raw.transaction():
                yield session_on(raw)


def session_on(connection: sqlite3.Connection | psycopg.Connection[Any]) -> Session:
    """A session in a transaction that somebody else began and will end."""
    return SqliteSession(connection) if isinstance(connection, sqlite3.Connection) else PostgresSession(connection)


@contextmanager
def _our_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (pg.DeadlockDetected, pg.SerializationFailure) as error:
        raise TryAgain(str(error)) from error
    # A text too long for an index is, for the driver, a server that does not work.
    except (OverflowError, struct.error, psycopg.DataError, sqlite3.DataError, pg.ProgramLimitExceeded) as error:
        raise BadValue(str(error)) from error
    except (psycopg.Error, sqlite3.Error) as error:
        if isinstance(error, (psycopg.ProgrammingError, psycopg.IntegrityError, sqlite3.ProgrammingError)):
            raise
        if isinstance(error, sqlite3.IntegrityError):
            raise
        raise StoreUnavailable(f"{name}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
    except DBAPIError as error:
        raise StoreUnavailable(f"{name}: {error.orig}") from error
