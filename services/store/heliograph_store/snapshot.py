"""A consistent copy of a live SQLite store, put where other machines may read it.

In: a store and a target path (on any file system). Out: the target replaced in one step; a reader sees the old copy
or the new one, never half of one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from heliograph_store.errors import NotHeliograph, StoreUnavailable
from heliograph_store.store import APPLICATION_ID, Store


def publish_snapshot(store: Store, target: Path) -> int:
    """Copy the store to `target` and return the copy's size in bytes. Writers go on meanwhile.

    Raises NotHeliograph when the target is a database of something else, StoreUnavailable when it cannot be written.
    """
    if store.path is None:
        raise ValueError("only an SQLite store has snapshots")
    _refuse_foreign(target)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with closing(_opened(store.path)) as source, closing(sqlite3.connect(temporary, isolation_level=None)) as copy:
            source.backup(copy)
            # A copy in WAL mode would need shared memory beside it, which a network file system does not have.
            copy.execute("PRAGMA journal_mode=DELETE")
        _sync(temporary)
        size = temporary.stat().st_size
        temporary.replace(target)
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"no snapshot at {target}: {error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return size


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30)


def _refuse_foreign(target: Path) -> None:
    if not target.exists() or target.stat().st_size == 0:
        return
    try:
        with closing(_opened(target)) as connection:
            mark = connection.execute("PRAGMA application_id").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise NotHeliograph(f"{target} is not a database of Heliograph ({error}); it was not touched") from error
    if mark != APPLICATION_ID:
        raise NotHeliograph(f"{target} is a database of something else; it was not touched")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
