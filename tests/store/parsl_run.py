"""A small real workflow with Parsl's own monitoring: what the views and the import are measured against.

In: a folder. Out: the `monitoring.db` that Parsl wrote there. Run as a program it is the workflow itself, as Parsl's
kernel and its helper processes want a process of their own.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest


def recorded_by_parsl(factory: pytest.TempPathFactory) -> Path:
    """The database of the one run of this test session, made when first asked for."""
    return _recorded(factory.getbasetemp() / "recorded-by-parsl")


@functools.cache
def _recorded(folder: Path) -> Path:
    """Parsl's own monitoring can hang at its end when the machine is busy; what it wrote is then made anew, once."""
    try:
        return _run(folder / "first")
    except subprocess.TimeoutExpired:
        return _run(folder / "second")


def _run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    # HTEX starts programs that it looks for on PATH.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(
        [sys.executable, __file__, str(folder)], check=True, cwd=folder, env=environment, timeout=120, stdout=sys.stderr
    )
    return folder / "runinfo" / "monitoring.db"


def _workflow(folder: Path) -> None:
    import parsl
    from parsl import bash_app, join_app, python_app
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
    from parsl.monitoring import MonitoringHub
    from parsl.providers import LocalProvider

    @python_app(executors=["htex"])
    def double(x):
        return 2 * x

    @python_app(executors=["htex"])
    def busy(seconds):
        import time

        held = bytearray(20_000_000)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            sum(range(10_000))
        return len(held)

    @python_app(executors=["htex"], cache=True)
    def memo(x):
        return x

    @python_app(executors=["threads"])
    def flaky(flag):
        import pathlib

        if not pathlib.Path(flag).exists():
            pathlib.Path(flag).touch()
            raise ValueError("the first try, with a comma")
        return 1

    @python_app(executors=["threads"])
    def boom():
        raise RuntimeError("never works")

    @python_app(executors=["threads"])
    def add(*numbers):
        return sum(numbers)

    @join_app
    def several(n):
        return [double(i) for i in range(n)]

    @bash_app(executors=["threads"])
    def shell(stdout="out.txt"):
        return "echo hello"

    config = Config(
        executors=[
            HighThroughputExecutor(
                label="htex",
                address="127.0.0.1",
                encrypted=False,
                max_workers_per_node=2,
                provider=LocalProvider(init_blocks=1, max_blocks=1),
            ),
            ThreadPoolExecutor(label="threads", max_threads=2),
        ],
        monitoring=MonitoringHub(
            hub_address="127.0.0.1", resource_monitoring_interval=0.5, workflow_name="small", workflow_version="7"
        ),
        retries=1,
        run_dir=str(folder / "runinfo"),
        strategy="none",
    )
    with parsl.load(config):
        first = [double(1), busy(1.5), memo(3)]
        first[-1].result()
        later = [memo(3), flaky(str(folder / "flag")), boom(), add(first[0], first[1]), several(3), shell()]
        later.append(add(later[2]))
        for future in first + later:
            future.exception()


if __name__ == "__main__":
    _workflow(Path(sys.argv[1]))
