"""The demo's workflow: about a minute of real Parsl on HTEX, with everything that a monitor must get right.

In: a folder (argument 1) and optionally a hub's port (argument 2). Out: `ledger.jsonl` in that folder, the workflow's
own account of what happened, written with the standard library only, so that it can be held against the database.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import parsl
from parsl import bash_app, join_app, python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from heliograph.parsl import MonitoringHub


@python_app
def prepare(number: int) -> int:
    """A short task; there are many of them."""
    return number * number


@python_app
def simulate(start: int, seconds: float) -> int:
    """Burns processor time for `seconds`."""
    import time

    value, end = start, time.process_time() + seconds
    while time.process_time() < end:
        value = (value * 1103515245 + 12345) % (1 << 31)
    return value


@python_app
def allocate(megabytes: int, seconds: float) -> int:
    """Holds memory that is really touched, so that its peak must show."""
    import time

    block = bytearray(megabytes << 20)
    block[::4096] = b"\x01" * len(block[::4096])
    time.sleep(seconds)
    return len(block)


@python_app
def fork_out(processes: int, seconds: float) -> int:
    """Starts child processes that burn processor time of their own."""
    import subprocess
    import sys

    code = f"import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
    children = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(processes)]
    return sum(child.wait() for child in children)


@python_app
def flaky(key: int, folder: str) -> int:
    """Fails at the first try and succeeds at the second."""
    import pathlib

    mark = pathlib.Path(folder) / f"flaky-{key}"
    if not mark.exists():
        mark.touch()
        raise RuntimeError(f"first try of {key} fails on purpose")
    return key


@python_app
def broken(key: int) -> int:
    """Fails at every try."""
    raise ValueError(f"input {key} cannot be processed: <b>bad</b> & wrong")


@python_app
def after_broken(value: int) -> int:
    """Never runs, since what it depends on fails."""
    return value


@python_app(cache=True)
def reference(number: int) -> int:
    """Memoized: the second call with the same argument does not run."""
    import time

    time.sleep(0.2)
    return number + 1


@bash_app
def archive(number: int, stdout: Any = None) -> str:
    """A command line."""
    return f"echo archived {number}; sleep 0.5"


@join_app
def fan_out(count: int) -> list[Future[int]]:
    """Joins the tasks that it submits itself."""
    return [simulate(i, 0.3) for i in range(count)]


@python_app
def summarise(inputs: Any = ()) -> int:
    """The end of the line: depends on many."""
    return int(sum(inputs) % 1000003)


class Ledger:
    """The workflow's own account: one JSON line a task, from the futures that Parsl gave us."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tasks: dict[int, dict[str, Any]] = {}
        self.futures: dict[int, Future[Any]] = {}

    def add(
        self,
        app: str,
        future: Any,
        *,
        state: str = "exec_done",
        tries: int = 1,
        depends: tuple[Any, ...] = (),
        **expect: Any,
    ) -> Any:
        """Note what was submitted and what must come of it; gives the future back."""
        self.futures[future.tid] = future
        self.tasks[future.tid] = {
            "task": future.tid,
            "app": app,
            "state": state,
            "tries": tries,
            "depends": sorted(d.tid for d in depends),
            **expect,
        }
        return future

    def settle(self) -> None:
        """Wait for every task, check that the outcome is the one foreseen, and write the ledger."""
        for number, future in self.futures.items():
            failed = future.exception() is not None
            if failed != (self.tasks[number]["state"] in ("failed", "dep_fail")):
                raise SystemExit(f"the demo workflow itself went wrong: task {number}: {future.exception()!r}")
        lines = [json.dumps(entry, sort_keys=True) for _, entry in sorted(self.tasks.items())]
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(ledger: Ledger, folder: Path) -> None:
    """Submit everything."""
    prepared = [ledger.add("prepare", prepare(i)) for i in range(40)]
    simulated = [
        ledger.add("simulate", simulate(p, 0.6 + (i % 5) * 0.2), depends=(p,), cpu_seconds=0.5)
        for i, p in enumerate(prepared[:24])
    ]
    for i in range(3):
        ledger.add("allocate", allocate(120 + 60 * i, 3.0), peak_megabytes=120 + 60 * i)
    for _ in range(3):
        ledger.add("fork_out", fork_out(2, 2.0), cpu_seconds=3.5)
    for i in range(4):
        ledger.add("flaky", flaky(i, str(folder)), tries=2)
    bad = ledger.add("broken", broken(13), state="failed", tries=2, exception="ValueError")
    ledger.add("after_broken", after_broken(bad), state="dep_fail", tries=0, depends=(bad,))
    first = ledger.add("reference", reference(7))
    first.result()
    ledger.add("reference", reference(7), state="memo_done", tries=0)
    for i in range(3):
        ledger.add("archive", archive(i, stdout=str(folder / f"archive-{i}.txt")))
    joined = ledger.add("fan_out", fan_out(6), joins=6)
    values = ledger.add("summarise", summarise(inputs=simulated), depends=tuple(simulated))
    joined.result()
    values.result()
    _add_inner(ledger, joined)


def _add_inner(ledger: Ledger, joined: Any) -> None:
    """The tasks that the join app submitted are tasks like any other."""
    for inner in joined.task_record["joins"]:
        ledger.add("simulate", inner)


def main() -> None:
    """Run the workflow in the folder given, monitored through the hub at the port given."""
    folder = Path(sys.argv[1]).resolve()
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 55055
    ledger = Ledger(folder / "ledger.jsonl")
    config = Config(
        executors=[
            HighThroughputExecutor(
                label="htex",
                max_workers_per_node=2,
                address="127.0.0.1",
                encrypted=False,
                provider=LocalProvider(init_blocks=1, max_blocks=1),
            )
        ],
        monitoring=MonitoringHub(
            hub_address="127.0.0.1",
            hub_port=port,
            resource_monitoring_interval=1,
            workflow_name="demo",
            workflow_version="1",
            tags={"example": "demo"},
        ),
        retries=1,
        run_dir=str(folder / "runinfo"),
        strategy="none",
        usage_tracking=0,
    )
    with parsl.load(config):
        (folder / "run-id").write_text(parsl.dfk().run_id, encoding="utf-8")
        run(ledger, folder)
        ledger.settle()


if __name__ == "__main__":
    main()
