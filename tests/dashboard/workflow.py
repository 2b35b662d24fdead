"""The workflow that browser tests look at: a few seconds, with everything that a page can show.

In: folder and bus URL. Out: `run-id` in the folder. Names and texts are hostile on purpose: HTML, quotes, emoji.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import parsl
from parsl import bash_app, join_app, python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider

from heliograph.parsl import MonitoringHub

NAME = 'Größe <b>&</b> "Ruhe" 🌍'


@python_app(executors=["htex"])
def prepare(number: int) -> int:
    return number * number


@python_app(executors=["htex"])
def simulate(start: int, seconds: float) -> int:
    import time

    value, end = start, time.process_time() + seconds
    while time.process_time() < end:
        value = (value * 1103515245 + 12345) % (1 << 31)
    return value


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


def shout(number: int) -> None:
    raise ValueError(
        f"input {number}: <script>document.title='broken'</script> 'quoted' \"twice\" 🔥 " + "long " * 2000
    )


shout.__name__ = "<img src=x onerror=alert(1)>"
broken = python_app(shout, executors=["htex"])


@python_app(executors=["htex"])
def after(value: Any) -> Any:
    return value


@python_app(executors=["htex"], cache=True)
def remembered(number: int) -> int:
    return number + 1


@bash_app(executors=["htex"])
def archive(number: int, stdout: Any = None, stderr: Any = None) -> str:
    return f"echo 'archived {number} <b>bold</b>'; echo trouble >&2; exit {number}"


@join_app
def joins(count: int) -> Any:
    return [prepare(i) for i in range(count)]


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
        monitoring=MonitoringHub(
            bus_url=bus,
            resource_monitoring_interval=0.3,
            workflow_name=NAME,
            workflow_version="1.0",
            tags={"purpose": "tests"},
        ),
        retries=1,
        run_dir=str(folder / "runinfo"),
        strategy="none",
        usage_tracking=0,
    )
    with parsl.load(config):
        (folder / "run-id").write_text(parsl.dfk().run_id, encoding="utf-8")
        prepared = [prepare(i) for i in range(12)]
        # Longer than an idle agent naps, the last one most: a sample of it is certain.
        simulated = [simulate(p, 0.4 + 0.2 * i) for i, p in enumerate(prepared[:6])]
        assert flaky(str(folder)).result() == "second try"
        bad = [broken(i) for i in range(3)]
        assert after(bad[0]).exception() is not None
        assert [remembered(1).result(), remembered(1).result()] == [2, 2]
        codes = [
            archive(i, stdout=str(folder / f"out-{i}.txt"), stderr=str(folder / f"err-{i}.txt")).exception()
            for i in range(2)
        ]
        assert [code is None for code in codes] == [True, False]
        assert joins(3).result() == [0, 1, 4]
        assert total(inputs=simulated).result() > 0
        assert all(b.exception() is not None for b in bad)


if __name__ == "__main__":
    main()
