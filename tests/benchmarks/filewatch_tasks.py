"""By how much a watch makes tasks return later: pairs of tasks on one HTEX worker, with and without, in random order.

In: how many pairs. Out: differences in milliseconds with bootstrapped 95 % intervals (mean, mean of the middle 60 %,
median: on a busy machine the first says little), and what was added within the task's own process.

`alone`: the next pair begins when the watch of the last one is over, as with tasks that take longer than their watch
needs to finish. `in a row`: tasks of 50 ms one after the other, so that each stands beside the watches of those before.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from heliograph import FileMonitor, watch
from heliograph.filewatch.plan import watches_folder
from heliograph.filewatch.portable import portable
from heliograph.state import state_folder

RESAMPLES = 4000
WARM = 8
"""Tasks of each kind before any is counted: workers, agents and the warden start with the first."""
ALONE, IN_A_ROW = 0.2, 0.05
"""Seconds that a task takes."""


def moment(files: list[str]) -> float:
    """The callback whose delay is measured: when it was called."""
    return time.time()


def task(folder: str, number: int, seconds: float) -> float:
    """Writes a file; how long it took, in seconds."""
    import time

    began = time.perf_counter()
    with open(f"{folder}/{number}.dat", "w") as file:
        file.write("result")
    time.sleep(seconds)
    return time.perf_counter() - began


def around(function: Callable[..., float], folder: str, number: int, seconds: float) -> float:
    """In the task's process: what calling the function takes beyond what it says itself."""
    import time

    began = time.perf_counter()
    inside = function(folder, number, seconds)
    return time.perf_counter() - began - inside


def return_times(pairs: int) -> list[dict[str, Any]]:
    """One row for each kind of pair, one for what was added in the task's process."""
    with tempfile.TemporaryDirectory(prefix="bench-filewatch-", ignore_cleanup_errors=True) as top, _apps(top) as apps:
        folder, numbers = _folder(top), iter(range(1 << 30))

        def once(kind: str, seconds: float) -> float:
            began = time.perf_counter()
            apps[kind](folder, next(numbers), seconds).result()
            return time.perf_counter() - began

        for _ in range(WARM):
            once("plain", IN_A_ROW), once("watched", IN_A_ROW)
        alone = []
        for _ in range(pairs):
            _wait_for_the_watches()
            alone.append(_difference(once, ALONE))
        added = []
        for _ in range(pairs // 2):
            _wait_for_the_watches()
            added.append(apps["added"](folder, next(numbers), IN_A_ROW).result() * 1e3)
        row = [_difference(once, IN_A_ROW) for _ in range(2 * pairs)]
        _wait_for_the_watches()
        _check(folder)
    return [
        {"what": "alone", "task_s": ALONE, **summary(alone)},
        {"what": "in a row", "task_s": IN_A_ROW, **summary(row)},
        {"what": "in the task's process", "task_s": IN_A_ROW, **summary(added)},
    ]


def _check(folder: str) -> None:
    """What was measured has to have worked: every file up to the last watched task's was found, by so many calls."""
    (memory,) = (state_folder() / "watched" / "files").glob("*.db")
    with closing(sqlite3.connect(memory)) as database:
        seen, calls = (
            database.execute(sql).fetchone()[0]
            for sql in ("SELECT COUNT(*) FROM seen", "SELECT value FROM numbers WHERE name = 'calls'")
        )
    written = len(os.listdir(folder))
    assert seen >= written - 1, f"{seen} of {written} files were found"
    assert calls > written / 4, f"{calls} calls for {written} files"


def _difference(once: Callable[[str, float], float], seconds: float) -> float:
    """Milliseconds by which the watched one of a pair took longer."""
    if random.random() < 0.5:
        without, beside = once("plain", seconds), once("watched", seconds)
    else:
        beside, without = once("watched", seconds), once("plain", seconds)
    return (beside - without) * 1e3


def summary(found: Sequence[float]) -> dict[str, Any]:
    """Three kinds of middle, each with the interval in which 95 % of the bootstrapped ones lie."""
    kinds = {"mean": statistics.fmean, "middle": middle, "median": statistics.median}
    shown: dict[str, Any] = {"pairs": len(found)}
    samples = [random.choices(found, k=len(found)) for _ in range(RESAMPLES)]
    for name, of in kinds.items():
        again = sorted(of(sample) for sample in samples)
        low, high = again[int(0.025 * RESAMPLES)], again[int(0.975 * RESAMPLES) - 1]
        shown |= {f"{name}_ms": of(found), f"{name}_low_ms": low, f"{name}_high_ms": high}
    return shown


def middle(found: Sequence[float]) -> float:
    """The mean of all but the fifth at either end."""
    cut = len(found) // 5
    return statistics.fmean(sorted(found)[cut : len(found) - cut])


def _wait_for_the_watches() -> None:
    while any(watches_folder().glob("*/plan")):
        time.sleep(0.05)


def _folder(top: str) -> str:
    folder = Path(top) / "files"
    folder.mkdir(exist_ok=True)
    return str(folder)


@contextmanager
def _apps(top: str) -> Iterator[dict[str, Callable[..., Any]]]:
    """One worker, and the task as three apps: plain, watched, and one that tells what the watch adds to it."""
    from parsl import python_app
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    from heliograph.parsl import MonitoringHub

    os.environ["HELIOGRAPH_STATE_DIR"] = f"{top}/state"
    here = str(Path(__file__).parents[2])  # where workers find this module
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    executor = HighThroughputExecutor(
        label="htex", address="127.0.0.1", max_workers_per_node=1, encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )  # fmt: skip
    hub = MonitoringHub(bus_url=f"spool:{top}/spool", resource_monitoring_interval=0)
    config = Config(executors=[executor], monitoring=hub, run_dir=f"{top}/runinfo", strategy="none")
    with DataFlowKernel(config) as kernel:
        monitor = FileMonitor(portable(moment), r"\.dat$", working_dir=_folder(top), sleep_dur=0.1)
        watched = watch(monitor)(task)
        told = python_app(around, data_flow_kernel=kernel)
        yield {
            "plain": python_app(task, data_flow_kernel=kernel),
            "watched": python_app(watched, data_flow_kernel=kernel),
            "added": lambda *arguments: told(watched, *arguments),
        }
