"""A workflow of a few seconds whose outcome is determined: retries, a join, a memoized call, failures, dependencies.

In: folder and bus URL. Out: `run-id` in the folder.
"""

import sys
from pathlib import Path
from typing import Any

import parsl
from parsl import bash_app, join_app, python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from heliograph.parsl import MonitoringHub


@python_app(executors=["htex"])
def square(number: int) -> int:
    return number * number


@python_app(executors=["threads"])
def total(inputs: Any = ()) -> int:
    return int(sum(inputs))


@python_app(executors=["htex"])
def flaky(folder: str) -> str:
    import pathlib

    mark = pathlib.Path(folder) / "flaky"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("first try")
    return "second try"


@python_app(executors=["htex"])
def broken() -> None:
    raise ValueError("<b>never</b> works")


@python_app(executors=["htex"])
def after(value: Any) -> Any:
    return value


@python_app(executors=["htex"], cache=True)
def remembered(number: int) -> int:
    return number + 1


@bash_app(executors=["htex"])
def fails(stdout: Any = None) -> str:
    return "echo before; exit 3"


@join_app
def joins(count: int) -> Any:
    return [square(i) for i in range(count)]


def main() -> None:
    folder, bus = Path(sys.argv[1]), sys.argv[2]
    config = Config(
        executors=[
            HighThroughputExecutor(
                label="htex",
                max_workers_per_node=2,
                address="127.0.0.1",
                encrypted=False,
                provider=LocalProvider(init_blocks=1, max_blocks=1),
            ),
            ThreadPoolExecutor(label="threads", max_threads=2),
        ],
        monitoring=MonitoringHub(bus_url=bus, resource_monitoring_interval=0.5, workflow_name="small"),
        retries=1,
        run_dir=str(folder / "runinfo"),
        strategy="none",
        usage_tracking=0,
    )
    with parsl.load(config):
        (folder / "run-id").write_text(parsl.dfk().run_id, encoding="utf-8")
        squares = [square(i) for i in range(10)]
        assert total(inputs=squares).result() == 285
        assert flaky(str(folder)).result() == "second try"
        bad = broken()
        assert after(bad).exception() is not None
        assert [remembered(1).result(), remembered(1).result()] == [2, 2]
        assert fails(stdout=str(folder / "out.txt")).exception() is not None
        assert joins(3).result() == [0, 1, 4]


if __name__ == "__main__":
    main()
