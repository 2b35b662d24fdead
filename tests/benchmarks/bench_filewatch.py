"""What file watching costs: scans of large trees, the delay from close-of-file to callback, the return time of tasks.

In: sizes of trees, numbers of files and pairs. Out: figures on standard output; a JSON file on request. Tasks with and
without a watch run in turns on one HTEX worker, so that drift hits both; the difference stands with its 95 % interval.

    python -m tests.benchmarks.bench_filewatch --sizes 1000 10000 100000 --files 20 --pairs 100 --json filewatch.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heliograph import FileMonitor, watch
from heliograph.filewatch.config import Callback, Rule, WatchConfig
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.plan import watches_folder
from heliograph.filewatch.portable import portable
from heliograph.messages import FileCallback, FileFound, Record


def moment(files: list[str]) -> float:
    """The callback whose delay is measured: when it was called."""
    return time.time()


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


def task(folder: str, number: int) -> int:
    import time

    with open(f"{folder}/{number}.dat", "w") as file:
        file.write("result")
    time.sleep(0.4)
    return number


def return_times(pairs: int) -> dict[str, float]:
    """Milliseconds by which a watch makes a task return later: mean and median with their 95 % intervals, over pairs in
    random order. Each pair begins when the watch of the one before is over."""
    from parsl import python_app
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    from heliograph.parsl import MonitoringHub

    with tempfile.TemporaryDirectory(prefix="bench-filewatch-", ignore_cleanup_errors=True) as top:
        os.environ["HELIOGRAPH_STATE_DIR"] = f"{top}/state"
        folder = Path(top) / "files"
        folder.mkdir()
        executor = HighThroughputExecutor(
            label="htex", address="127.0.0.1", max_workers_per_node=1, encrypted=False,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )  # fmt: skip
        hub = MonitoringHub(bus_url=f"spool:{top}/spool", resource_monitoring_interval=0)
        config = Config(executors=[executor], monitoring=hub, run_dir=f"{top}/runinfo", strategy="none")
        with DataFlowKernel(config) as kernel:
            monitor = FileMonitor(portable(moment), r"\.dat$", working_dir=folder, sleep_dur=0.2)
            plain = python_app(task, data_flow_kernel=kernel)
            watched = python_app(watch(monitor)(task), data_flow_kernel=kernel)

            def once(app: Any, number: int) -> float:
                began = time.perf_counter()
                app(str(folder), number).result()
                return time.perf_counter() - began

            for number in range(10):
                once(plain, number), once(watched, number)
            found = []
            for number in range(pairs):
                if random.random() < 0.5:
                    without, beside = once(plain, number), once(watched, number)
                else:
                    beside, without = once(watched, number), once(plain, number)
                found.append((beside - without) * 1e3)
                while any(watches_folder().glob("*/plan")):
                    time.sleep(0.1)
    mean, half = statistics.mean(found), 1.96 * statistics.stdev(found) / len(found) ** 0.5
    ordered, reach = sorted(found), 0.98 * len(found) ** 0.5  # order statistics: binomial, normal approximation
    middle = (len(found) - 1) / 2
    low, high = max(0, math.floor(middle - reach)), min(len(found) - 1, math.ceil(middle + reach))
    return {
        "pairs": pairs,
        "mean_ms": mean, "mean_low_ms": mean - half, "mean_high_ms": mean + half,
        "median_ms": statistics.median(found), "median_low_ms": ordered[low], "median_high_ms": ordered[high],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--settle", type=float, default=0.2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    result: dict[str, Any] = {"scans": [], "delays": {}}
    for size in args.sizes:
        result["scans"].append(scans(size))
        print(json.dumps(result["scans"][-1]))
    for name, events in (("events", True), ("polling every second", False)) if args.files else ():
        found = sorted(delays(args.files, events=events, settle=args.settle))
        result["delays"][name] = {
            "settle": args.settle, "median": statistics.median(found), "p95": found[int(0.95 * (len(found) - 1))],
        }  # fmt: skip
        print(name, json.dumps(result["delays"][name]))
    if args.pairs:
        result["return_time"] = return_times(args.pairs)
        print(json.dumps(result["return_time"]))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
