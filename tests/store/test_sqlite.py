"""SQLite as a store: crashes, locks, several processes, network file systems, snapshots, a full or broken disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select, text

from heliograph.messages import TaskState
from heliograph_store import schema
from heliograph_store.errors import NotHeliograph, StoreUnavailable
from heliograph_store.filesystem import network_filesystem
from heliograph_store.maintenance import checkpoint
from heliograph_store.migrate import migrate
from heliograph_store.snapshot import publish_snapshot
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.fresh import expected_rollups, stored_rollups
from tests.store.stream import START, batch, batches, content, numbered, recorded_run


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'heliograph.db'}"
    migrate(url)
    opened = connect(url)
    yield opened
    opened.close()


def pragma(store: Store, name: str) -> object:
    with store.connection() as connection:
        return connection.scalar(text(f"PRAGMA {name}"))


def test_is_durable(store: Store) -> None:
    assert (pragma(store, "journal_mode"), pragma(store, "synchronous")) == ("wal", 2)


def test_a_reader_cannot_write_and_does_not_wait_for_a_writer(store: Store) -> None:
    reader = connect(f"sqlite:///{store.path}", read_only=True)
    with store.transaction() as writing:
        writing.execute(schema.runs.insert().values(run="r"))
        with reader.connection() as connection:
            assert connection.execute(select(schema.runs)).all() == []
            with pytest.raises(Exception, match="readonly"):
                connection.execute(schema.runs.insert().values(run="x"))
    reader.close()


def test_a_failing_write_rolls_back_wholly(store: Store) -> None:
    with store.transaction() as connection:  # the last thing that a write does fails, once
        connection.execute(
            text("CREATE TRIGGER broken BEFORE INSERT ON run_buckets BEGIN SELECT RAISE(ABORT, 'full'); END")
        )
    stream = batches(numbered(recorded_run(Random(1), tasks=10)), 100)
    writer = Writer(store)
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        writer.write(stream)
    assert not any(content(store).values())
    with store.transaction() as connection:
        connection.execute(text("DROP TRIGGER broken"))
    writer.write(stream)  # what the failed transaction had learnt is forgotten
    assert stored_rollups(store) == expected_rollups(store)
    assert len(content(store)["tasks"]) == 10


WRITING = """
import sys
from random import Random
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.store.stream import batches, numbered, recorded_run
writer = Writer(connect(sys.argv[1]))
for batch in batches(numbered(recorded_run(Random(5), tasks=400)), 40):
    writer.write([batch])
    print("written", flush=True)
"""


def test_killed_at_any_moment_and_written_again(store: Store, tmp_path: Path) -> None:
    whole = f"sqlite:///{tmp_path / 'whole.db'}"
    migrate(whole)
    reference = connect(whole)
    Writer(reference).write(batches(numbered(recorded_run(Random(5), tasks=400)), 10**6))
    for lines in (1, 9, 30):
        command = [sys.executable, "-c", WRITING, f"sqlite:///{store.path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert stored_rollups(store) == expected_rollups(store)
    subprocess.run([sys.executable, "-c", WRITING, f"sqlite:///{store.path}"], check=True, stdout=subprocess.DEVNULL)
    assert content(store) == content(reference)
    reference.close()


def test_a_broken_database_keeps_the_messages(store: Store) -> None:
    assert store.path is not None
    store.engine.dispose()
    for name in ("", "-wal", "-shm"):
        store.path.with_name(store.path.name + name).unlink(missing_ok=True)
    store.path.mkdir()  # something is in the way of the file
    with pytest.raises(StoreUnavailable):
        Writer(store).write([batch([TaskState(at=START, origin="o", number=1, try_=0, state="pending")])])


def test_a_full_disk_is_unavailable_and_passes(store: Store) -> None:
    stream = batches(numbered(recorded_run(Random(1), tasks=200)), 10**6)
    limited = connect(f"sqlite:///{store.path}")
    with limited.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA max_page_count = 45")  # SQLite's own 'database or disk is full'
    with pytest.raises(StoreUnavailable, match="full"):
        Writer(limited).write(stream)
    assert content(store)["tasks"] == []
    limited.close()
    Writer(store).write(stream)
    assert len(content(store)["tasks"]) == 200


def test_a_snapshot_is_whole_and_needs_nothing_beside_it(store: Store, tmp_path: Path) -> None:
    stream = batches(numbered(recorded_run(Random(2), tasks=20)), 50)
    writer = Writer(store)
    writer.write(stream[:1])
    folder = tmp_path / "shared"
    folder.mkdir()
    target = folder / "monitoring.db"
    assert publish_snapshot(store, target) == target.stat().st_size
    writer.write(stream)
    publish_snapshot(store, target)
    assert [path.name for path in folder.iterdir()] == ["monitoring.db"]
    folder.chmod(0o555)
    copy = connect(f"sqlite:///{target}", read_only=True)
    assert content(copy) == content(store)
    copy.close()
    folder.chmod(0o755)


def test_a_snapshot_replaces_no_other_database(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "monitoring.db"
    with sqlite3.connect(target) as connection:
        connection.execute("CREATE TABLE workflow (run_id TEXT)")
    before = target.read_bytes()
    with pytest.raises(NotHeliograph):
        publish_snapshot(store, target)
    assert target.read_bytes() == before
    with pytest.raises(StoreUnavailable):
        publish_snapshot(store, tmp_path / "missing" / "x.db")


def test_checkpoint_empties_the_log(store: Store) -> None:
    assert store.path is not None
    Writer(store).write(batches(numbered(recorded_run(Random(2), tasks=20)), 50))
    assert store.path.with_name("heliograph.db-wal").stat().st_size > 0
    assert checkpoint(store) == 0


MOUNTS = r"""
rootfs / ext4 rw 0 0
/dev/sda2 /home ext4 rw 0 0
server:/vol /home/shared nfs4 rw 0 0
mds@tcp:/scratch /scratch lustre rw 0 0
/dev/gpfs0 /my\040project gpfs rw 0 0
user@host:/x /mnt/ssh fuse.sshfs rw 0 0
overlay /mnt/box fuse.fuse-overlayfs rw 0 0
tmpfs /scratch/local tmpfs rw 0 0
auto /net autofs rw 0 0
server:/net /net nfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/db/x.db", None),
        ("/home/ada/x.db", None),
        ("/home/shared/x.db", "nfs4"),
        ("/home/sharedish/x.db", None),
        ("/scratch", "lustre"),
        ("/scratch/deep/er/x.db", "lustre"),
        ("/scratch/local/x.db", None),
        ("/my project/x.db", "gpfs"),
        ("/mnt/ssh/x.db", "fuse.sshfs"),
        ("/mnt/box/x.db", None),
        ("/net/x.db", "nfs"),
    ],
)
def test_network_file_systems_are_known_by_the_mount_table(path: str, kind: str | None) -> None:
    assert network_filesystem(Path(path), MOUNTS) == kind


def test_links_to_a_network_file_system_are_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far")
    mounts = f"/dev/x / ext4 rw 0 0\nserver:/v {(tmp_path / 'far').resolve()} nfs rw 0 0\n"
    assert network_filesystem(tmp_path / "link" / "x.db", mounts) == "nfs"
    assert network_filesystem(tmp_path / "x.db", mounts) is None


def test_two_processes_write_one_file(store: Store) -> None:
    """Not the rule (one writer holds the lock), but at a change of hands there may be two."""
    command = [sys.executable, "-c", WRITING, f"sqlite:///{store.path}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) for _ in range(2)]
    began = time.monotonic()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert time.monotonic() - began < 60
    assert stored_rollups(store) == expected_rollups(store)
    assert len(content(store)["tasks"]) == 400
