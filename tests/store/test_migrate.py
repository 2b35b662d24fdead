"""Migrations: from nothing to this version's schema, by any number of processes, never on others' databases."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from heliograph_store import schema
from heliograph_store.errors import BadDatabaseUrl, NeedsMigration, NewerDatabase, NotHeliograph, StoreUnavailable
from heliograph_store.migrate import check, current, head, migrate
from heliograph_store.store import connect
from heliograph_store.views import VIEWS


def test_makes_exactly_the_declared_schema(database_url: str) -> None:
    assert current(database_url) is None
    assert migrate(database_url) == head() == current(database_url)
    store = connect(database_url)
    with store.connection() as connection:
        found = inspect(connection)
        assert set(found.get_view_names()) >= set(VIEWS)
        assert set(found.get_table_names()) == {*schema.metadata.tables, "alembic_version"}
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        for view in VIEWS:
            assert connection.execute(text(f'SELECT * FROM "{view}"')).all() == []
    check(store)
    store.close()


def test_migrating_again_keeps_what_is_there(database_url: str) -> None:
    migrate(database_url)
    store = connect(database_url)
    with store.transaction() as connection:
        connection.execute(schema.runs.insert().values(run="r"))
    assert migrate(database_url) == head()
    with store.connection() as connection:
        assert connection.scalars(text("SELECT run FROM runs")).all() == ["r"]
    store.close()


def test_several_processes_migrate_at_once(database_url: str) -> None:
    program = f"from heliograph_store.migrate import migrate; print(migrate({database_url!r}))"
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, head()), err


def test_importing_the_package_touches_nothing(tmp_path: Path) -> None:
    program = "import heliograph_store.migrate, heliograph_store.write, heliograph_store.views"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_newer_database_is_refused_and_kept(database_url: str) -> None:
    migrate(database_url)
    store = connect(database_url)
    with store.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (lambda: migrate(database_url), lambda: current(database_url), lambda: check(store)):
        with pytest.raises(NewerDatabase, match="written by a newer Heliograph"):
            attempt()
    store.close()


def test_a_database_without_schema_needs_migration(database_url: str) -> None:
    store = connect(database_url)
    with pytest.raises(NeedsMigration, match="heliograph migrate"):
        check(store)
    store.close()


def foreign(path: Path) -> bytes:
    """A database with Parsl's table names, as its monitoring makes it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE workflow (run_id TEXT PRIMARY KEY)")
        connection.execute("INSERT INTO workflow VALUES ('old')")
        connection.commit()
    return path.read_bytes()


def test_a_database_of_parsl_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "monitoring.db"
    before = foreign(path)
    url = f"sqlite:///{path}"
    for attempt in (lambda: migrate(url), lambda: current(url), lambda: connect(url).transaction().__enter__()):
        with pytest.raises(NotHeliograph, match="something else"):
            attempt()
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("monitoring.db-*"))


def test_a_foreign_postgresql_database_is_not_touched(postgres_url: str) -> None:
    store = connect(postgres_url)
    with store.transaction() as connection:
        connection.execute(text("CREATE TABLE workflow (run_id TEXT)"))
    with pytest.raises(NotHeliograph, match="workflow"):
        migrate(postgres_url)
    with store.connection() as connection:
        assert inspect(connection).get_table_names() == ["workflow"]
    store.close()


def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at\n" * 40)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(NotHeliograph, match="not touched"):
        migrate(f"sqlite:///{path}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mysql://h/d",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:////",
        "postgresql://host",
    ],
)
def test_wrong_urls_say_what_is_right(url: str) -> None:
    with pytest.raises(BadDatabaseUrl, match="use sqlite:///"):
        connect(url)


def test_no_error_repeats_the_password(tmp_path: Path) -> None:
    secret = "hunter2"
    with pytest.raises(BadDatabaseUrl) as bad:
        connect(f"postgresql://user:{secret}@host:notaport/db")
    store = connect(f"postgresql://user:{secret}@127.0.0.1:1/db")
    with pytest.raises(StoreUnavailable) as unreachable, store.connection():
        pass
    assert secret not in f"{bad.value} {unreachable.value} {store!r} {store.name}"


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="missing"):
        migrate(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")
