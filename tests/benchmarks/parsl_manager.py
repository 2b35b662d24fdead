"""Parsl's own database manager, fed with what its kernel and workers send: how fast, and how much room it takes.

In: how many tasks, or records. Out: messages a second, the size of `monitoring.db`. Each of so many tasks is three
messages of the kernel, two of the worker and `samples` resource messages; the messages have Parsl's fields, and its own
code writes them.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from parsl.monitoring import db_manager
from parsl.monitoring.message_type import MessageType

from heliograph.messages import Record
from tests.benchmarks.parsl_events import Kernel, Message
from tests.benchmarks.services import until

RUN = "6a1c9a3e-0000-4000-8000-1f6f6d2c9a55"
START = datetime(2026, 11, 22, 12, 0, 0)  # noqa: DTZ001 — Parsl's times are naive
STATES = ("pending", "launched", "exec_done")


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What the manager made of its messages."""

    messages_per_second: float
    bytes: int


def messages_per_second(tasks: int, samples: int = 2) -> float:
    rows = {"resource": tasks * samples, "status": tasks * len(STATES)}
    return stored(
        chain([(MessageType.WORKFLOW_INFO, _workflow())], _messages(tasks, samples)), rows
    ).messages_per_second


def same_events(records: Iterable[Record]) -> int:
    """Bytes of its database for these records: those that its own kernel and workers would have sent, too."""
    messages = list(Kernel(run=RUN).messages(records))
    kinds = Counter(kind for kind, _ in messages)
    states = kinds[MessageType.TASK_INFO] + kinds[MessageType.WORKER_TASK_INFO]
    rows = {"resource": kinds[MessageType.RESOURCE_INFO], "status": states, "node": kinds[MessageType.NODE_INFO]}
    return stored(messages, rows).bytes


def stored(sent: Iterable[Message], rows: Mapping[str, int]) -> Stored:
    """Let the manager, in a process of its own as Parsl starts it, store all of this until its tables have that many
    rows. The first message must be the workflow's."""
    context = multiprocessing.get_context("spawn")
    messages, end = context.Queue(), context.Event()
    with tempfile.TemporaryDirectory(prefix="bench-parsl-") as folder:
        path = Path(folder) / "monitoring.db"
        manager = context.Process(
            target=db_manager.dbm_starter, args=(messages, f"sqlite:///{path}", folder, 30, end, None)
        )
        manager.start()
        try:
            first, *others = sent
            messages.put(first)
            until(lambda: _count(path, "workflow") == 1, 60)
            began = time.perf_counter()
            for message in others:
                messages.put(message)
            for table, count in rows.items():
                until(lambda table=table, count=count: _count(path, table) >= count, 200, pause=0.2)  # type: ignore[misc]
            took = time.perf_counter() - began
        finally:
            end.set()
            manager.join(20)
            manager.kill()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Stored(messages_per_second=len(others) / took, bytes=path.stat().st_size)


def _count(path: Path, table: str) -> int:
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def _messages(tasks: int, samples: int) -> Iterator[tuple[MessageType, Any]]:
    for number in range(tasks):
        at = START + timedelta(milliseconds=10 * number)
        for step, state in enumerate(STATES[:2]):
            yield MessageType.TASK_INFO, _task(number, state, at + timedelta(milliseconds=step), tasks)
        ran = at + timedelta(milliseconds=3)
        yield MessageType.WORKER_TASK_INFO, _worker(number, ran, last=False)
        for sample in range(samples):
            yield MessageType.RESOURCE_INFO, _sample(number, ran + timedelta(seconds=10 * sample))
        yield MessageType.WORKER_TASK_INFO, _worker(number, ran + timedelta(seconds=10 * samples), last=True)
        yield (
            MessageType.TASK_INFO,
            _task(number, STATES[2], ran + timedelta(seconds=10 * samples, milliseconds=2), tasks),
        )


def _workflow() -> dict[str, Any]:
    return {
        "python_version": "3.11.7", "parsl_version": "2026.10.26", "time_began": START, "time_completed": None,
        "run_id": RUN, "workflow_name": "bench", "workflow_version": "1", "rundir": "/runs/000",
        "tasks_completed_count": 0, "tasks_failed_count": 0, "user": "ada", "host": "login1",
    }  # fmt: skip


def _task(number: int, state: str, at: datetime, tasks: int) -> dict[str, Any]:
    launched = None if state == "pending" else at
    returned = at if state == "exec_done" else None
    return {
        "task_func_name": ("simulate", "preprocess", "train", "collect")[number % 4], "task_memoize": False,
        "task_hashsum": None, "task_fail_count": 0, "task_fail_cost": 0, "task_status": 0, "task_id": number,
        "task_time_invoked": START, "task_try_time_launched": launched, "task_time_returned": returned,
        "task_try_time_returned": returned, "task_executor": "htex", "run_id": RUN, "try_id": 0, "timestamp": at,
        "task_status_name": state, "tasks_failed_count": 0, "tasks_completed_count": min(number, tasks),
        "tasks_memo_completed_count": 0, "from_memo": False, "task_inputs": "None", "task_outputs": "None",
        "task_stdin": None, "task_stdout": f"/runs/000/task_{number}.out", "task_stderr": "",
        "task_fail_history": "", "task_depends": str(number - 1) if number % 2 else "", "task_joins": None,
    }  # fmt: skip


def _worker(number: int, at: datetime, *, last: bool) -> dict[str, Any]:
    return {
        "run_id": RUN, "try_id": 0, "task_id": number, "hostname": f"node{number % 64:03d}.cluster.example",
        "block_id": str(number % 4), "first_msg": not last, "last_msg": last, "timestamp": at,
    }  # fmt: skip


def _sample(number: int, at: datetime) -> dict[str, Any]:
    return {
        "run_id": RUN, "try_id": 0, "task_id": number, "hostname": f"node{number % 64:03d}.cluster.example",
        "block_id": str(number % 4), "resource_monitoring_interval": 10.0, "timestamp": at, "first_msg": False,
        "last_msg": False, "psutil_process_pid": 2000 + number % 128, "psutil_process_memory_percent": 0.5,
        "psutil_process_children_count": 0.0, "psutil_process_time_user": 9.5, "psutil_process_time_system": 0.4,
        "psutil_process_memory_virtual": 3e9, "psutil_process_memory_resident": 9e8,
        "psutil_process_disk_read": 2e8, "psutil_process_disk_write": 3e7, "psutil_process_status": "running",
        "psutil_cpu_num": "7", "psutil_process_num_ctx_switches_voluntary": 2000.0,
        "psutil_process_num_ctx_switches_involuntary": 110.0,
    }  # fmt: skip
