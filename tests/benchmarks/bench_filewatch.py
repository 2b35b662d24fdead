"""What file watching costs: scans of large trees, the delay from close-of-file to callback, the return time of tasks.

In: sizes of trees, numbers of files and pairs; none or 0 leaves that part out. Out: tables on standard output; JSON on
request. With `--sizes --files 0` only tasks are timed: two to three minutes.

    python -m tests.benchmarks.bench_filewatch --sizes 1000 10000 100000 --files 20 --pairs 80 --json filewatch.json
    python -m tests.benchmarks.bench_filewatch --sizes --files 0 --pairs 80
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heliograph.filewatch.config import Callback, Rule, WatchConfig
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.portable import portable
from heliograph.messages import FileCallback, FileFound, Record
from tests.benchmarks.filewatch_tasks import moment, return_times


class Bench:
    """An engine whose records are kept."""

    def __init__(self, root: Path, *, callback: Callback | None = None, **more: Any) -> None:
        self.records: list[Record] = []
        rule = Rule(patterns=(r"\.dat$",), callback=callback)
        memory = str(root.parent / f"memory-{os.urandom(4).hex()}.db")
        config = WatchConfig(watch="w", root=str(root), rules=(rule,), memory=memory, **more)
        self.engine = Engine(config, report=self.records.append)

    def step(self) -> None:
        self.engine.wait(min(0.5, self.engine.step(time.monotonic())))

    def count(self, kind: type[Record]) -> int:
        return sum(isinstance(record, kind) for record in self.records)


@contextmanager
def tree(files: int) -> Iterator[Path]:
    """A tree of empty files, a thousand in a folder, on the file system of the temporary folder."""
    with tempfile.TemporaryDirectory(prefix="bench-filewatch-") as top:
        root = Path(top) / "root"
        for folder in range(max(1, files // 1000)):
            (root / f"{folder:03}").mkdir(parents=True)
            for number in range(min(files, 1000)):
                (root / f"{folder:03}" / f"result-{number:04}.dat").touch()
        yield root


def scans(files: int) -> dict[str, float]:
    """Seconds: of the first scan, of delivering all files to the memory and the records, of a scan that finds nothing
    new; processor seconds in ten idle seconds with polling every second, and with events."""
    with tree(files) as root:
        bench = Bench(root, interval=1.0, settle=0.0, events=False)
        began = cpu()
        while bench.engine.stats.scans < 1:
            bench.step()
        first = bench.engine.stats.scan_seconds
        while bench.count(FileFound) < files:
            bench.step()
        delivered = cpu() - began
        scanned = bench.engine.stats.scans
        while bench.engine.stats.scans < scanned + 2:
            bench.step()
        later = bench.engine.stats
        polling = idle(bench)
        bench.engine.close("done")
        events = Bench(root, interval=1.0, settle=0.0, events=True)
        while events.count(FileFound) < files or events.engine.stats.scans < 2:
            events.step()
        told = idle(events)
        assert events.engine.stats.events, "watchfiles is not installed, or there are no events here"
        events.engine.close("done")
    return {
        "files": files,
        "first_scan": first,
        "first_scan_and_delivery": delivered,
        "later_scan": later.scan_seconds,
        "interval_asked": 1.0,
        "interval": later.interval,
        "idle_share_polling": polling,
        "idle_share_events": told,
    }


def idle(bench: Bench, seconds: float = 10.0) -> float:
    """Share of one processor that the engine takes when nothing happens."""
    began, end = cpu(), time.monotonic() + seconds
    while time.monotonic() < end:
        bench.step()
    return (cpu() - began) / seconds


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def delays(files: int, *, events: bool, settle: float) -> list[float]:
    """Seconds from the close of each file to the call of its callback."""
    found = []
    with tree(1000) as root:
        bench = Bench(root, callback=portable(moment), interval=1.0, settle=settle, events=events)
        while bench.count(FileCallback) < 1 or bench.engine.stats.scans < 2:
            bench.step()
        for number in range(files):
            end = time.monotonic() + random.uniform(0.0, 1.0)
            while time.monotonic() < end:
                bench.step()
            calls = bench.count(FileCallback)
            (root / f"new-{number}.dat").write_text("x")
            closed = time.time()
            while bench.count(FileCallback) == calls:
                bench.step()
            called = [record for record in bench.records if isinstance(record, FileCallback)][-1]
            found.append(float(called.result or "nan") - closed)
        bench.engine.close("done")
    return found


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Names on top, figures below them."""
    print(f"\n{title}")
    names = list(rows[0])
    lines = [names, *([_shown(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for line in lines:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def return_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Milliseconds with their intervals, and whether they keep the promise."""

    def cell(row: Mapping[str, Any], name: str) -> str:
        return f"{row[f'{name}_ms']:.1f} [{row[f'{name}_low_ms']:.1f}, {row[f'{name}_high_ms']:.1f}]"

    table(
        "Milliseconds by which a watch delays a task's return, with bootstrapped 95 % intervals",
        [
            {"what": row["what"], "task (s)": row["task_s"], "pairs": row["pairs"]}
            | {name: cell(row, name) for name in ("mean", "middle", "median")}
            for row in rows
        ],
    )
    high = rows[0]["mean_high_ms"]
    print(f"The mean's interval for tasks alone is {'' if high < 10 else 'NOT '}under 10 ms.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=80)
    parser.add_argument("--settle", type=float, default=0.2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    result: dict[str, Any] = {"load_before": os.getloadavg()[0]}
    if args.sizes:
        result["scans"] = [scans(size) for size in args.sizes]
        table("Scans (seconds; shares of one processor while nothing happens)", result["scans"])
    if args.files:
        result["delays"] = [delay(name, args.files, args.settle) for name in ("events", "polling every second")]
        table("From a file's close to its callback (seconds)", result["delays"])
    if args.pairs:
        result["return_time"] = return_times(args.pairs)
        return_table(result["return_time"])
    result["load_after"] = os.getloadavg()[0]
    print(f"\nLoad of the machine: {result['load_before']:.1f} before, {result['load_after']:.1f} after")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def delay(name: str, files: int, settle: float) -> dict[str, Any]:
    found = sorted(delays(files, events=name == "events", settle=settle))
    return {"with": name, "files": files, "settle": settle, "median": statistics.median(found),
            "p95": found[int(0.95 * (len(found) - 1))], "most": found[-1]}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
