"""Makes a longer run out of one that `bigrun` wrote, much faster than it could be written.

In: `python -m tests.benchmarks.growrun FROM.db TO.db TIMES`. Out: a copy of the database whose largest run went through
everything TIMES times, one after another: tasks renumbered, times shifted by whole hours, rollups as a writer would
have them. For measuring reading, where it does not matter how rows came in.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from heliograph_store.schema import MINUTE, STATES

HOUR: Final = 60 * MINUTE
TASKS: Final = frozenset({"task", "depends_on", "parent"})
SHIFTED: Final = {
    "tasks": frozenset({"task", "parent", "described", "invoked", "returned", "began"}),
    "tries": frozenset({"task", *STATES, "launched_at", "returned_at", "began", "ended", "wrong", "since"}),
    "edges": frozenset({"task", "depends_on"}),
    "failures": frozenset({"task", "at"}),
    "samples": frozenset({"task", "at"}),
    "node_samples": frozenset({"at"}),
}
ADDED: Final = ("run_states", "run_kinds", "run_apps", "run_measures", "run_failures")
"""Rollups without a time: every counter grows with the number of copies."""
TIMED: Final = ("run_buckets", "app_busy", "host_busy")


def grow(source: Path, target: Path, times: int) -> None:
    shutil.copy(source, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-1500000;")
        run, started, last = connection.execute(
            "SELECT id, started, last_seen FROM runs ORDER BY (SELECT sum(tasks) FROM run_states WHERE run = id) DESC"
        ).fetchone()
        (tasks,) = connection.execute("SELECT max(task) + 1 FROM tasks WHERE run = ?", (run,)).fetchone()
        shift = (last - started + HOUR) // HOUR * HOUR
        for table, moved in SHIFTED.items():
            by = {column: tasks if column in TASKS else shift for column in moved}
            _copies(connection, table, run, by, times)
        for table in ADDED:
            for counter in _columns(connection, table, key=False):
                connection.execute(f"UPDATE {table} SET {counter} = {counter} * ? WHERE run = ?", (times, run))
        _copies(connection, "run_buckets", run, {"minute": shift // MINUTE}, times)
        for table in ("app_busy", "host_busy"):
            _copies(connection, table, run, {"at": f"{shift} / ({MINUTE} * width)"}, times)
        moved_by = (times - 1) * shift
        connection.execute(
            "UPDATE runs SET run = ?, ended = ended + ?, last_seen = last_seen + ?, lease_until = lease_until + ?, "
            "completed = completed * ?, failed = failed * ? WHERE id = ?",
            (f"big-{tasks * times}", moved_by, moved_by, moved_by, times, times, run),
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _copies(connection: sqlite3.Connection, table: str, run: int, by: Mapping[str, int | str], times: int) -> None:
    """Insert the rows of the run again, later by once, twice, … `by`; counters of rows that are there add up."""
    began = time.perf_counter()
    connection.execute(f"CREATE TEMP TABLE base AS SELECT * FROM {table} WHERE run = ?", (run,))
    columns, keys, counters = (_columns(connection, table, key=key) for key in (None, True, False))
    again = ", ".join(f"{counter} = {counter} + excluded.{counter}" for counter in counters)
    adds = f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {again}" if table in TIMED else ""
    for copy in range(1, times):
        values = [f"{column} + {copy} * ({by[column]})" if column in by else column for column in columns]
        connection.execute(f"INSERT INTO {table} SELECT {', '.join(values)} FROM base WHERE true{adds}")
    connection.execute("DROP TABLE base")
    connection.commit()
    print(f"{table}: {time.perf_counter() - began:.0f} s", flush=True)


def _columns(connection: sqlite3.Connection, table: str, *, key: bool | None) -> list[str]:
    rows = connection.execute(f"PRAGMA table_info({table})").fetchall()
    return [row[1] for row in rows if key is None or bool(row[5]) == key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("times", type=int)
    chosen = parser.parse_args()
    grow(chosen.source, chosen.target, chosen.times)


if __name__ == "__main__":
    main()
