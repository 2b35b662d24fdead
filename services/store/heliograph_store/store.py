"""Opening a store: one URL in, one `Store` out, for SQLite and PostgreSQL.

In: `sqlite:///path` or `postgresql://user@host/database`. Out: a `Store` that hands out connections and turns the
drivers' errors into ours. Nothing is created or migrated here; `migrate` does that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from heliograph_store.errors import BadDatabaseUrl, NotHeliograph, StoreUnavailable

EXAMPLES = "use sqlite:////folder/monitoring.db or postgresql://user@host/database"
BUSY_MS = 30_000
"""How long SQLite waits for another writer before it gives up."""
APPLICATION_ID = 0x48454C49
"""'HELI' in the file's head: how an SQLite file is known as ours before anything is done to it."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """An open database. Safe to share between threads: every `connection` is one of the pool's own."""

    engine: Engine = field(repr=False)
    name: str
    """The URL without user information, for logs."""
    path: Path | None
    """The file, for SQLite."""
    read_only: bool = False

    @property
    def sqlite(self) -> bool:
        return self.path is not None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for reading; what is pending is rolled back at the end. Raises StoreUnavailable."""
        with unavailable(self.name), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction that commits at the end and rolls back on any exception."""
        with unavailable(self.name), self.engine.connect() as connection:
            connection.execution_options(heliograph_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self.engine.dispose()


def connect(url: str, *, read_only: bool = False) -> Store:
    """Open the store of this URL. Raises BadDatabaseUrl; an unreachable server shows at the first use."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        return Store(engine=_sqlite(path, read_only), name=f"sqlite:///{path}", path=path, read_only=read_only)
    engine = create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_size=4,
        max_overflow=12,
        connect_args={
            "connect_timeout": 10,
            "application_name": "heliograph",
            "options": "-c default_transaction_read_only=on -c timezone=UTC" if read_only else "-c timezone=UTC",
        },
        hide_parameters=True,
    )
    shown = URL.create("postgresql", host=parsed.host, port=parsed.port, database=parsed.database)
    return Store(engine=engine, name=str(shown), path=None, read_only=read_only)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The driver's text would repeat the URL, with its password.
        raise BadDatabaseUrl(f"this is not a database URL; {EXAMPLES}") from None
    if parsed.drivername not in {"sqlite", "postgresql", "postgres", "postgresql+psycopg"}:
        raise BadDatabaseUrl(f"database URL of unknown kind {parsed.drivername!r}; {EXAMPLES}")
    if parsed.drivername == "sqlite":
        if parsed.host or not parsed.database or parsed.database == ":memory:":
            raise BadDatabaseUrl(f"an SQLite URL names a file after three slashes; {EXAMPLES}")
        if Path(parsed.database).is_dir():
            raise BadDatabaseUrl(f"{parsed.database} is a folder; {EXAMPLES}")
    elif not parsed.database:
        raise BadDatabaseUrl(f"a PostgreSQL URL names a database; {EXAMPLES}")
    return parsed


def _sqlite(path: Path, read_only: bool) -> Engine:
    uri = f"file:{quote(str(path))}" + ("?mode=ro" if read_only else "")

    def open_file() -> sqlite3.Connection:
        # isolation_level None: we say BEGIN ourselves (the driver's own BEGIN is deferred, and would deadlock).
        return sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False, cached_statements=256
        )

    engine = create_engine("sqlite://", creator=open_file, poolclass=QueuePool, pool_size=4, max_overflow=12)

    @event.listens_for(engine, "connect")
    def settle(dbapi: sqlite3.Connection, _record: object) -> None:
        cursor = dbapi.cursor()
        if read_only:
            _look(cursor, path)
            cursor.execute("PRAGMA query_only=ON")
        else:
            _claim(cursor, path)
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            # 32 MB instead of 4: pages that many batches change (rollups, the newest tasks) go to the file less often.
            cursor.execute("PRAGMA wal_autocheckpoint=8000")
        cursor.execute("PRAGMA cache_size=-32768")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails when another one wrote in between: take the lock first.
        writes = connection.get_execution_options().get("heliograph_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _claim(cursor: sqlite3.Cursor, path: Path) -> None:
    """Mark an empty file as ours; refuse one of somebody else before anything in it changes."""
    pages, mark = _look(cursor, path)
    if pages == 0:
        cursor.execute(f"PRAGMA application_id={APPLICATION_ID}")
    elif mark != APPLICATION_ID:
        raise NotHeliograph(f"{path} is a database of something else; it was not touched")


def _look(cursor: sqlite3.Cursor, path: Path) -> tuple[int, int]:
    """How many pages the file has, and whose mark."""
    try:
        pages, mark = (cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "application_id"))
    except sqlite3.OperationalError:
        raise  # locked, or cannot be opened: that passes
    except sqlite3.DatabaseError as error:
        raise NotHeliograph(f"{path} is not a sound SQLite database ({error}); it was not touched") from error
    return pages, mark


@contextmanager
def unavailable(name: str) -> Iterator[None]:
    """Turn 'the database does not answer' into StoreUnavailable; programming errors stay what they are."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"{name}: {_first_line(error.orig)}") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable(f"{name}: {_first_line(error.orig)}") from error
        raise


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
