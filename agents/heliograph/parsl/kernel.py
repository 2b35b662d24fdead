"""The seam: how the fast route reaches the DataFlowKernel that is starting, and its executors.

In: the frames above `MonitoringHub.start`. Out: the kernel, with two methods of that one instance wrapped: the one that
adds executors, so that they are prepared just before they start, those added later too; and the one that tells of a
task's new state. This is the one place that relies on what Parsl does not promise, so types and signatures are checked
first; when they differ, `Unreachable` says how.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

_log = logging.getLogger("parsl.heliograph")
_FRAMES = 12  # type checkers and subclasses stand between the kernel and us


class Unreachable(Exception):
    """This Parsl is not one whose kernel we know how to reach. The text says what differs."""


def calling_kernel(hub: object) -> Any:
    """The DataFlowKernel under construction that is starting this hub. Raises Unreachable."""
    try:
        from parsl.dataflow.dflow import DataFlowKernel
    except ImportError as error:
        raise Unreachable(str(error)) from error
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_FRAMES):
        if frame is None:
            break
        candidate = frame.f_locals.get("self")
        if isinstance(candidate, DataFlowKernel) and getattr(candidate, "monitoring", None) is hub:
            return candidate
        frame = frame.f_back
    raise Unreachable("start() was not called by a DataFlowKernel")


def checked(kernel: Any) -> Any:
    """The kernel, when everything that the fast route touches is as it expects. Raises Unreachable."""
    from parsl.dataflow.memoization import Memoizer

    _same(kernel.add_executors, ["executors"])
    _same(kernel.launch_task, ["task_record"])
    _same(kernel._send_task_info, ["task_record"])
    _same(Memoizer.check_memo, ["self", "task"])
    _same(Memoizer.start, ["self", "run_dir", "config_run_dir"])
    for name in ("run_id", "run_dir", "config"):
        if not hasattr(kernel, name):
            raise Unreachable(f"the kernel has no {name}")
    if not isinstance(kernel.run_id, str) or not isinstance(kernel.run_dir, str):
        raise Unreachable("the kernel's run_id or run_dir is not a text")
    return kernel


def _same(function: Callable[..., Any], expected: list[str]) -> None:
    try:
        found = list(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise Unreachable(f"{function!r} has no signature") from error
    if found != expected:
        raise Unreachable(f"{function.__qualname__} takes ({', '.join(found)}), expected ({', '.join(expected)})")


def before_executors(kernel: Any, prepare: Callable[[Any], None]) -> None:
    """Call `prepare(executor)` for each executor that is added to this kernel, just before Parsl starts it."""
    inner = kernel.add_executors

    def add_executors(executors: Sequence[Any]) -> Any:
        executors = list(executors)  # Parsl iterates twice; an iterator would be empty for it
        for executor in executors:
            try:
                prepare(executor)
            except Exception:
                _log.warning("Executor %r could not be prepared for monitoring", executor, exc_info=True)
        return inner(executors)

    kernel.add_executors = add_executors


def instead_of_messages(kernel: Any, take: Callable[[Any], bool]) -> None:
    """Call `take(task_record)` at each change of a task's state; Parsl makes its message only where that is False."""
    inner = kernel._send_task_info

    def _send_task_info(task_record: Any) -> None:
        if not take(task_record):
            inner(task_record)

    kernel._send_task_info = _send_task_info
