"""What is known of the proposal's code, and that ours does otherwise. Each defect is shown on a naive monitor that has
it, and the same question is then asked of ours."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from heliograph import FileMonitor, watch
from heliograph.filewatch.config import BadWatch
from tests.filewatch import callbacks
from tests.filewatch.conftest import Place, Watched, wait_for


class Naive:
    """The proposal, reduced to what was wrong with it: `sleep_dur` is everything, names are matched in one folder, the
    first match takes the file, what a callback raises is swallowed, `working_dir` is a chdir, and the task waits."""

    def __init__(
        self, callback: Any, pattern: Any, working_dir: str, sleep_dur: float, email: str | None = None
    ) -> None:
        self.pairs = list(zip(callback, [re.compile(p) for p in pattern], strict=True))
        self.sleep_dur, self.email, self.seen, self.results = sleep_dur, email, set(), []  # type: ignore[var-annotated]
        os.chdir(working_dir)

    def scan(self) -> None:
        groups: list[list[str]] = [[] for _ in self.pairs]
        for name in os.listdir("."):
            old = os.path.isfile(name) and time.time() - os.path.getmtime(name) >= self.sleep_dur
            if not old or name in self.seen:
                continue
            for group, (_, pattern) in zip(groups, self.pairs, strict=True):
                if pattern.match(name):
                    group.append(os.path.abspath(name))
                    self.seen.add(name)
                    break
        for group, (callback, _) in zip(groups, self.pairs, strict=True):
            try:
                self.results.append(callback(group))
            except Exception:
                continue

    def around(self, function: Callable[[], Any]) -> Any:
        """As it stood around a task: a process, which is joined for `sleep_dur` and then left to itself."""
        process = multiprocessing.get_context("fork").Process(target=self.forever, daemon=True)
        process.start()
        result = function()
        process.join(self.sleep_dur)
        process.kill()
        return result

    def forever(self) -> None:
        while True:
            self.scan()
            time.sleep(self.sleep_dur)


@pytest.fixture
def naive(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Naive]:
    monkeypatch.chdir(place.notes)  # and back at the end
    return lambda callback, pattern, sleep_dur=0.0: Naive(callback, pattern, str(place.root), sleep_dur)


def test_expressions_are_searched_in_paths_below_the_root(
    place: Place, watching: Callable[..., Watched], naive: Callable[..., Naive]
) -> None:
    place.write("output/deep/results-1.dat")
    theirs = naive([callbacks.names], [r"results-\d"])
    theirs.scan()
    assert theirs.results == [""]
    ours = watching(callbacks.names, r"deep/results-\d")
    ours.finish()
    assert [call.result for call in ours.calls] == ["results-1.dat"]


def test_a_callback_without_new_files_is_not_called(
    place: Place, watching: Callable[..., Watched], naive: Callable[..., Naive]
) -> None:
    theirs = naive([len], ["x"])
    theirs.scan()
    assert theirs.results == [0]
    place.write("a.dat")
    ours = watching([callbacks.names, callbacks.nothing], ["dat", "x"])
    ours.finish()
    assert [call.callback.rpartition(":")[2] for call in ours.calls] == ["names"]


def test_a_task_with_a_watch_returns_at_once(place: Place, naive: Callable[..., Naive]) -> None:
    """Measured as a share of the settle time, which is what the proposal waited for."""
    began = time.monotonic()
    naive([len], ["x"], sleep_dur=2.0).around(lambda: time.sleep(0.2))
    assert time.monotonic() - began >= 2.0
    with FileMonitor(callbacks.nothing, "never", working_dir=place.root, sleep_dur=0.1) as first:
        pass  # the process that starts watches is there from now on
    ours = watch(FileMonitor(callbacks.nothing, r"\.dat$", working_dir=place.root, sleep_dur=30.0))
    began = time.monotonic()
    assert ours(lambda: time.sleep(0.2) or "result")() == "result"
    assert time.monotonic() - began < 15.0
    assert first.wait(20)


def test_interval_and_settle_time_are_apart() -> None:
    both = FileMonitor(None, "x", sleep_dur=7)
    assert (both.interval, both.settle) == (7.0, 7.0)
    apart = FileMonitor(None, "x", sleep_dur=7, interval=2, settle=0.5)
    assert (apart.interval, apart.settle) == (2.0, 0.5)


def test_a_slow_callback_is_neither_cut_off_nor_orphaned(place: Place, naive: Callable[..., Naive]) -> None:
    def slowly(files: list[str]) -> None:
        (place.notes / f"begun-{os.getpid()}").touch()
        time.sleep(1.5)
        (place.notes / f"done-{os.getpid()}").touch()

    place.write("a.dat", age=10)
    naive([slowly], ["a"], sleep_dur=0.5).around(lambda: time.sleep(0.3))
    assert [note.name.partition("-")[0] for note in place.notes.iterdir()] == ["begun"]
    with FileMonitor(slowly, "a", working_dir=place.root, sleep_dur=0.1) as ours:
        pass
    assert ours.wait(30)
    assert sorted(note.name.partition("-")[0] for note in place.notes.iterdir()) == ["begun", "begun", "done"]
    assert not place.processes("keeper")


def test_a_file_that_matches_two_patterns_goes_to_both(
    place: Place, watching: Callable[..., Watched], naive: Callable[..., Naive]
) -> None:
    place.write("both.dat")
    theirs = naive([callbacks.names, callbacks.names], ["both", ".*dat"])
    theirs.scan()
    assert theirs.results == ["both.dat", ""]
    ours = watching([callbacks.names, callbacks.names], ["both", r"\.dat$"])
    ours.finish()
    assert [call.result for call in ours.calls] == ["both.dat", "both.dat"]
    assert len(ours.found) == 1


def test_a_rewritten_file_is_reported_again_when_asked_for(
    place: Place, watching: Callable[..., Watched], naive: Callable[..., Naive]
) -> None:
    place.write("a.dat")
    theirs, ours = naive([callbacks.names], ["a"]), watching(callbacks.names, on_change=True)
    theirs.scan()
    ours.go_on(lambda: ours.calls)
    place.write("a.dat", "rewritten")
    theirs.scan()
    assert theirs.results == ["a.dat", ""]
    ours.go_on(lambda: len(ours.calls) == 2)
    assert [call.result for call in ours.calls] == ["a.dat", "a.dat"]


def test_a_callback_that_raises_is_recorded(
    place: Place, watching: Callable[..., Watched], naive: Callable[..., Naive], caplog: pytest.LogCaptureFixture
) -> None:
    place.write("a.dat")
    theirs = naive([callbacks.fails], ["a"])
    theirs.scan()
    assert theirs.results == []
    assert not caplog.records
    ours = watching(callbacks.fails)
    ours.finish()
    assert [call.outcome for call in ours.calls] == ["error"]
    assert "cannot read 1 files" in caplog.text


def test_the_working_directory_of_the_process_stays(place: Place, naive: Callable[..., Naive]) -> None:
    naive([len], ["x"])
    assert os.getcwd() == str(place.root)
    os.chdir(place.notes)
    with FileMonitor(lambda files: os.getcwd(), r"\.dat$", working_dir=place.root, sleep_dur=0.1) as ours:
        assert os.getcwd() == str(place.notes)
        place.write("a.dat")
    assert ours.wait(30)
    assert f"'result': '{place.notes}'" in Path(ours.log).read_text()


def test_an_invalid_address_is_an_error_where_it_is_given(naive: Callable[..., Naive], place: Place) -> None:
    Naive([len], ["x"], str(place.root), 0.0, email="not an address")
    with pytest.raises(BadWatch, match=r"^email: "):
        FileMonitor(len, "x", email="not an address")


def test_two_processes_are_the_default() -> None:
    """A pool of four can overload a worker node."""
    assert FileMonitor(None, "x").max_proc == 2


def test_a_watch_beside_resource_monitoring_works(place: Place) -> None:
    """A run that samples resources: with threads here, with HTEX and both routes in test_parsl.py."""
    import parsl
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors import ThreadPoolExecutor

    from heliograph.messages import FileFound, WatchClosed, WatchOpened
    from heliograph.parsl import MonitoringHub
    from tests.parsl.conftest import of, recorded

    monitoring = MonitoringHub(bus_url=f"spool:{place.notes / 'spool'}", resource_monitoring_interval=1)
    config = Config(executors=[ThreadPoolExecutor()], monitoring=monitoring, run_dir=str(place.notes / "runinfo"))
    with DataFlowKernel(config) as kernel:

        @parsl.python_app(data_flow_kernel=kernel)
        @watch(FileMonitor(None, r"\.dat$", working_dir=place.root, sleep_dur=0.2))
        def write(path: str) -> str:
            with open(path, "w") as file:
                file.write("done")
            return path

        path = write(str(place.root / "a.dat")).result()
    wait_for(lambda: of(WatchClosed, recorded(place.state)))
    records = recorded(place.state, kernel.run_id)
    assert [record.path for record in of(FileFound, records)] == [path]
    assert [(record.origin, record.number) for record in of(WatchOpened, records)] == [("", 0)]
    assert json.loads(json.dumps([record.reason for record in of(WatchClosed, records)])) == ["ended"]
