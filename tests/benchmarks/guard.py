"""The short form: ratios and counts that a regression moves and a busy machine does not.

In: `python -m tests.benchmarks.guard [--json FILE]`. Out: figures with wide bounds, within a minute. Processor time
only, in pairs that take turns, medians of them; sizes and counts are the same on every machine.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.benchmarks.bench_agent import growth
from tests.benchmarks.bench_ingest import raw_sqlite, rows_of
from tests.benchmarks.bench_overhead import payload
from tests.benchmarks.bench_size import size
from tests.benchmarks.frame import Figure, at_most, report
from tests.benchmarks.mixed import Stream, stream

ROUNDS = 3
TASKS = 1500


def computing(work: Callable[[], object]) -> float:
    """Processor seconds of this thread: what SQLite does for it included, waiting for the disk not."""
    gc.collect()
    began = time.thread_time()
    work()
    return time.thread_time() - began


def write(path: Path, mixed: Stream) -> list[float]:
    """Processor seconds of the first half of a stream, and of the second."""
    url = f"sqlite:///{path}"
    migrate(url)
    batches = mixed.batches()
    half = len(batches) // 2
    with closing(connect(url)) as store:
        writer = Writer(store)
        writer.write(batches[:1])  # opens the database, makes the statements

        def some(part: Sequence[object]) -> None:
            for at in range(0, len(part), 8):
                writer.write(part[at : at + 8])  # type: ignore[arg-type]

        return [computing(lambda: some(batches[1:half])), computing(lambda: some(batches[half:]))]


def ingest() -> list[Figure]:
    """The writer against `executemany` of the rows that come out; the end of a stream against its beginning."""
    mixed = stream(runs=2, tasks=TASKS, samples=10)
    against, later = [], []
    with tempfile.TemporaryDirectory() as name:
        for number in range(ROUNDS):
            path = Path(name) / f"{number}.db"
            first, second = write(path, mixed)
            rows = rows_of(path)
            raw = computing(lambda n=number, r=rows: raw_sqlite(Path(name) / f"raw-{n}.db", r))  # type: ignore[misc]
            against.append((first + second) / raw)
            later.append(second / first)
        bytes_ = size(Path(name) / "0.db") / TASKS
    return [
        at_most(3, "writing, times executemany of the same rows", median(against), "times", 6),
        at_most(3, "the second half of a stream, times the first", median(later), "times", 1.8),
        at_most(5, "the store, ten samples a task", bytes_, "bytes a task", 2700),
    ]


def figures(_quick: bool) -> list[Figure]:
    packed = payload()
    return [
        at_most(1, "what a task's payload grows by", packed["bytes_heliograph"] - packed["bytes_plain"], "bytes", 1000),
        at_most(1, "packing a task, times packing it plainly", packed["pack_us_heliograph"] / packed["pack_us_plain"],
                "times", 4),
        at_most(2, "sampling four times the tasks, times the cost", growth(64, 1) / growth(16, 1), "times", 8),
        *ingest(),
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
