"""`MonitoringHub`: what Parsl and its user see of it, and what happens when this is not the Parsl that it knows."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest
from parsl import python_app
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors import ThreadPoolExecutor
from parsl.monitoring import MonitoringHub as ParslHub
from parsl.monitoring.radios.multiprocessing import MultiprocessingQueueRadio

from heliograph.messages import RunEnded, RunStarted, TaskEnded, TaskRunning, TaskState
from heliograph.parsl import MonitoringHub
from heliograph.parsl.radio import JournalRadio
from tests.parsl.conftest import config, hub, of, recorded


def _double(kernel: DataFlowKernel, executor: str = "all", **more: Any) -> Any:
    return python_app(
        lambda x: 2 * x, data_flow_kernel=kernel, executors=executor if executor == "all" else [executor], **more
    )


def test_is_what_config_asks_for_and_shows_itself() -> None:
    made = MonitoringHub(
        hub_address="localhost", hub_port=55055, monitoring_debug=False, resource_monitoring_interval=10
    )
    assert isinstance(made, ParslHub)
    text = repr(Config(monitoring=made))
    assert "hub_address='localhost'" in text
    assert "<unrecorded>" not in repr(made)


def test_no_password_is_shown() -> None:
    made = MonitoringHub(bus_url="amqp://me:hunter2@broker/v", logging_endpoint="postgresql://me:hunter2@db/x")
    assert "hunter2" not in repr(made)
    assert "hunter2" not in str({name: value for name, value in vars(made).items() if name != "_hidden"})
    assert "broker/v" in repr(made)


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("head", 55055, "head:55055"),
        ("head:1234", 55055, "head:1234"),
        ("https://head", 55055, "https://head"),
        ("10.0.0.1", None, "10.0.0.1:55055"),
        (None, 55055, None),
    ],
)
def test_the_hubs_address(address: str | None, port: int | None, expected: str | None) -> None:
    assert MonitoringHub(hub_address=address, hub_port=port)._hub() == expected


def test_starts_quickly(tmp_path: Path, state_dir: Path) -> None:
    made = hub(tmp_path)
    began = time.monotonic()
    made.start(str(tmp_path), str(tmp_path), None)
    assert time.monotonic() - began < 0.2
    began = time.monotonic()
    made.close()
    made.close()
    assert time.monotonic() - began < 1


def test_several_kernels_in_one_process_at_once(tmp_path: Path, state_dir: Path) -> None:
    with DataFlowKernel(config(tmp_path, hub(tmp_path))) as one, DataFlowKernel(config(tmp_path, hub(tmp_path))) as two:
        apps = [_double(one), _double(two), _double(one)]
        assert [app(4).result() for app in apps] == [8, 8, 8]
    for kernel, tasks in ((one, 2), (two, 1)):
        records = recorded(state_dir, kernel.run_id)
        assert len(of(TaskEnded, records)) == tasks
        assert [r.completed for r in of(RunEnded, records)] == [tasks]


def test_one_hub_for_one_kernel_after_another(tmp_path: Path, state_dir: Path) -> None:
    made = hub(tmp_path)
    runs = []
    for _ in range(2):
        with DataFlowKernel(config(tmp_path, made)) as kernel:
            assert _double(kernel)(1).result() == 2
        runs.append(kernel.run_id)
    for run in runs:
        assert len(of(TaskRunning, recorded(state_dir, run))) == 1
        assert len(of(RunStarted, recorded(state_dir, run))) == 1


def test_executors_added_later_are_recorded(threads_kernel: DataFlowKernel, state_dir: Path) -> None:
    threads_kernel.add_executors(iter([ThreadPoolExecutor(label="later")]))
    assert _double(threads_kernel, "later")(3).result() == 6
    (running,) = of(TaskRunning, recorded(state_dir, threads_kernel.run_id))
    assert running.executor == "later"


def test_the_users_memoizer_stays_in_charge(tmp_path: Path, state_dir: Path) -> None:
    class Counting(BasicMemoizer):
        asked = 0

        def check_memo(self, task: Any) -> Any:
            self.asked += 1
            return super().check_memo(task)

    memoizer = Counting(checkpoint_mode="manual")
    with DataFlowKernel(config(tmp_path, hub(tmp_path), memoizer=memoizer)) as kernel:
        app = _double(kernel, cache=True)
        assert [app(2).result(), app(2).result()] == [4, 4]
        assert isinstance(kernel.memoizer, Counting)
        kernel.memoizer.checkpoint()
        assert kernel.memoizer.checkpointed_tasks == memoizer.checkpointed_tasks > 0
        kernel.memoizer.memoize = False
        assert memoizer.memoize is False
    assert memoizer.asked == 2
    assert [s.state for s in of(TaskState, recorded(state_dir)) if s.number == 1] == ["pending", "memo_done"]


def test_a_memoizer_that_raises_fails_its_task_as_ever(tmp_path: Path, state_dir: Path) -> None:
    class Broken(BasicMemoizer):
        def check_memo(self, task: Any) -> Any:
            raise LookupError("memo")

    with DataFlowKernel(config(tmp_path, hub(tmp_path), memoizer=Broken())) as kernel, pytest.raises(LookupError):
        _double(kernel)(1).result()


def test_recording_of_tasks_can_be_turned_off(tmp_path: Path, state_dir: Path) -> None:
    with DataFlowKernel(config(tmp_path, hub(tmp_path, resource_monitoring_enabled=False))) as kernel:
        assert _double(kernel)(1).result() == 2
    records = recorded(state_dir)
    assert of(TaskState, records)
    assert not of(TaskRunning, records)


class _OtherSignature(DataFlowKernel):
    def add_executors(self, executors: Any, more: Any = None) -> Any:
        return super().add_executors(executors)


def test_a_kernel_with_other_signatures_takes_the_official_route(
    tmp_path: Path, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), _OtherSignature(config(tmp_path, hub(tmp_path))) as kernel:
        assert _double(kernel)(1).result() == 2
        assert isinstance(kernel.executors["threads"].remote_monitoring_radio, JournalRadio)
    assert "not what Heliograph expects" in caplog.text
    records = recorded(state_dir)
    assert len(of(RunEnded, records)) == 1
    assert len(of(TaskRunning, records)) == 1


def test_a_kernel_that_cannot_be_reached_keeps_parsls_radios(tmp_path: Path, state_dir: Path) -> None:
    class Apart(MonitoringHub):
        """Its start is called from another thread, where no kernel is among the callers."""

        def start(self, *args: Any, **kwargs: Any) -> None:
            import threading

            thread = threading.Thread(target=super().start, args=args, kwargs=kwargs)
            thread.start()
            thread.join()

    made = Apart(bus_url=f"spool:{tmp_path / 'spool'}", resource_monitoring_interval=0)
    with DataFlowKernel(config(tmp_path, made)) as kernel:
        assert _double(kernel)(1).result() == 2
        assert isinstance(kernel.executors["threads"].remote_monitoring_radio, MultiprocessingQueueRadio)
    records = recorded(state_dir)
    assert len(of(RunStarted, records)) == len(of(RunEnded, records)) == 1
    assert [s.state for s in of(TaskState, records)] == ["pending", "launched", "running_ended", "exec_done"] or of(
        TaskRunning, records
    )


def test_an_older_call_of_start_goes_on_unmonitored(tmp_path: Path, state_dir: Path) -> None:
    made = hub(tmp_path)
    made.tags = object()  # type: ignore[assignment] # anything that makes the start fail
    with DataFlowKernel(config(tmp_path, made)) as kernel:
        assert _double(kernel)(1).result() == 2
    assert not of(TaskState, recorded(state_dir))
