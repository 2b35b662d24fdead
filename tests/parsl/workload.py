"""Everything that a Parsl task can do to its monitoring, as apps whose outcomes can be compared between runs.

The functions stand inside a function, so that they travel by value; their globals are this module's, so the workers'
path must have it.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsl import bash_app, join_app, python_app
from parsl.dataflow.dflow import DataFlowKernel

LARGE = 3_000_000


@dataclass(frozen=True)
class Outcome:
    """What the user sees: a value, or an exception with the functions of theirs that it passed."""

    value: Any = None
    error: str = ""
    message: str = ""
    frames: tuple[str, ...] = ()


def outcome_of(future: Future[Any], hide: str = "") -> Outcome:
    try:
        value = future.result(timeout=60)
    except BaseException as error:
        frames = tuple(f.name for f in traceback.extract_tb(error.__traceback__) if f.filename == __file__)
        try:
            message = str(error).replace(hide, "…") if hide else str(error)
        except TypeError as no_text:
            message = str(no_text)
        message = re.sub(r"task \d+", "task N", message)  # inner tasks of joins are numbered as they come
        return Outcome(error=type(error).__name__, message=message, frames=frames)
    return Outcome(value=value)


def run_all(kernel: DataFlowKernel, folder: Path) -> tuple[dict[str, Outcome], dict[str, int]]:
    """Run the workload on both executors; outcomes and task numbers by name."""
    futures: dict[str, Any] = {}
    for label in ("htex", "threads"):
        work = folder / label
        work.mkdir()
        for name, future in _submitted(kernel, label, work).items():
            futures[f"{label}.{name}"] = future
    for name, future in _joins(kernel).items():
        futures[name] = future
    outcomes = {name: outcome_of(future, hide=str(folder)) for name, future in futures.items()}
    for label in ("htex", "threads"):
        for file in sorted((folder / label).glob("*.txt")):
            outcomes[f"{label}.{file.name}"] = Outcome(value=file.read_text().replace(str(folder), "…"))
        again = _memoized(kernel, label)(4)
        outcomes[f"{label}.memoized_again"], futures[f"{label}.memoized_again"] = outcome_of(again), again
    lost = _lost_worker(kernel)()
    outcomes["htex.lost"], futures["htex.lost"] = Outcome(error=outcome_of(lost).error), lost
    return outcomes, {name: future.tid for name, future in futures.items()}


def _memoized(kernel: DataFlowKernel, label: str) -> Callable[[int], Any]:
    def cube(x: int) -> int:
        return x**3

    cube.__name__ = f"cube_{label}"
    return python_app(cube, data_flow_kernel=kernel, executors=[label], cache=True)  # type: ignore[no-any-return]


def _lost_worker(kernel: DataFlowKernel) -> Callable[[], Any]:
    @python_app(data_flow_kernel=kernel, executors=["htex"])
    def lost() -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    return lost  # type: ignore[no-any-return]


def _submitted(kernel: DataFlowKernel, label: str, work: Path) -> dict[str, Any]:
    def app(function: Any) -> Any:
        return python_app(function, data_flow_kernel=kernel, executors=[label])

    def shell(function: Any) -> Any:
        return bash_app(function, data_flow_kernel=kernel, executors=[label])

    @app
    def double(x: int) -> int:
        return 2 * x

    @app
    def fail(text: str) -> None:
        def inner() -> None:
            raise ValueError(text)

        inner()

    @app
    def keywords(*args: Any, function: int = 0, where: int = 0, number: int = 0, try_: int = 0, **kwargs: Any) -> Any:
        return args, function, where, number, try_, sorted(kwargs)

    @app
    def flaky(marker: str) -> str:
        import os

        if not os.path.exists(marker):
            open(marker, "w").close()
            raise RuntimeError("the first try fails")
        return "second"

    @app
    def slow(walltime: float = 0.3) -> None:
        import time

        for _ in range(50):
            time.sleep(0.1)

    @app
    def large() -> bytes:
        return b"x" * 3_000_000

    @app
    def unpicklable() -> Any:
        return (i for i in range(3))

    @app
    def odd_error() -> None:
        class Odd(Exception):
            def __str__(self) -> str:
                raise TypeError("no text")

        raise Odd

    @app
    def environment() -> list[str]:
        import os

        return sorted(name for name in os.environ if name.startswith("HELIOGRAPH"))

    @app
    def error_as_value() -> Exception:
        return ValueError("a value")

    @shell
    def echo(text: str, stdout: Any = None, stderr: Any = None) -> str:
        return f"echo {text}; echo problem >&2"

    @shell
    def exits(code: int) -> str:
        return f"exit {code}"

    @shell
    def sleeps(walltime: float = 0.3) -> str:
        return "sleep 5"

    failed = fail("before it")
    futures = {
        "double": double(21),
        "chain": double(double(double(1))),
        "inputs": keywords(inputs=[double(3)]),
        "fail": fail("on purpose"),
        "depends": double(failed),
        "keywords": keywords(1, 2, function=3, where=4, number=5, try_=6, other=7),
        "flaky": flaky(str(work / "marker")),
        "slow": slow(),
        "large": large(),
        "odd_error": odd_error(),
        "environment": environment(),
        "error_as_value": error_as_value(),
        "echo": echo("hello", stdout=str(work / "out.txt"), stderr=str(work / "err.txt")),
        "exits": exits(3),
        "sleeps": sleeps(),
        "memoized": _memoized(kernel, label)(4),
    }
    if label == "htex":
        futures["unpicklable"] = unpicklable()
    values = ("error_as_value", "environment")
    return {name: _Told(future) if name in values else future for name, future in futures.items()}


class _Told:
    """A future whose value cannot be compared as it is: by its text."""

    def __init__(self, future: Any) -> None:
        self._future = future
        self.tid = future.tid

    def result(self, timeout: float) -> str:
        return repr(self._future.result(timeout))


def _joins(kernel: DataFlowKernel) -> dict[str, Any]:
    @python_app(data_flow_kernel=kernel, executors=["htex"])
    def part(x: int) -> int:
        if x < 0:
            raise ValueError("negative")
        return x + 1

    @join_app(data_flow_kernel=kernel)
    def one(x: int) -> Any:
        return part(x)

    @join_app(data_flow_kernel=kernel)
    def many(xs: list[int]) -> Any:
        return [part(x) for x in xs]

    @join_app(data_flow_kernel=kernel)
    def wrong() -> Any:
        return 7

    @join_app(data_flow_kernel=kernel)
    def raises() -> Any:
        raise KeyError("in the join")

    return {
        "join.one": one(1),
        "join.many": many([1, 2, 3]),
        "join.none": many([]),
        "join.fails": one(-1),
        "join.wrong": wrong(),
        "join.raises": raises(),
    }
