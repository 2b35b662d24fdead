"""What recording takes from a workflow besides its rate: time of tasks of 100 ms, memory of the submitting process, and
the computing that one state and one task cost.

In: rounds. Out: a table with the goals, JSON on request. Workflows run in programs of their own, with and without
monitoring in turn; what one state or one task costs is computing time, the least of several repetitions.

    python -m tests.benchmarks.bench_cost --rounds 5 --json cost.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.bench_promise import interval

MEGABYTE = 1e6
REPETITIONS, CALLS = 7, 1000

WORKFLOW = """
import json, sys, time
from pathlib import Path
from parsl import Config, HighThroughputExecutor, python_app
from parsl.dataflow.dflow import DataFlowKernel
from parsl.providers import LocalProvider

folder, way, tasks, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
monitoring = None
if way == "heliograph":
    from heliograph.parsl import MonitoringHub
    monitoring = MonitoringHub(bus_url=f"spool:{folder / 'spool'}", resource_monitoring_interval=10)

def work(seconds):
    import time
    time.sleep(seconds)

executor = HighThroughputExecutor(
    label="htex", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1, encrypted=False,
    provider=LocalProvider(init_blocks=1, max_blocks=1),
)
config = Config(
    executors=[executor], monitoring=monitoring, run_dir=str(folder / "runinfo"), strategy="none",
    initialize_logging=False,
)
with DataFlowKernel(config) as running:
    app = python_app(work, data_flow_kernel=running)
    for future in [app(0.0) for _ in range(20)]:
        future.result()
    began = time.perf_counter()
    for future in [app(seconds) for _ in range(tasks)]:
        future.result()
    took = time.perf_counter() - began
status = Path("/proc/self/status").read_text()
print(json.dumps({"seconds": took, "peak": int(status.split("VmHWM:")[1].split()[0]) * 1024}))
"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure next to its goal."""

    name: str
    value: float
    unit: str
    goal: str
    met: bool
    spread: tuple[float, float] | None = None
    """The bootstrapped 95 % interval of the median, where it is one of paired differences."""


def workflow(way: str, tasks: int, seconds: float) -> dict[str, float]:
    """Seconds of the tasks, and the peak resident size (VmHWM) of the program that submitted them, in bytes."""
    with tempfile.TemporaryDirectory(prefix="bench-cost-", ignore_cleanup_errors=True) as folder:
        environment = {**os.environ, "HELIOGRAPH_STATE_DIR": f"{folder}/state"}
        command = [sys.executable, "-c", WORKFLOW, folder, way, str(tasks), str(seconds)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return found


def paired(rounds: int, tasks: int, seconds: float, key: str) -> list[float]:
    """What monitoring adds, in each round; the order turns round every time."""
    added = []
    for number in range(rounds):
        ways = ["none", "heliograph"]
        found = {way: workflow(way, tasks, seconds)[key] for way in (ways if number % 2 == 0 else ways[::-1])}
        added.append(found["heliograph"] - found["none"])
        print(f"{key}, {tasks} tasks of {seconds} s: {added[-1]:+.4g}", file=sys.stderr)
    return added


def hundred(rounds: int) -> Figure:
    """Tasks of 100 ms on two workers: what monitoring adds to one, measured over sixty in a row."""
    tasks = 60
    added = [each / (tasks / 2) * 1e3 for each in paired(rounds, tasks, 0.1, "seconds")]
    low, high = interval(added)
    return Figure(
        name="added to a task of 100 ms", value=statistics.median(added), unit="ms",
        goal="no difference: the 95 % interval contains 0", met=low <= 0 <= high, spread=(low, high),
    )  # fmt: skip


def memory(rounds: int) -> Figure:
    """A workflow of two thousand tasks that do nothing."""
    added = [each / MEGABYTE for each in paired(rounds, 2000, 0.0, "peak")]
    return Figure(
        name="peak memory added to the submitting process", value=statistics.median(added), unit="MB",
        goal="at most 10", met=statistics.median(added) <= 10, spread=interval(added),
    )  # fmt: skip


def computing(each: Callable[[], object], calls: int = CALLS) -> float:
    """Microseconds of computing of one call: the least of some repetitions, since others only ever add."""
    best = float("inf")
    for _ in range(REPETITIONS):
        began = time.process_time()
        for _ in range(calls):
            each()
        best = min(best, time.process_time() - began)
    return best / calls * 1e6


def worker_half(folder: Path) -> Figure:
    """Begin and end of a try in a worker, as the trampoline calls them."""
    from heliograph import journal as journals
    from heliograph import worker

    journal = journals.Journal.open(
        journals.Route(run="bench", run_dir=str(folder)), folder=folder / "state", start_agent=False
    )
    try_ = worker.Try(origin="", number=1, try_=0, executor="htex")
    value = computing(lambda: worker.ended(journal, worker.began(journal, try_), None, returned=True))
    journal.close()
    return Figure(name="added around a task in the worker", value=value, unit="µs", goal="under 50", met=value < 50)


def state_change(folder: Path) -> Figure:
    """One change of a task's state, told by Parsl's kernel and appended: real ones, told again."""
    from parsl import python_app
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors import ThreadPoolExecutor

    from heliograph.parsl import MonitoringHub

    hub = MonitoringHub(bus_url=f"spool:{folder / 'spool'}", resource_monitoring_interval=0)
    config = Config(
        executors=[ThreadPoolExecutor(max_threads=1)], monitoring=hub, run_dir=str(folder), initialize_logging=False
    )
    heard: list[Any] = []
    with DataFlowKernel(config) as running:
        tell = running._send_task_info

        def listen(task: Any) -> None:
            heard.append(dict(task))  # as it is now: Parsl goes on changing it
            tell(task)

        running._send_task_info = listen
        app = python_app(lambda: None, data_flow_kernel=running)
        for future in [app() for _ in range(200)]:
            future.result()
        value = computing(lambda: [tell(task) for task in heard], calls=1) / len(heard)
    return Figure(
        name="one state change in the submitting process", value=value, unit="µs", goal="under 20", met=value < 20
    )


def figures(rounds: int) -> list[Figure]:
    """All of them, the quick ones last."""
    found = [hundred(rounds), memory(rounds)]
    with tempfile.TemporaryDirectory(prefix="bench-cost-", ignore_cleanup_errors=True) as folder:
        os.environ["HELIOGRAPH_STATE_DIR"] = f"{folder}/agents"
        return [*found, worker_half(Path(folder)), state_change(Path(folder))]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    asked = parser.parse_args(arguments)
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    found = figures(asked.rounds)
    for one in found:
        spread = "" if one.spread is None else f" ({one.spread[0]:+.2f} … {one.spread[1]:+.2f})"
        print(f"{one.name:44} {one.value:8.2f} {one.unit}{spread:22} goal: {one.goal}{'' if one.met else '  NOT MET'}")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
