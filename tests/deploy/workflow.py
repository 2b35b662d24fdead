"""A Parsl workflow as a user of a deployment runs it on the host: `python -m tests.deploy.workflow FOLDER PORT`.

In: a folder, the port of a hub on this machine, and the join token's file in the environment. Out: tasks until the file
`stop` stands in the folder; then `ledger.jsonl`, which says of each task how it ended, and `run-id`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import parsl
from parsl import python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

from heliograph.parsl import MonitoringHub

AT_ONCE, PACE, LONGEST = 40, 0.4, 900.0
"""Tasks submitted together, seconds between two such waves, and seconds after which the longest task is over anyway."""


@python_app
def square(number: int) -> int:
    return number * number


@python_app
def refuses(number: int) -> int:
    raise ValueError(f"no use for {number}")


@python_app
def stays(folder: str, longest: float) -> None:
    """Runs for as long as the workflow does, so that something runs whenever somebody looks."""
    import time
    from pathlib import Path

    end = time.monotonic() + longest
    while not (Path(folder) / "stop").exists() and time.monotonic() < end:
        time.sleep(0.2)


def wave(first: int) -> list[tuple[int, Any]]:
    return [(n, refuses(n) if n % 20 == 19 else square(n)) for n in range(first, first + AT_ONCE)]


def settled(number: int, future: Any) -> dict[str, Any]:
    """What came of a task, which must be what it computes: a monitoring that is in trouble changes nothing."""
    error = future.exception()
    assert isinstance(error, ValueError) if number % 20 == 19 else error is None, (number, error)
    assert error is not None or future.result() == number * number
    return entry(future)


def entry(future: Any) -> dict[str, Any]:
    return {"task": future.tid, "app": future.task_record["func_name"], "state": future.task_status()}


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    executor = HighThroughputExecutor(
        label="htex",
        max_workers_per_node=3,
        address="127.0.0.1",
        encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    config = Config(
        executors=[executor],
        monitoring=MonitoringHub(
            hub_address="127.0.0.1", hub_port=port, resource_monitoring_interval=1, workflow_name="deployed"
        ),
        run_dir=str(folder / "runinfo"),
        strategy="none",
        usage_tracking=0,
    )
    with parsl.load(config), open(folder / "ledger.jsonl", "w", encoding="utf-8", buffering=1) as ledger:
        (folder / "run-id").write_text(parsl.dfk().run_id, encoding="utf-8")
        number, staying = 0, stays(str(folder), LONGEST)
        while not number or not (folder / "stop").exists():
            for each, future in wave(number):
                ledger.write(json.dumps(settled(each, future)) + "\n")
            number += AT_ONCE
            time.sleep(PACE)
        staying.result()
        ledger.write(json.dumps(entry(staying)) + "\n")


if __name__ == "__main__":
    main()
