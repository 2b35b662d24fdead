"""How many records a second `Writer.write` commits, on SQLite and PostgreSQL, and how large the SQLite file gets.

In: `python -m tests.benchmarks.bench_store [tasks] [--profile]`. Out: records/s for a mixed stream in batches of 2,000
records, for SQLite in a temporary folder and a private PostgreSQL.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from heliograph.messages import Batch
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.fixtures.postgres import PostgresServer
from tests.store.stream import batches, numbered, recorded_run


def measure(url: str, stream: list[Batch], per_write: int) -> str:
    """Records a second, of the clock and of this process's CPU time (which a busy machine changes less)."""
    migrate(url)
    store = connect(url)
    writer = Writer(store)
    records = sum(len(batch.records) for batch in stream)
    began, cpu = time.perf_counter(), time.process_time()
    for at in range(0, len(stream), per_write):
        writer.write(stream[at : at + per_write])
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    store.close()
    return f"{records / took:9,.0f} records/s ({records / cpu:9,.0f} a second of CPU)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="?", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args()
    records = recorded_run(Random(1), tasks=chosen.tasks)
    stream = batches(numbered(records), 2000)
    gc.collect()
    print(f"{len(records)} records of {chosen.tasks} tasks in {len(stream)} batches")
    with tempfile.TemporaryDirectory() as folder, _profiled(chosen.profile):
        path = Path(folder) / "bench.db"
        print(
            "SQLite    ",
            measure(f"sqlite:///{path}", stream, 1),
            f"{path.stat().st_size / chosen.tasks:.0f} bytes a task",
        )
    server = PostgresServer()
    try:
        server.start()
        with _profiled(chosen.profile):
            print("PostgreSQL", measure(server.create(), stream, 1))
    finally:
        server.close()


@contextmanager
def _profiled(wanted: bool) -> Iterator[None]:
    profile = cProfile.Profile()
    if wanted:
        profile.enable()
    yield
    if wanted:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
