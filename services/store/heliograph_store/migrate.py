"""Bringing a database to this version's schema.

In: a database URL. Out: the same database with every revision of `migrations/` applied, however many processes do it
at once. A database of somebody else, or of a newer version, is left as it is.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, select, text

from heliograph_store.errors import NeedsMigration, NewerDatabase, NotHeliograph, StoreUnavailable
from heliograph_store.rebuild import rebuild
from heliograph_store.schema import meta, metadata
from heliograph_store.session import session_on
from heliograph_store.store import Store, connect
from heliograph_store.views import renew_views

APPLICATION: Final = "heliograph"
_ADVISORY: Final = 0x48454C494F  # 'HELIO': the same for every version, or two of them would not exclude each other


def migrate(url: str) -> str:
    """Create or upgrade the schema; returns the revision. Doing it again, or twice at once, does no harm.

    Raises NotHeliograph, NewerDatabase, StoreUnavailable, BadDatabaseUrl.
    """
    store = connect(url)
    try:
        with _alone(store), store.transaction() as connection:
            if not store.sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY})
            revision = _revision(connection)
            if revision != head():
                _upgrade(connection)
                _complete(connection, derive=revision is not None and _derives_since(revision))
            return head()
    finally:
        store.close()


def current(url: str) -> str | None:
    """The revision of a database, None when it is empty or not there. Raises NotHeliograph, NewerDatabase."""
    store = connect(url, read_only=True)
    try:
        if store.path is not None and not _has_content(store.path):
            return None
        with store.connection() as connection:
            return _revision(connection)
    finally:
        store.close()


def check(store: Store) -> None:
    """Say before the work begins that this database is not what this version needs. Raises NeedsMigration as well."""
    if store.path is not None and not store.path.exists():
        raise NeedsMigration(f"there is no file {store.path}; `heliograph migrate` would make an empty database there")
    if store.path is not None and not _has_content(store.path):
        raise NeedsMigration(f"{store.name} has no schema yet: run `heliograph migrate`")
    with store.connection() as connection:
        found = _revision(connection)
    if found != head():
        raise NeedsMigration(
            f"{store.name} has schema {found or 'none'}, this version needs {head()}: run `heliograph migrate`"
        )


def head() -> str:
    """The newest revision that this version knows."""
    newest = _scripts().get_current_head()
    assert newest is not None, "migrations/versions is part of the package"  # noqa: S101
    return newest


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    present = set(inspect(connection).get_table_names())
    if not present:
        return None
    if meta.name not in present or "alembic_version" not in present or not _ours(connection):
        example = ", ".join(sorted(present)[:4])
        raise NotHeliograph(f"the database already holds something else (tables {example}); it was not touched")
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and revision not in {script.revision for script in _scripts().walk_revisions()}:
        made_by = connection.scalar(select(meta.c.value).where(meta.c.key == "created_by"))
        raise NewerDatabase(
            f"the database was written by a newer Heliograph (schema {revision}, created by {made_by}; "
            f"this version knows up to {head()}): install the newer version"
        )
    return revision


def _ours(connection: Connection) -> bool:
    columns = {column["name"] for column in inspect(connection).get_columns(meta.name)}
    if not {"key", "value"} <= columns:
        return False
    return connection.scalar(select(meta.c.value).where(meta.c.key == "application")) == APPLICATION


def _upgrade(connection: Connection) -> None:
    scripts = _scripts()

    def steps(revision: Any, _context: MigrationContext) -> Any:
        return scripts._upgrade_revs("head", revision)  # alembic.command.upgrade does the same

    with EnvironmentContext(_config(), scripts, fn=steps, destination_rev="head") as environment:
        environment.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
        environment.run_migrations()


def _derives_since(revision: str) -> bool:
    """Whether one of the revisions after this one changed what is derived."""
    return any(script.module.DERIVES for script in _scripts().iterate_revisions("head", revision))


def _complete(connection: Connection, *, derive: bool) -> None:
    """What needs no revisions, because it follows from the tables: views, and derived columns and rollups."""
    for statement in renew_views(connection.dialect.name):
        connection.execute(text(statement))
    if derive:
        raw = connection.connection.driver_connection
        assert isinstance(raw, (sqlite3.Connection, psycopg.Connection))  # noqa: S101 — the two drivers of `connect`
        rebuild(session_on(raw))


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """On SQLite no other process may migrate at the same time; by a lock of its own, since a writer may hold the
    other one. The kernel gives it back when the process dies."""
    if store.path is None:
        yield
        return
    try:
        lock = os.open(f"{store.path}.migrate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{store.name}: {error}") from error
    try:
        _wait_for(lock, store.name)
        yield
    finally:
        os.close(lock)


def _wait_for(lock: int, name: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise StoreUnavailable(f"{name}: {error}") from error
