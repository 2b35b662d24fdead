"""Has anything changed? The cheapest question there is, for those who ask every second.

In: an open store. Out: marks that are equal as long as nothing changed: one for the whole database, which costs next to
nothing, and one for each run, from its row and its rollup, to be asked for when the first one changed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Hashable, Sequence
from typing import Any

from sqlalchemy import func, select, text

from heliograph_store.read.query import fetch
from heliograph_store.schema import run_states, runs
from heliograph_store.store import Store, unavailable


class Watch:
    """Marks of a whole database. One thread at a time may ask; `close` gives its connection back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._connection: Any = None
        self._opened = 0

    def mark(self) -> Hashable:
        """Equal to the one before when nothing was committed in between. Raises StoreUnavailable."""
        with self._lock:
            return self._of_file() if self._store.sqlite else self._of_server()

    def close(self) -> None:
        with self._lock:
            self._let_go()

    def _of_file(self) -> Hashable:
        # SQLite counts the commits of others for each connection, so one connection has to do all the asking.
        with unavailable(self._store.name):
            try:
                if self._connection is None:
                    self._connection = self._store.engine.raw_connection()
                    self._opened += 1
                driver = self._connection.driver_connection
                (version,) = driver.execute("PRAGMA data_version").fetchone()
            except sqlite3.Error:
                self._let_go()
                raise
            return self._opened, version

    def _of_server(self) -> Hashable:
        # Two equal snapshots see the same: every commit of a transaction that wrote changes them.
        with self._store.connection() as connection:
            return str(connection.scalar(text("SELECT pg_current_snapshot()::text")))

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def run_marks(store: Store, ids: Sequence[int]) -> dict[int, Hashable]:
    """A mark of each of these runs that are there: its row, and how many of its tasks are in which state.

    By the primary keys of `runs` and `run_states`. Details that arrive late and move neither (which host a task of an
    hour ago ran on) are not in it.
    """
    wanted = sorted(set(ids))
    found: dict[int, list[Any]] = {}
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        for row in fetch(store, select(runs).where(runs.c.id.in_(some))):
            found[row["id"]] = [tuple(row.values())]
        c = run_states.c
        sums = select(c.run, c.state, func.sum(c.tasks).label("n")).where(c.run.in_(some)).group_by(c.run, c.state)
        for row in fetch(store, sums.order_by(c.run, c.state)):
            found[row["run"]].append((row["state"], int(row["n"])))
    return {run: tuple(marks) for run, marks in found.items()}
