"""Samples reach the run that they belong to, from the records that pass through the agent."""

from __future__ import annotations

import os

from heliograph import state
from heliograph.agent.persist import Tries
from heliograph.agent.sample_node import NodeSampler
from heliograph.agent.sample_tasks import TaskSampler
from heliograph.agent.watch import Watch
from heliograph.journal import now
from heliograph.messages import RunEnded, TaskEnded, TaskRunning, TaskSample, encode
from heliograph.route import Route


def test_two_runs_of_one_process_with_the_same_numbers_get_their_own_samples() -> None:
    watch = Watch(TaskSampler(), NodeSampler(), Tries())
    at, mono = now()
    for run, interval in (("often", 1.0), ("seldom", 10.0), ("gone", 1.0)):
        record = TaskRunning(
            at=at, mono=mono, origin="", number=0, try_=0, host="h", pid=os.getpid(),
            create_time=1 if run == "gone" else state.process_start(os.getpid()), cpu_user=0, cpu_system=0,
        )  # fmt: skip
        assert watch.note(Route(run=run, sample_interval=interval), encode(record), now()) is None
    assert watch.note(Route(run="never", sample_interval=0.0), encode(record), now()) is None
    assert watch.active() == 3  # one that wants no samples is not even remembered
    got = [[run for run, _ in watch.tick((at, mono + second * 1_000_000))] for second in (1, 2, 3)]
    assert got == [["often", "seldom"], ["often"], ["often"]]


def test_the_end_of_a_try_brings_its_last_sample() -> None:
    watch = Watch(TaskSampler(), NodeSampler(), Tries())
    at, mono = now()
    head = {"at": at, "mono": mono, "origin": "", "number": 0, "try_": 0, "host": "h", "pid": os.getpid()}
    watch.note(Route(run="r"), encode(TaskRunning(**head)), now())  # type: ignore[arg-type]
    watch.tick(now())
    ended = encode(TaskEnded(**head, ok=True, elapsed=5))  # type: ignore[arg-type]
    found = watch.note(Route(run="r"), ended, now())
    assert found is not None
    assert found[0] == "r"
    assert isinstance(found[1], TaskSample)
    assert found[1].last
    assert watch.note(Route(run="r"), ended, now()) is None
    assert watch.active() == 0


def test_a_run_that_is_over_here_leaves_nothing_behind() -> None:
    watch = Watch(TaskSampler(), NodeSampler(), Tries())
    at, mono = now()
    for run in ("over", "goes on"):
        record = TaskRunning(at=at, mono=mono, origin="", number=0, try_=0, host="h", pid=os.getpid())
        watch.note(Route(run=run, sample_interval=1.0), encode(record), now())
        watch.note(Route(run=run), encode(RunEnded(at=at)), now())
    watch.node({"over": 1.0, "goes on": 1.0}, now(), 1.0)
    watch.forget("over")
    assert [try_.run for try_ in watch.remember().active] == ["goes on"]
    assert watch.ended_runs == {"goes on"}
    assert watch.next_at({"over": 1.0}) == 0.0
