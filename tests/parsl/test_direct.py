"""The kernel's own record of a task as our records: the same as of Parsl's message, of every kind of task."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path
from typing import Any

import pytest
from parsl import bash_app, join_app, python_app
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernel

from heliograph.messages import Record, TaskDescribed, TaskState
from heliograph.parsl import direct
from heliograph.parsl.sink import Sink
from heliograph.parsl.translate import Context, Moment, records
from tests.parsl.conftest import config, hub, of, recorded

NOW = Moment(1_700_000_000_000_000, 5)


def fails(*_: Any) -> None:
    raise ValueError("no")


@pytest.fixture
def told(tmp_path: Path, state_dir: Path) -> list[tuple[Any, ...]]:
    """Of every change of state, with each kind of task: our records of Parsl's message, and of the task itself."""
    found: list[tuple[Any, ...]] = []
    with DataFlowKernel(config(tmp_path, hub(tmp_path), retries=1)) as kernel:
        sent = kernel._send_task_info

        def both(task: Any) -> None:
            message = records("TASK_INFO", kernel._create_task_log_info(task), NOW, Context())
            found.append(
                (
                    message,
                    direct.records(task, NOW, Context()),
                    direct.records(task, NOW, Context(record_arguments=False)),
                )
            )
            sent(task)

        kernel._send_task_info = both
        double = python_app(lambda x, **_: 2 * x, data_flow_kernel=kernel, executors=["threads"], cache=True)
        broken = python_app(fails, data_flow_kernel=kernel, executors=["threads"])
        shell = bash_app(lambda inputs=(), outputs=(), stdout=None, stderr=None: "echo ok", data_flow_kernel=kernel)
        join = join_app(lambda: [double(5), double(6)], data_flow_kernel=kernel)
        out = str(tmp_path / "out")
        double(1).result()
        double(1).result()
        one = double(double(2), stdout=File(out), parsl_resource_specification={})
        futures = [
            one, broken(one), join(),
            shell(inputs=[str(tmp_path), one], outputs=[File(out)], stdout=(out, "w"), stderr=Path(out)),
        ]  # fmt: skip
        futures.append(double(futures[1]))
        concurrent.futures.wait(futures)
    return found


def _states(which: list[tuple[Record, ...]]) -> set[str]:
    return {record.state for some in which for record in some if isinstance(record, TaskState)}


def test_they_are_those_of_parsls_message(told: list[tuple[Any, ...]]) -> None:
    assert _states([ours for _, ours, _ in told]) >= {
        "pending", "launched", "joining", "fail_retryable", "memo_done", "exec_done", "dep_fail", "failed"
    }  # fmt: skip
    for message, ours, _ in told:
        assert len(message) == len(ours)
        for theirs, own in zip(message, ours, strict=True):
            same = {"join": theirs.join, "resources": None} if isinstance(own, TaskDescribed) else {}
            assert type(own)(**{**_fields(own), **same}) == theirs


def test_what_parsls_message_leaves_out(told: list[tuple[Any, ...]]) -> None:
    described = [record for _, ours, _ in told for record in ours if isinstance(record, TaskDescribed)]
    assert {one.executor for one in described if one.join} == {"_parsl_internal"}
    assert any(len(one.depends) == 1 for one in described)


def test_arguments_can_be_left_out(told: list[tuple[Any, ...]]) -> None:
    bare = [record for _, _, some in told for record in some if isinstance(record, TaskDescribed)]
    assert bare
    assert {(one.inputs, one.outputs, one.stdin, one.stdout, one.stderr) for one in bare} == {(None,) * 5}


def test_a_record_that_is_not_as_expected_goes_parsls_way(tmp_path: Path, state_dir: Path) -> None:
    assert not Sink(context=Context(), opener=lambda run, run_dir: None).task({})  # type: ignore[arg-type,return-value]
    with DataFlowKernel(config(tmp_path, hub(tmp_path))) as kernel:
        ours = kernel._send_task_info

        def without(task: Any) -> None:
            ours({name: value for name, value in task.items() if name != "resource_specification"})

        kernel._send_task_info = without
        assert python_app(lambda: 7, data_flow_kernel=kernel)().result() == 7
    (described,) = of(TaskDescribed, recorded(state_dir, kernel.run_id))
    assert described.app == "<lambda>"
    assert next(s.state for s in of(TaskState, recorded(state_dir, kernel.run_id))) == "pending"


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}
