"""What is recorded of the workload: every task, every state, every try, from both sides."""

from __future__ import annotations

from collections import defaultdict

import pytest

from heliograph.messages import (
    FINAL,
    BlockState,
    NodeSeen,
    RunEnded,
    RunStarted,
    State,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskState,
)
from tests.parsl.conftest import Run, of


def _described(run: Run) -> dict[int, TaskDescribed]:
    return {one.number: one for one in reversed(of(TaskDescribed, run.records))}


def _states(run: Run, name: str) -> list[tuple[int, str]]:
    return [(s.try_, s.state) for s in of(TaskState, run.records) if s.number == run.numbers[name]]


def _ended(run: Run, name: str) -> list[TaskEnded]:
    return sorted((one for one in of(TaskEnded, run.records) if one.number == run.numbers[name]), key=lambda o: o.try_)


def _running(run: Run, name: str) -> list[TaskRunning]:
    return sorted(
        (one for one in of(TaskRunning, run.records) if one.number == run.numbers[name]), key=lambda o: o.try_
    )


@pytest.mark.parametrize("route", ["fast", "official"])
def test_the_run_begins_and_ends_once(route: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(route)
    (started,), (ended,) = of(RunStarted, run.records), of(RunEnded, run.records)
    assert (started.program, started.run_dir) == ("parsl", run.run_dir)
    assert started.pid
    assert started.sample_interval == 1
    assert ended.completed == sum(s.state == "exec_done" for s in of(TaskState, run.records))
    assert ended.failed == sum(s.state == "failed" for s in of(TaskState, run.records))
    owners = {one.journal for one in run.records if one.owner}
    assert len(owners) == 1


def test_name_version_and_tags(fast: Run) -> None:
    (started,) = of(RunStarted, fast.records)
    assert (started.name, started.version, started.tags) == ("behaviour", "7", {"team": "test"})


@pytest.mark.parametrize("route", ["fast", "official"])
def test_every_task_is_described_and_reaches_a_final_state(route: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(route)
    numbers = set(_described(run))
    assert numbers == set(range(max(run.numbers.values()) + 1))
    final = {s.number for s in of(TaskState, run.records) if State(s.state) in FINAL}
    assert final == numbers


def test_states_of_a_retry(fast: Run) -> None:
    expected = [
        (0, "pending"),
        (0, "launched"),
        (0, "fail_retryable"),
        (1, "pending"),
        (1, "launched"),
        (1, "exec_done"),
    ]
    assert _states(fast, "htex.flaky") == expected
    assert [(e.try_, e.ok, e.exc_type) for e in _ended(fast, "htex.flaky")] == [
        (0, False, "RuntimeError"),
        (1, True, None),
    ]
    (failed,) = [s for s in of(TaskState, fast.records) if s.fail_history and s.number == fast.numbers["htex.flaky"]]
    assert "the first try fails" in failed.fail_history
    assert failed.fail_count == 1


def test_states_of_a_memoized_call(fast: Run) -> None:
    assert _states(fast, "htex.memoized_again") == [(0, "pending"), (0, "memo_done")]
    assert not _running(fast, "htex.memoized_again")
    both = {fast.numbers["htex.memoized"], fast.numbers["htex.memoized_again"]}
    done = {s.number: s.hashsum for s in of(TaskState, fast.records) if s.number in both and State(s.state) in FINAL}
    hashes = set(done.values()) - {None}
    assert len(hashes) == 1


def test_dependencies_and_their_failure(fast: Run) -> None:
    described = _described(fast)
    number = fast.numbers["htex.depends"]
    assert len(described[number].depends) == 1
    assert _states(fast, "htex.depends")[-1] == (0, "dep_fail")
    assert not _running(fast, "htex.depends")


def test_joins_say_what_they_join(fast: Run) -> None:
    (joining,) = [
        s for s in of(TaskState, fast.records) if s.number == fast.numbers["join.many"] and s.state == "joining"
    ]
    assert len(joining.joins) == 3
    assert any(one.join for one in of(TaskDescribed, fast.records) if one.number == fast.numbers["join.many"])
    (body,) = _running(fast, "join.many")
    assert (body.executor, body.shared) == ("_parsl_internal", True)


def test_where_a_task_ran(fast: Run) -> None:
    (remote,), (local,) = _running(fast, "htex.double"), _running(fast, "threads.double")
    (started,) = of(RunStarted, fast.records)
    assert (remote.executor, remote.shared, remote.block, remote.worker) == ("htex", False, "0", remote.worker)
    assert remote.worker in {"0", "1"}
    assert remote.pid != started.pid
    assert remote.pool
    assert (local.executor, local.shared, local.pid) == ("threads", True, started.pid)


def test_failures_carry_the_users_frames(fast: Run) -> None:
    for name in ("htex.fail", "threads.fail"):
        for ended in _ended(fast, name):
            assert (ended.ok, ended.exc_type, ended.exc_message) == (False, "ValueError", "on purpose")
            assert "in inner" in ended.exc_place
            assert "on purpose" in ended.traceback
    assert [e.exit for e in _ended(fast, "htex.exits")] == [3, 3]
    assert all("AppTimeout" in e.exc_type for e in _ended(fast, "htex.slow"))


def test_a_lost_worker_leaves_a_try_without_an_end(fast: Run) -> None:
    assert [r.try_ for r in _running(fast, "htex.lost")] == [0, 1]
    assert _ended(fast, "htex.lost") == []
    assert _states(fast, "htex.lost")[-1] == (1, "failed")


def test_tries_end_as_often_as_they_begin(fast: Run) -> None:
    begun, ended = defaultdict(int), defaultdict(int)
    for one in of(TaskRunning, fast.records):
        begun[one.number, one.try_] += 1
    for one in of(TaskEnded, fast.records):
        ended[one.number, one.try_] += 1
    lost = fast.numbers["htex.lost"]
    assert {key: n for key, n in begun.items() if key[0] != lost} == dict(ended)
    assert set(begun.values()) == {1}


def test_blocks_and_nodes(fast: Run) -> None:
    blocks = of(BlockState, fast.records)
    assert {(b.executor, b.block) for b in blocks} == {("htex", "0")}
    assert {"PENDING", "SCALED_IN"} <= {b.status for b in blocks}
    nodes = of(NodeSeen, fast.records)
    assert {n.executor for n in nodes} == {"htex", "threads", "_parsl_internal"}
    (pool,) = {n.pool for n in nodes if n.executor == "htex"}
    assert pool


def test_inputs_redirections_and_resources(fast: Run) -> None:
    described = _described(fast)
    echo = described[fast.numbers["htex.echo"]]
    assert echo.app == "echo"
    assert echo.stdout.endswith("htex/out.txt")
    assert echo.inputs is None
    assert described[fast.numbers["htex.inputs"]].inputs is not None


def test_the_official_route_says_where_and_when_too(official: Run) -> None:
    (remote,) = _running(official, "htex.double")
    assert remote.block == "0"
    assert remote.pid > 0
    assert (0, "running_ended") in _states(official, "htex.double")
    assert {n.executor for n in of(NodeSeen, official.records)} >= {"htex"}
