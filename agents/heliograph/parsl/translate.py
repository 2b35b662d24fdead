"""Parsl's monitoring messages as our records. Pure: message and clock in, records out.

In: the name of a message's type, its payload (dicts with naive local datetimes), and the moment it was taken. Out: a
tuple of records. A payload that lacks what a record needs raises KeyError, TypeError or ValueError; the caller counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from heliograph.failure import redact
from heliograph.messages import (
    BlockState,
    NodeSeen,
    Record,
    RunEnded,
    RunStarted,
    TaskDescribed,
    TaskRunning,
    TaskSample,
    TaskState,
)

ORIGIN = ""
"""Parsl's kernel allocates the task numbers, and a run has one kernel: the origin needs no name."""
Message = Mapping[str, Any]
FAILED = {"fail_retryable", "failed", "dep_fail"}
"""States that say why."""


class Moment(NamedTuple):
    """When a message was taken: wall time in UTC and CLOCK_MONOTONIC, microseconds."""

    at: int
    mono: int


@dataclass(frozen=True, kw_only=True)
class Context:
    """What Parsl's messages do not say. `pid` is that of the task's process where the message is translated there."""

    tags: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""
    utc_offset: int = 0
    pid: int | None = None
    sample_interval: float = 0.0
    record_arguments: bool = True


def micros(local: datetime | None) -> int | None:
    """A naive local (or aware) datetime as UTC microseconds."""
    return None if local is None else round(local.timestamp() * 1e6)


def records(kind: str, payload: Any, now: Moment, context: Context) -> tuple[Record, ...]:
    """All records of one message. An unknown kind has none: a newer Parsl may send more than we know."""
    translate = _KINDS.get(kind)
    return () if translate is None else translate(payload, now, context)


def _workflow(message: Message, now: Moment, context: Context) -> tuple[Record, ...]:
    if message.get("time_completed"):  # until Parsl 2025 it is there from the beginning, empty
        return (
            RunEnded(
                at=now.at,
                mono=now.mono,
                completed=message.get("tasks_completed_count"),
                failed=message.get("tasks_failed_count"),
            ),
        )
    return (
        RunStarted(
            at=micros(message.get("time_began")) or now.at,
            mono=now.mono,
            name=str(message["workflow_name"]),
            version=str(message.get("workflow_version") or ""),
            owner=str(message.get("user") or ""),
            host=str(message.get("host") or ""),
            run_dir=str(message.get("rundir") or ""),
            program="parsl",
            program_version=str(message.get("parsl_version") or ""),
            python=str(message.get("python_version") or ""),
            zone=context.zone,
            utc_offset=context.utc_offset,
            tags=dict(context.tags),
            pid=context.pid,
            sample_interval=context.sample_interval,
        ),
    )


def _task(message: Message, now: Moment, context: Context) -> tuple[Record, ...]:
    """The state, and before it what the task is, at its first message. What is known later (hash, joined tasks) comes
    with the states."""
    state, try_ = message["task_status_name"], message["try_id"]
    if state == "pending" and try_ == 0:
        return _described(message, now, context), _state(message, state, try_, now)
    return (_state(message, state, try_, now),)


def _described(message: Message, now: Moment, context: Context) -> TaskDescribed:
    shown = context.record_arguments
    return TaskDescribed(
        at=now.at,
        mono=now.mono,
        origin=ORIGIN,
        number=message["task_id"],
        app=message["task_func_name"],
        executor=message["task_executor"],
        depends=_numbers(message["task_depends"]) or [],
        memoize=bool(message["task_memoize"]),
        hashsum=message["task_hashsum"],
        inputs=argument(message["task_inputs"]) if shown else None,
        outputs=argument(message["task_outputs"]) if shown else None,
        stdin=argument(message["task_stdin"]) if shown else None,
        stdout=argument(message["task_stdout"]) if shown else None,
        stderr=argument(message["task_stderr"]) if shown else None,
        invoked=micros(message["task_time_invoked"]),
    )


def _state(message: Message, state: str, try_: int, now: Moment) -> TaskState:
    failed = state in FAILED
    returned = message["task_time_returned"] or message["task_try_time_returned"]
    return TaskState(
        at=now.at,
        mono=now.mono,
        origin=ORIGIN,
        number=message["task_id"],
        try_=try_,
        state=state,
        executor=message["task_executor"],
        fail_count=message["task_fail_count"] or None,
        fail_cost=finite(message["task_fail_cost"]) if message["task_fail_count"] else None,
        fail_history=redact(message["task_fail_history"]) if failed else None,
        joins=(_numbers(message["task_joins"]) or []) if state == "joining" else None,
        from_memo=message.get("from_memo") if state != "pending" else None,
        hashsum=message["task_hashsum"],
        invoked=micros(message["task_time_invoked"]),
        launched=micros(message["task_try_time_launched"]),
        returned=micros(returned),
    )


def _worker_task(message: Message, now: Moment, context: Context) -> tuple[Record, ...]:
    """Begin and end of a try as Parsl's own wrapper tells them. The end says nothing of its outcome."""
    at = micros(message["timestamp"]) or now.at
    number, try_ = message["task_id"], message["try_id"]
    if message.get("first_msg"):
        return (
            TaskRunning(
                at=at,
                mono=now.mono if context.pid else 0,
                origin=ORIGIN,
                number=number,
                try_=try_,
                host=message["hostname"],
                pid=context.pid or 0,
                create_time=0,  # no process has it: agents leave alone what Parsl itself samples and never ends
                block=message.get("block_id"),
            ),
        )
    if message.get("last_msg"):
        return (TaskState(at=at, mono=0, origin=ORIGIN, number=number, try_=try_, state="running_ended"),)
    return ()


def _resource(message: Message, now: Moment, context: Context) -> tuple[Record, ...]:
    if message.get("first_msg") or message.get("last_msg"):  # so until Parsl 2025
        return _worker_task(message, now, context)
    value = message.get
    return (
        TaskSample(
            at=micros(message["timestamp"]) or now.at,
            origin=ORIGIN,
            number=message["task_id"],
            try_=message["try_id"],
            host=message["hostname"],
            pid=message["psutil_process_pid"],
            cpu_user=_seconds(value("psutil_process_time_user")),
            cpu_system=_seconds(value("psutil_process_time_system")),
            rss=_count(value("psutil_process_memory_resident")),
            vms=_count(value("psutil_process_memory_virtual")),
            threads=_count(value("psutil_process_num_threads")),
            children=_count(value("psutil_process_children_count")),
            read_bytes=_count(value("psutil_process_disk_read")),
            write_bytes=_count(value("psutil_process_disk_write")),
            ctx_voluntary=_count(value("psutil_process_num_ctx_switches_voluntary")),
            ctx_involuntary=_count(value("psutil_process_num_ctx_switches_involuntary")),
            memory_percent=finite(value("psutil_process_memory_percent")),
            status=value("psutil_process_status"),
            cpu_num=_count(value("psutil_cpu_num")),
            interval=finite(value("resource_monitoring_interval")) or 0.0,
        ),
    )


def _node(message: Message, now: Moment, context: Context) -> tuple[Record, ...]:
    return (
        NodeSeen(
            at=micros(message.get("timestamp")) or now.at,
            host=message["hostname"],
            pool=str(message.get("uid") or ""),
            block=message.get("block_id"),
            workers=_count(message.get("worker_count")),
            cpu_count=_count(message.get("cpu_count")),
            memory_total=_count(message.get("total_memory")),
            python=str(message.get("python_v") or message.get("python_version") or ""),
            platform=str(message.get("os") or ""),
            active=bool(message.get("active", True)),
        ),
    )


def _blocks(message: Any, now: Moment, context: Context) -> tuple[Record, ...]:
    return tuple(
        BlockState(
            at=micros(block.get("timestamp")) or now.at,
            executor=str(block["executor_label"]),
            block=str(block["block_id"]),
            status=str(block["status"]),
            job_id=None if block.get("job_id") is None else str(block["job_id"]),
        )
        for block in message
    )


_KINDS: dict[str, Callable[[Any, Moment, Context], tuple[Record, ...]]] = {
    "WORKFLOW_INFO": _workflow,
    "TASK_INFO": _task,
    "WORKER_TASK_INFO": _worker_task,
    "RESOURCE_INFO": _resource,
    "NODE_INFO": _node,
    "BLOCK_INFO": _blocks,
}


def _numbers(joined: str | None) -> list[int] | None:
    """Task numbers that Parsl joins by commas."""
    return None if not joined else [int(number) for number in joined.split(",")]


def argument(value: object) -> str | None:
    """Parsl says 'None' or '' for what is not there, and a file object is worth its text."""
    text = None if value is None else str(value)
    return None if text in {None, "", "None"} else redact(text)


def finite(value: Any) -> float | None:
    """A number that JSON knows, or None."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _count(value: Any) -> int | None:
    number = finite(value)
    return None if number is None else int(number)


def _seconds(value: Any) -> int | None:
    number = finite(value)
    return None if number is None else round(number * 1e6)
