"""Backup, restore and upgrade with the commands of docs/howto/upgrade-backup.md, on both databases, under load."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from heliograph.bus import open_publisher
from heliograph_store.migrate import current, head
from heliograph_store.store import connect
from tests.fixtures.postgres import _programs
from tests.server.ingest import WriterProcess, batches, stored
from tests.store.fresh import expected_rollups, stored_rollups
from tests.store.test_upgrade import old, recorded

__all__ = ["old", "recorded"]
TASKS = 200


def heliograph(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")}
    command = [sys.executable, "-m", "heliograph.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def did(*words: str) -> str:
    ran = heliograph(*words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refused(*words: str) -> str:
    """The one line that a command says when it refuses."""
    ran = heliograph(*words)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    return ran.stderr


@pytest.fixture
def writer(database_url: str, tmp_path: Path) -> Iterator[WriterProcess]:
    """A writer that can be started on a new database, and is ended."""
    did("migrate", "--database", database_url)
    made = WriterProcess(bus=f"spool:{tmp_path / 'spool'}", database=database_url, folder=tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


def publish(bus: str, run: str, part: slice = slice(None)) -> None:
    with closing(open_publisher(bus, name=f"generator-{time.time_ns()}")) as publisher:
        for _, batch in list(batches(run, TASKS))[part]:
            publisher.publish([batch])


def wait_for(condition: Callable[[], bool], told: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.2)


def arrived(database: str, facts: int) -> set[tuple[str, int, str, int]]:
    """Wait until the store holds so many facts; more would be wrong."""
    wait_for(lambda: len(stored(database)) >= facts, lambda: f"{len(stored(database))} of {facts}")
    found = stored(database)
    assert len(found) == facts
    return found


def taken(bus: str) -> None:
    """Wait until the writer has acknowledged all that was on the bus."""
    spool = Path(bus.partition(":")[2])

    def left() -> list[Path]:
        return [path for part in ("new", "claims") for path in (spool / part).rglob("*.batch")]

    wait_for(lambda: not left(), left)


def sound(database: str) -> None:
    with closing(connect(database, read_only=True)) as store:
        assert stored_rollups(store) == expected_rollups(store)


def save(database: str, file: Path) -> None:
    """As the page says it, for either database."""
    if database.startswith("sqlite"):
        did("backup", str(file), "--database", database)
    else:
        command = [_programs() / "pg_dump", "--format=custom", f"--file={file}", database]
        subprocess.run(command, check=True, capture_output=True)


def bring_back(file: Path, database: str) -> None:
    if database.startswith("sqlite"):
        did("restore", str(file), "--replace", "--database", database)
    else:
        command = [_programs() / "pg_restore", "--clean", "--if-exists", f"--dbname={database}", file]
        subprocess.run(command, check=True, capture_output=True)


@pytest.mark.slow
def test_a_backup_under_load_is_whole_and_what_came_after_it_can_come_again(
    writer: WriterProcess, database_url: str, tmp_path: Path
) -> None:
    """What is sent again, all of it, is counted once."""
    everything = TASKS * 5
    writer.start()
    publish(writer.bus, "first")
    arrived(database_url, everything)
    publish(writer.bus, "second")
    save(database_url, tmp_path / "saved")
    both = arrived(database_url, 2 * everything)
    assert writer.stop() == 0

    bring_back(tmp_path / "saved", database_url)
    sound(database_url)
    kept = stored(database_url)
    assert {fact for fact in both if fact[0] == "first"} <= kept <= both
    did("migrate", "--database", database_url)
    publish(writer.bus, "second")
    writer.start()
    taken(writer.bus)
    assert arrived(database_url, 2 * everything) == both
    assert writer.stop() == 0
    sound(database_url)


def test_an_old_backup_is_restored_and_upgraded(old: str, tmp_path: Path) -> None:
    """The order of an upgrade: save, migrate; and the way back from it."""
    assert current(old) == "0001"
    save(old, tmp_path / "saved")
    assert did("migrate", "--database", old).strip() == f"schema {head()}"
    with closing(connect(old, read_only=True)) as store:
        upgraded = stored_rollups(store)
    if old.startswith("sqlite"):
        bring_back(tmp_path / "saved", old)
    else:  # into an empty database: tables that only the new version has are not in the dump
        _emptied(old)
        bring_back(tmp_path / "saved", old)
    assert current(old) == "0001"
    assert did("migrate", "--database", old).strip() == f"schema {head()}"
    sound(old)
    with closing(connect(old, read_only=True)) as store:
        assert stored_rollups(store) == upgraded


def _emptied(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")


@pytest.mark.slow
def test_a_writer_waits_for_the_upgrade_and_takes_nothing_before(old: str, tmp_path: Path) -> None:
    writer = WriterProcess(bus=f"spool:{tmp_path / 'spool'}", database=old, folder=tmp_path)
    publish(writer.bus, "new")
    waiting = sorted((tmp_path / "spool" / "new").rglob("*.batch"))
    writer.start()
    try:
        wait_for(lambda: "heliograph migrate" in writer.output(), writer.output)
        assert sorted((tmp_path / "spool" / "new").rglob("*.batch")) == waiting != []
        did("migrate", "--database", old)
        taken(writer.bus)
        assert len({fact for fact in stored(old) if fact[0] == "new"}) == TASKS * 5
    finally:
        writer.stop()
    sound(old)


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'heliograph.db'}"
    did("migrate", "--database", url)
    return url


def test_backups_are_for_their_owner_and_replaced_as_a_whole(database: str, tmp_path: Path) -> None:
    for _ in range(2):
        did("backup", str(tmp_path / "saved.db"), "--database", database)
        assert stat.S_IMODE((tmp_path / "saved.db").stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir() if "saved" in path.name} == {"saved.db"}


def test_nothing_is_restored_over_a_database_in_use_or_by_accident(writer: WriterProcess, tmp_path: Path) -> None:
    if not writer.database.startswith("sqlite"):
        assert "pg_restore" in refused("restore", str(tmp_path), "--database", writer.database)
        assert "pg_dump" in refused("backup", str(tmp_path / "saved"), "--database", writer.database)
        return
    did("backup", str(tmp_path / "saved.db"), "--database", writer.database)
    assert "--replace" in refused("restore", str(tmp_path / "saved.db"), "--database", writer.database)
    writer.start()
    publish(writer.bus, "run")
    arrived(writer.database, TASKS * 5)
    said = refused("restore", str(tmp_path / "saved.db"), "--replace", "--database", writer.database)
    assert "stop it first" in said
    arrived(writer.database, TASKS * 5)


def test_what_is_no_backup_of_ours_replaces_nothing(database: str, tmp_path: Path) -> None:
    live = tmp_path / "heliograph.db"
    before = live.read_bytes()
    files = {name: tmp_path / name for name in ("text", "empty", "foreign", "newer", "absent")}
    files["text"].write_text("no database" * 100)
    files["empty"].touch()
    shutil.copy(live, files["newer"])
    changes = {"newer": "UPDATE alembic_version SET version_num = '9999'", "foreign": "CREATE TABLE mine (a INTEGER)"}
    for name, change in changes.items():
        with closing(sqlite3.connect(files[name])) as connection, connection:
            connection.execute(change)
    for name, file in files.items():
        refused("restore", str(file), "--replace", "--database", database)
        assert live.read_bytes() == before, name
    assert "itself" in refused("backup", str(live), "--database", database)


def test_a_log_beside_the_old_database_is_not_taken_for_the_backups(database: str, tmp_path: Path) -> None:
    """A killed writer leaves one, and SQLite would apply it to whatever file stands there."""
    did("backup", str(tmp_path / "saved.db"), "--database", database)
    live = tmp_path / "heliograph.db"
    script = "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode=WAL'); "
    script += "c.execute(\"INSERT INTO apps (name) VALUES ('lost')\"); c.commit(); os._exit(9)"
    with suppress(subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", script, str(live)], check=True, capture_output=True)
    assert Path(f"{live}-wal").stat().st_size > 0
    did("restore", str(tmp_path / "saved.db"), "--replace", "--database", database)
    assert not Path(f"{live}-wal").exists()
    with closing(sqlite3.connect(live)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM apps WHERE name = 'lost'").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
