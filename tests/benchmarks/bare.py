"""The least that a recorder does: writes of bytes that say nothing, as many as ours has a task.

In: a file's name. Out: writes to a file of its name and this process's number: a kernel's at each change of a task's
state, and those of a task that asks for them.
"""

from __future__ import annotations

import functools
import os

from parsl.dataflow.dflow import DataFlowKernel

RECORD = bytes(200)


def telling(running: DataFlowKernel, file: str) -> None:
    """Parsl tells of a change of state only where a kernel has monitoring, so its way to tell is exchanged."""
    running._send_task_info = lambda _: write(file)


def write(file: str) -> None:
    os.write(_descriptor(file, os.getpid()), RECORD)


@functools.cache
def _descriptor(file: str, pid: int) -> int:
    return os.open(f"{file}-{pid}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
