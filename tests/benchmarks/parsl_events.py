"""What Parsl's own monitoring would have recorded of a workflow: our records as the messages of its kernel and workers.

In: records in the order of time. Out: messages for Parsl's database manager, with its fields and types, as many as its
own code sends: one a state, two a try from the worker, one a sample, and for tries on HTEX two of the node (whenever
the interchange hands over tasks or gets results; counted in a real `monitoring.db`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from parsl.monitoring.message_type import MessageType

from heliograph.messages import (
    NodeSeen,
    Record,
    RunStarted,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
)

Message = tuple[MessageType, Any]


@dataclass
class Kernel:
    """What Parsl's kernel and interchange remember of their tasks, which every message repeats."""

    run: str
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[tuple[int, int], str | None] = field(default_factory=dict)
    samples: int = 0

    def messages(self, records: Iterable[Record]) -> Iterator[Message]:
        for record in records:
            match record:
                case RunStarted():
                    yield MessageType.WORKFLOW_INFO, self._workflow(record)
                case TaskDescribed():
                    self._described(record)
                case TaskState():
                    yield MessageType.TASK_INFO, self._state(record)
                case NodeSeen():
                    yield MessageType.NODE_INFO, self._node(record)
                case TaskRunning() | TaskEnded():
                    yield from self._at_worker(record)
                case TaskSample():
                    self.samples += 1
                    yield MessageType.RESOURCE_INFO, self._sample(record)

    def _workflow(self, r: RunStarted) -> dict[str, Any]:
        return {
            "python_version": r.python, "parsl_version": r.program_version, "time_began": _time(r.at),
            "time_completed": None, "run_id": self.run, "workflow_name": r.name, "workflow_version": r.version,
            "rundir": r.run_dir, "tasks_completed_count": 0, "tasks_failed_count": 0, "user": r.owner, "host": r.host,
        }  # fmt: skip

    def _described(self, r: TaskDescribed) -> None:
        self.tasks[r.number] = {
            "task_id": r.number, "task_func_name": r.app, "task_memoize": r.memoize, "task_hashsum": None,
            "task_fail_count": 0, "task_fail_cost": 0, "task_time_invoked": _time(r.invoked),
            "task_try_time_launched": None, "task_time_returned": None, "task_try_time_returned": None,
            "task_executor": r.executor, "run_id": self.run, "tasks_failed_count": 0, "tasks_completed_count": 0,
            "tasks_memo_completed_count": 0, "from_memo": False, "task_inputs": r.inputs or "None",
            "task_outputs": r.outputs or "None", "task_stdin": r.stdin, "task_stdout": r.stdout or "",
            "task_stderr": r.stderr or "", "task_fail_history": "", "task_joins": None,
            "task_depends": ",".join(map(str, r.depends)),
        }  # fmt: skip

    def _state(self, r: TaskState) -> dict[str, Any]:
        task = self.tasks[r.number]
        if r.hashsum:
            task["task_hashsum"] = r.hashsum
        if r.fail_count is not None:
            task["task_fail_count"], task["task_fail_cost"] = r.fail_count, r.fail_cost
        if r.fail_history:
            task["task_fail_history"] = r.fail_history
        if r.state == "pending":
            task["task_try_time_launched"] = task["task_try_time_returned"] = None
        if r.launched:
            task["task_try_time_launched"] = _time(r.launched)
        if r.returned:
            task["task_try_time_returned"] = task["task_time_returned"] = _time(r.returned)
        if r.joins:
            task["task_joins"] = ",".join(map(str, r.joins))
        return {**task, "try_id": r.try_, "task_status_name": r.state, "task_status": 0, "timestamp": _time(r.at)}

    def _at_worker(self, r: TaskRunning | TaskEnded) -> Iterator[Message]:
        first = isinstance(r, TaskRunning)
        if first:
            self.blocks[r.number, r.try_] = r.block
        block = self.blocks.get((r.number, r.try_))
        yield (
            MessageType.WORKER_TASK_INFO,
            {
                "run_id": self.run, "try_id": r.try_, "task_id": r.number, "hostname": r.host, "block_id": block,
                "first_msg": first, "last_msg": not first, "timestamp": _time(r.at),
            },
        )  # fmt: skip
        node = self.nodes.get(r.host)
        if node is not None:
            yield MessageType.NODE_INFO, {**node, "timestamp": _time(r.at)}

    def _node(self, r: NodeSeen) -> dict[str, Any]:
        self.nodes[r.host] = {
            "run_id": self.run, "hostname": r.host, "uid": f"{len(self.nodes):012x}", "block_id": r.block,
            "cpu_count": r.cpu_count, "total_memory": r.memory_total, "active": r.active, "worker_count": r.workers,
            "python_v": r.python, "timestamp": _time(r.at), "last_heartbeat": _time(r.at),
        }  # fmt: skip
        return self.nodes[r.host]

    def _sample(self, r: TaskSample) -> dict[str, Any]:
        return {
            "run_id": self.run, "try_id": r.try_, "task_id": r.number, "hostname": r.host,
            "block_id": self.blocks.get((r.number, r.try_)), "resource_monitoring_interval": r.interval,
            "timestamp": _time(r.at), "first_msg": False, "last_msg": False, "psutil_process_pid": r.pid,
            "psutil_process_memory_percent": r.memory_percent, "psutil_process_children_count": _real(r.children),
            "psutil_process_time_user": _seconds(r.cpu_user), "psutil_process_time_system": _seconds(r.cpu_system),
            "psutil_process_memory_virtual": _real(r.vms), "psutil_process_memory_resident": _real(r.rss),
            "psutil_process_disk_read": _real(r.read_bytes), "psutil_process_disk_write": _real(r.write_bytes),
            "psutil_process_status": r.status, "psutil_cpu_num": None if r.cpu_num is None else str(r.cpu_num),
            "psutil_process_num_ctx_switches_voluntary": _real(r.ctx_voluntary),
            "psutil_process_num_ctx_switches_involuntary": _real(r.ctx_involuntary),
        }  # fmt: skip


def _time(at: int | None) -> datetime | None:
    """Parsl's times are naive."""
    return None if at is None else datetime.fromtimestamp(at / 1e6, UTC).replace(tzinfo=None)


def _real(value: int | None) -> float | None:
    return None if value is None else float(value)


def _seconds(value: int | None) -> float | None:
    return None if value is None else value / 1e6
