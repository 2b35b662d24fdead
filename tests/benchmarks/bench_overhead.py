"""What monitoring costs: no-op tasks on the HighThroughputExecutor, two workers, interleaved in one process.

In: rounds and tasks. Out: a table of tasks/s and of processor time for no monitoring, Parsl's own, ours, ours without
its half in the workers, and ours on Parsl's official route, each against the unmonitored run of the same round; what
five writes a task cost where ours has its records, and five records, without anything else; pack time and payload size
of one task; a JSON file on request. Processor time is all that this machine used: keep it quiet.

    python -m tests.benchmarks.bench_overhead --rounds 5 --tasks 2000 --json overhead.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor
from parsl.monitoring import MonitoringHub as ParslHub
from parsl.providers import LocalProvider
from parsl.serialize import pack_apply_message

from heliograph.parsl import MonitoringHub
from heliograph.parsl.submit import Partials, Trampoline, Where
from tests.benchmarks import bare

WARM_UP = 50
SLOW = {"parsl", "heliograph, official radio"}
"""A tenth of the tasks is enough for them."""


BARE = {"five bare writes a task": "write", "five bare records a task": "record"}
"""Three in the submitting process, two in the worker, as ours has, by the name of what `bare` does: the least."""


def noop() -> None:
    return None


def between(file: str, what: str) -> None:
    """As little, between two of them. It travels as `noop` does: as an app of the user's own script."""
    from tests.benchmarks import bare

    getattr(bare, what)(file)
    getattr(bare, what)(file)


def ways(folder: Path, interval: float) -> dict[str, Callable[[], Any]]:
    """How to monitor, by name; made anew for each kernel."""
    bus = f"spool:{folder / 'spool'}"
    database = f"sqlite:///{folder / 'parsl.db'}"
    return {
        "none": lambda: None,
        **dict.fromkeys(BARE, lambda: None),
        "heliograph": lambda: MonitoringHub(bus_url=bus, resource_monitoring_interval=interval),
        "heliograph, submitting side only": lambda: MonitoringHub(
            bus_url=bus, resource_monitoring_interval=interval, resource_monitoring_enabled=False
        ),
        "heliograph, official radio": lambda: MonitoringHub(
            bus_url=bus, resource_monitoring_interval=interval, official_radio=True
        ),
        "parsl": lambda: ParslHub(logging_endpoint=database, resource_monitoring_interval=interval),
    }


def kernel(folder: Path, monitoring: Any) -> DataFlowKernel:
    executor = HighThroughputExecutor(
        label="htex",
        address="127.0.0.1",
        max_workers_per_node=2,
        cores_per_worker=0.1,
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    return DataFlowKernel(
        Config(
            executors=[executor],
            monitoring=monitoring,
            run_dir=str(folder / "runinfo"),
            strategy="none",
            initialize_logging=False,
        )
    )


def app(running: DataFlowKernel, folder: str, way: str) -> Callable[[], Any]:
    """The app to call for this way of monitoring."""
    if way not in BARE:
        return python_app(noop, data_flow_kernel=running)  # type: ignore[no-any-return]
    file, what = f"{folder}/bare", BARE[way]
    bare.telling(running, file, getattr(bare, what))
    task = python_app(between, data_flow_kernel=running)
    return lambda: task(file, what)


def busy() -> float:
    """Seconds of processor time that this machine has used since it was started, for whatever (proc_stat(5))."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def rate(task: Callable[[], Any], tasks: int) -> tuple[float, float]:
    """Tasks a second, and microseconds of processor time a task."""
    for future in [task() for _ in range(WARM_UP)]:
        future.result()
    gc.collect()
    used, began = busy(), time.perf_counter()
    for future in [task() for _ in range(tasks)]:
        future.result()
    took, used = time.perf_counter() - began, busy() - used
    return tasks / took, used / tasks * 1e6


def measure(names: list[str], *, rounds: int, tasks: int, interval: float) -> dict[str, list[tuple[float, float]]]:
    """`rate` by way. Slow ways get fewer tasks; the order turns round every time, so that drift hits all alike."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            with tempfile.TemporaryDirectory(prefix="bench-overhead-", ignore_cleanup_errors=True) as folder:
                os.environ["HELIOGRAPH_STATE_DIR"] = f"{folder}/state"
                monitoring = ways(Path(folder), interval)[name]()
                with kernel(Path(folder), monitoring) as running:
                    count = max(100, tasks // 10) if name in SLOW else tasks
                    found[name].append(rate(app(running, folder, name), count))
                print(f"round {number + 1}: {name}: {found[name][-1][0]:.0f}/s", file=sys.stderr)
    return found


def payload() -> dict[str, float]:
    """Bytes and microseconds that packing one task takes, without and with the trampoline."""
    route = (("run_dir", "/somewhere/runinfo/000"), ("hub", None), ("sample_interval", 10.0))
    partials = Partials(Trampoline(), Where(run="0" * 36, route=route, executor="htex", shared=False))
    plain, ours = noop, partials.of(noop)
    sizes = len(pack_apply_message(plain, (), {})), len(pack_apply_message(ours, (0, 0), {}))

    def cost(function: Any, *args: Any) -> float:
        pack_apply_message(function, args, {})
        began = time.perf_counter()
        for _ in range(5000):
            pack_apply_message(function, args, {})
        return (time.perf_counter() - began) / 5000 * 1e6

    return {
        "bytes_plain": sizes[0],
        "bytes_heliograph": sizes[1],
        "pack_us_plain": cost(plain),
        "pack_us_heliograph": cost(ours, 0, 0),
    }


def summary(found: dict[str, list[tuple[float, float]]]) -> dict[str, dict[str, float]]:
    """Medians, and the median of the paired ratios to the unmonitored runs."""
    return {
        name: {
            "tasks_per_second": statistics.median(rate for rate, _ in values),
            "of_unmonitored": statistics.median(
                rate / base for (rate, _), (base, _) in zip(values, found["none"], strict=True)
            ),
            "processor_us": statistics.median(used for _, used in values),
        }
        for name, values in found.items()
    }


def against_parsl(found: dict[str, list[tuple[float, float]]]) -> float | None:
    """Median over the rounds of our rate by Parsl's own in the same round; over 1 is faster."""
    if "heliograph" not in found or "parsl" not in found:
        return None
    return statistics.median(
        ours / own for (ours, _), (own, _) in zip(found["heliograph"], found["parsl"], strict=True)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between samples, for all ways")
    parser.add_argument("--ways", nargs="*", help="which ways, by name; 'none' is always among them")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--no-agents", action="store_true", help="the recording alone, without agents beside it")
    args = parser.parse_args()
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    if args.no_agents:
        os.environ["HELIOGRAPH_AGENT"] = "off"
    known = list(ways(Path(), args.interval))
    names = [name for name in known if name == "none" or not args.ways or name in args.ways]
    found = measure(names, rounds=args.rounds, tasks=args.tasks, interval=args.interval)
    result = {"samples": found, "summary": summary(found), "payload": payload(), "interval": args.interval}
    print(f"{'':34} {'tasks/s':>9} {'of none':>8} {'µs of processor a task':>24}")
    for name, row in result["summary"].items():
        print(f"{name:34} {row['tasks_per_second']:9.0f} {row['of_unmonitored']:8.2f} {row['processor_us']:24.0f}")
    print("one task: {bytes_plain:.0f} → {bytes_heliograph:.0f} bytes, ".format(**result["payload"]), end="")
    print("{pack_us_plain:.1f} → {pack_us_heliograph:.1f} µs to pack".format(**result["payload"]))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2))
    ratio = against_parsl(found)
    if ratio is None:
        return 0
    print(f"ours is {ratio:.1f} times as fast as Parsl's own (median of {args.rounds} interleaved pairs)")
    return 0 if ratio >= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
