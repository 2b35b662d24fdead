"""What a watch remembers over its own end: files seen, and deliveries not yet completed.

In: versions of files that settled, and who is asking. Out: which of them are new, and what a dead process left undone.
One SQLite file, shared by all processes of a node that watch for the same thing: a file is claimed by one of them. The
completion of a delivery is recorded last, so it happens at least once.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from heliograph.filewatch.scan import Version

log = logging.getLogger("heliograph.filewatch")

_TABLES = """
CREATE TABLE IF NOT EXISTS seen (
    path BLOB PRIMARY KEY, size INT, mtime INT, inode INT, session TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending (
    id INTEGER PRIMARY KEY, rule TEXT, path BLOB, size INT, mtime INT, inode INT, pattern TEXT, owner TEXT,
    announced INT DEFAULT 0, started INT DEFAULT 0);
CREATE TABLE IF NOT EXISTS left (owner TEXT PRIMARY KEY, files INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, value INT) WITHOUT ROWID;
"""
_CLAIM = """
INSERT INTO seen VALUES (?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE
SET size = excluded.size, mtime = excluded.mtime, inode = excluded.inode, session = excluded.session
WHERE (? OR session != excluded.session) AND (size, mtime, inode) IS NOT (excluded.size, excluded.mtime, excluded.inode)
"""
_FILES_OF = "files of "
"""Begins the name of a number: how many files an owner has found."""
PATIENCE = 5.0
"""Seconds to wait for another process's lock."""


class MemoryFailed(Exception):
    """What should be remembered cannot be written down now. Try again later."""


class Settled(NamedTuple):
    """A settled file, with the key and the expression of each rule that wants it."""

    path: str
    version: Version
    wanted: tuple[tuple[str, str], ...]


class Delivery(NamedTuple):
    """One file for one rule. `announced`: it was reported before; `repeat`: its callback may have run before."""

    id: int
    rule: str
    path: str
    version: Version
    pattern: str
    announced: bool = False
    repeat: bool = False


class Memory:
    """Open until `close`; belongs to the thread that made it.

    owner: names this process (see `owner_of_this`). on_change: a rewritten file is a new one; otherwise only one that
    was rewritten since another session (a former run) saw it.
    """

    def __init__(self, path: str | None, *, owner: str, session: str = "", on_change: bool = False) -> None:
        self._owner, self._session, self._on_change = owner, session, on_change
        self._database = _opened(path or ":memory:")
        self._now: set[str] = set()
        """Paths of this session, which need no second look without on_change."""
        self._seen: dict[str, int] = {}
        for row in self._database.execute("SELECT path, size, mtime, inode, session FROM seen"):
            path = os.fsdecode(row[0])
            self._seen[path] = _mark(row[1:4])
            if row[4] == session and not on_change:
                self._now.add(path)

    def done_with(self, path: str) -> bool:
        """Whether this path is of no interest any more, whatever became of the file."""
        return path in self._now

    def knows(self, path: str, version: Version) -> bool:
        return self._seen.get(path) == _mark(version)

    def claim(self, files: Sequence[Settled]) -> list[list[Delivery]]:
        """The deliveries of each file that nobody has claimed yet, now owned by us. Raises MemoryFailed."""
        claimed = []
        with self._transaction():
            for path, version, wanted in files:
                raw = os.fsencode(path)
                if not self._database.execute(_CLAIM, (raw, *version, self._session, self._on_change)).rowcount:
                    continue
                made = []
                for rule, pattern in wanted:
                    row = self._database.execute(
                        "INSERT INTO pending (rule, path, size, mtime, inode, pattern, owner) VALUES (?,?,?,?,?,?,?)",
                        (rule, raw, *version, _storable(pattern), self._owner),
                    )
                    made.append(Delivery(row.lastrowid or 0, rule, path, version, pattern))
                claimed.append(made)
            if claimed:
                self._add(_FILES_OF + self._owner, len(claimed))
        for path, version, _ in files:
            self._seen[path] = _mark(version)
            if not self._on_change:
                self._now.add(path)
        return claimed

    def announced(self, deliveries: Iterable[Delivery]) -> None:
        """They were reported. Raises MemoryFailed."""
        with self._transaction():
            self._database.executemany("UPDATE pending SET announced = 1 WHERE id = ?", [(d.id,) for d in deliveries])

    def starting(self, deliveries: Iterable[Delivery]) -> int:
        """Their callback starts now; the number of the call. Raises MemoryFailed."""
        with self._transaction():
            self._database.executemany("UPDATE pending SET started = 1 WHERE id = ?", [(d.id,) for d in deliveries])
            return self._add("calls", 1)

    def completed(self, deliveries: Iterable[Delivery]) -> None:
        """All is done for them, and recorded. Raises MemoryFailed."""
        with self._transaction():
            self._database.executemany("DELETE FROM pending WHERE id = ?", [(d.id,) for d in deliveries])

    def left_behind(self, alive: Callable[[str], bool]) -> list[Delivery]:
        """The deliveries of owners that are dead, now ours. Raises MemoryFailed."""
        sql = "SELECT DISTINCT owner FROM pending WHERE owner != ?"
        try:
            owners = [owner for (owner,) in self._database.execute(sql, (self._owner,))]
        except sqlite3.Error as error:
            raise MemoryFailed(f"the memory of the watch cannot be read: {error}") from error
        dead = [owner for owner in owners if not owner or not alive(owner)]
        if not dead:
            return []
        found = []
        with self._transaction():
            for owner in dead:
                found += self._database.execute(
                    "SELECT id, rule, path, size, mtime, inode, pattern, announced, started FROM pending"
                    " WHERE owner = ? ORDER BY id",
                    (owner,),
                ).fetchall()
                # So that whoever tells of the dead one's end can still tell how much it left.
                self._database.execute(
                    "INSERT OR IGNORE INTO left SELECT owner, COUNT(DISTINCT path) FROM pending WHERE owner = ?",
                    (owner,),
                )
                self._database.execute("UPDATE pending SET owner = ? WHERE owner = ?", (self._owner, owner))
        return [
            Delivery(row[0], row[1], os.fsdecode(row[2]), Version(*row[3:6]), row[6], bool(row[7]), bool(row[8]))
            for row in found
        ]

    def close(self) -> None:
        """What is undone belongs to nobody from now on, so that the next one takes it up."""
        with suppress(MemoryFailed), self._transaction():
            self._database.execute("UPDATE pending SET owner = '' WHERE owner = ?", (self._owner,))
            self._database.execute("DELETE FROM numbers WHERE name = ?", (_FILES_OF + self._owner,))
        with suppress(sqlite3.Error):
            self._database.close()

    def _add(self, name: str, more: int) -> int:
        sql = "INSERT INTO numbers VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
        self._database.execute(sql, (name, more))
        found = self._database.execute("SELECT value FROM numbers WHERE name = ?", (name,)).fetchone()
        return int(found[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
            raise MemoryFailed(f"the memory of the watch cannot be written: {error}") from error


def left_by(path: str, owner: str) -> tuple[int, int]:
    """How many files a process that died found, and how many of them it left undone, as its memory says; 0 where there
    is none to ask."""
    if not os.path.exists(path):
        return 0, 0
    try:
        database = sqlite3.connect(path, timeout=PATIENCE)
        try:
            row = database.execute("SELECT files FROM left WHERE owner = ?", (owner,)).fetchone()
            if row is None:
                row = database.execute("SELECT COUNT(DISTINCT path) FROM pending WHERE owner = ?", (owner,)).fetchone()
            found = database.execute("SELECT value FROM numbers WHERE name = ?", (_FILES_OF + owner,)).fetchone()
            return int(found[0]) if found else 0, int(row[0])
        finally:
            database.close()
    except sqlite3.Error:
        return 0, 0


def _opened(path: str) -> sqlite3.Connection:
    """The database with its tables. One that is damaged is put aside: its files are delivered again. Raises OSError."""
    deadline = time.monotonic() + PATIENCE
    set_aside = False
    while True:
        try:
            return _with_tables(path)
        except sqlite3.Error as error:
            # While another process makes the same file, SQLite says so at once, whatever the patience.
            if _is_busy(error) and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            if set_aside or isinstance(error, sqlite3.OperationalError) or not isinstance(error, sqlite3.DatabaseError):
                raise OSError(f"the memory of the watch, {path}, cannot be used: {error}") from error
            _put_aside(path, error)
            set_aside = True


def _with_tables(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        # The death of any process loses nothing; a power cut loses the last commits, which costs repeats.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_TABLES)
        database.execute("SELECT * FROM seen LIMIT 1").fetchall()
        if path != ":memory:":
            os.chmod(path, 0o600)
            os.utime(path)  # so that one can see how long it has not been used
    except BaseException:
        database.close()
        raise
    return database


def _is_busy(error: sqlite3.Error) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _put_aside(path: str, error: sqlite3.Error) -> None:
    aside = f"{path}.damaged-{int(time.time())}"
    log.warning("%s is damaged (%s) and is put aside as %s; files are reported again", path, error, aside)
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.replace(path + ending, aside + ending)


def _mark(version: Sequence[int]) -> int:
    """A version as one number: with a hundred thousand of them it counts how large they are."""
    return hash(tuple(version))


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
