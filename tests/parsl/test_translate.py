"""Parsl's messages as records, each kind on its own."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from heliograph.messages import (
    BlockState,
    NodeSeen,
    RunStarted,
    TaskDescribed,
    TaskRunning,
    TaskSample,
    TaskState,
    encode,
)
from heliograph.parsl.translate import Context, Moment, micros, records

NOW = Moment(1_700_000_000_000_000, 5)
BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001 - naive, as Parsl's are


def _task(**changed: Any) -> dict[str, Any]:
    return {
        "task_func_name": "f", "task_memoize": False, "task_hashsum": None, "task_fail_count": 0, "task_fail_cost": 0,
        "task_status": 0, "task_id": 4, "task_time_invoked": BEGAN, "task_try_time_launched": None,
        "task_time_returned": None, "task_try_time_returned": None, "task_executor": "htex", "run_id": "r", "try_id": 0,
        "timestamp": BEGAN, "task_status_name": "pending", "tasks_failed_count": 0, "tasks_completed_count": 0,
        "tasks_memo_completed_count": 0, "from_memo": None, "task_inputs": "None", "task_outputs": "None",
        "task_stdin": None, "task_stdout": "", "task_stderr": "", "task_fail_history": "", "task_depends": "",
        "task_joins": None, **changed,
    }  # fmt: skip


def test_a_task_is_described_at_its_first_message_only() -> None:
    described, state = records("TASK_INFO", _task(task_depends="1,2"), NOW, Context())
    assert isinstance(described, TaskDescribed)
    assert (described.app, described.depends, described.invoked, described.inputs) == ("f", [1, 2], micros(BEGAN), None)
    assert isinstance(state, TaskState)
    assert (state.state, state.try_, state.at) == ("pending", 0, NOW.at)
    assert len(records("TASK_INFO", _task(try_id=1), NOW, Context())) == 1
    assert len(records("TASK_INFO", _task(task_status_name="launched"), NOW, Context())) == 1


def test_a_state_carries_the_hash() -> None:
    launched = _task(task_status_name="launched", task_hashsum="abc", task_memoize=True)
    (state,) = records("TASK_INFO", launched, NOW, Context())
    assert isinstance(state, TaskState)
    assert state.hashsum == "abc"


def test_joins_and_failures() -> None:
    (joining,) = records("TASK_INFO", _task(task_status_name="joining", task_joins=""), NOW, Context())
    assert isinstance(joining, TaskState)
    assert joining.joins == []
    failed = _task(task_status_name="failed", task_fail_history="E('x')", task_fail_count=2, task_fail_cost=math.inf)
    (state,) = records("TASK_INFO", failed, NOW, Context())
    assert isinstance(state, TaskState)
    assert (state.fail_history, state.fail_count, state.fail_cost) == ("E('x')", 2, None)


def test_arguments_can_be_left_out_or_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_REDACT", "pass[a-z]+")
    message = _task(task_inputs="[password=x]", task_stdout="/out", task_stdin=7)
    described = records("TASK_INFO", message, NOW, Context())[0]
    assert isinstance(described, TaskDescribed)
    assert (described.inputs, described.stdout, described.stdin) == ("[[redacted]=x]", "/out", "7")
    without = records("TASK_INFO", message, NOW, Context(record_arguments=False))[0]
    assert isinstance(without, TaskDescribed)
    assert (without.inputs, without.outputs, without.stdin, without.stdout, without.stderr) == (None,) * 5


def test_run_started() -> None:
    message = {
        "python_version": "3.11.1", "parsl_version": "1", "time_began": BEGAN, "run_id": "r", "workflow_name": "w",
        "workflow_version": "v", "rundir": "/d", "tasks_completed_count": 0, "tasks_failed_count": 0, "user": "u",
        "host": "h",
    }  # fmt: skip
    older = {**message, "time_completed": None}
    context = Context(tags={"a": "b"}, zone="Europe/Berlin", utc_offset=3600)
    (started,) = records("WORKFLOW_INFO", message, NOW, context)
    assert records("WORKFLOW_INFO", older, NOW, context) == (started,)
    assert isinstance(started, RunStarted)
    assert (started.name, started.owner, started.host, started.at) == ("w", "u", "h", micros(BEGAN))
    assert (started.tags, started.zone) == ({"a": "b"}, "Europe/Berlin")


def test_a_node_with_infinite_drain_time() -> None:
    message = {
        "hostname": "n1", "uid": "p", "block_id": None, "worker_count": math.inf, "cpu_count": 4, "total_memory": 100,
        "python_v": "3.11", "os": "Linux", "active": True, "drain_time": math.inf, "timestamp": BEGAN, "run_id": "r",
    }  # fmt: skip
    (node,) = records("NODE_INFO", message, NOW, Context())
    assert isinstance(node, NodeSeen)
    assert (node.host, node.workers, node.memory_total, node.active) == ("n1", None, 100, True)
    assert b"\xcb\x7f\xf0" not in encode(node)


def test_blocks_come_as_a_list() -> None:
    block = {"run_id": "r", "status": "RUNNING", "timestamp": BEGAN, "executor_label": "e", "job_id": 17, "block_id": 0}
    first, second = records("BLOCK_INFO", [block, {**block, "block_id": "1", "job_id": None}], NOW, Context())
    assert isinstance(first, BlockState)
    assert isinstance(second, BlockState)
    assert (first.block, first.job_id, second.block, second.job_id) == ("0", "17", "1", None)


@pytest.mark.parametrize("kind", ["WORKER_TASK_INFO", "RESOURCE_INFO"])  # the second until Parsl 2025
def test_worker_messages_of_the_official_route(kind: str) -> None:
    base = {"run_id": "r", "task_id": 3, "try_id": 1, "hostname": "n", "block_id": "0", "timestamp": BEGAN}
    (running,) = records(kind, {**base, "first_msg": True, "last_msg": False}, NOW, Context(pid=9))
    assert isinstance(running, TaskRunning)
    assert (running.number, running.try_, running.pid, running.block) == (3, 1, 9, "0")
    (ended,) = records(kind, {**base, "first_msg": False, "last_msg": True}, NOW, Context(pid=9))
    assert isinstance(ended, TaskState)
    assert ended.state == "running_ended"


def test_resources_of_the_official_route() -> None:
    message = {
        "run_id": "r", "task_id": 3, "try_id": 0, "hostname": "n", "timestamp": BEGAN, "psutil_process_pid": 8,
        "psutil_process_time_user": 1.5, "psutil_process_memory_resident": 100,
        "psutil_process_memory_percent": math.nan,
        "resource_monitoring_interval": 2,
    }  # fmt: skip
    (sample,) = records("RESOURCE_INFO", message, NOW, Context())
    assert isinstance(sample, TaskSample)
    assert (sample.cpu_user, sample.rss, sample.memory_percent, sample.interval) == (1_500_000, 100, None, 2.0)


def test_an_unknown_kind_is_passed_over() -> None:
    assert records("SOMETHING_NEW", object(), NOW, Context()) == ()


def test_naive_times_are_local_also_where_the_clock_turns_back() -> None:
    """01:30 comes twice on 25 October 2026 in Berlin's night; `fold` tells which."""
    code = (
        "from datetime import datetime; from heliograph.parsl.translate import micros; "
        "one = datetime(2026, 10, 25, 2, 30); print(micros(one), micros(one.replace(fold=1)))"
    )
    environment = {**os.environ, "TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert first == 1_792_888_200_000_000
    assert second - first == timedelta(hours=1) // timedelta(microseconds=1)
