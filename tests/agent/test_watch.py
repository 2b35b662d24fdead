"""Tries that run here, runs that are kept alive, journals left behind, and one agent at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from heliograph import messages as m
from heliograph import state, watchman
from heliograph.agent.adopt import adopt
from heliograph.agent.elect import Election
from heliograph.agent.lease import EVERY, Leases
from heliograph.journal import Journal, Route, now
from tests.agent.conftest import Place, task, wait_for

BUSY = "import time\nend = time.time() + 60\nwhile time.time() < end: sum(range(20000)); time.sleep(0.005)\n"


def running(number: int, pid: int) -> m.TaskRunning:
    at, mono = now()
    start = state.process_start(pid)
    return m.TaskRunning(
        at=at, mono=mono, origin="o", number=number, try_=0, host=state.host(), pid=pid, create_time=start
    )


def test_counters_never_fall_when_the_agent_is_killed_and_a_dead_try_is_let_go(place: Place) -> None:
    place.known_route()
    worker = subprocess.Popen([sys.executable, "-c", BUSY])
    journal = Journal.open(place.route(sample_interval=0.3), start_agent=False)
    journal.append(running(1, worker.pid))
    agent = place.start_agent()

    def samples() -> list[m.TaskSample]:
        return [r for r in place.records if isinstance(r, m.TaskSample)]

    place.receive(15, until=lambda: len(samples()) >= 4)
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    before = len(samples())
    agent = place.start_agent()
    place.receive(15, until=lambda: len(samples()) >= before + 4)
    worker.kill()
    worker.wait()
    place.receive(10, until=lambda: any(s.last for s in samples()))
    totals = [(s.cpu_user or 0) + (s.cpu_system or 0) for s in sorted(samples(), key=lambda s: s.mono)]
    assert totals == sorted(totals)
    assert totals[-1] > 0
    assert [s.last for s in samples()].count(True) == 1
    journal.close()
    assert agent.wait(15) == 0


def test_two_runs_with_the_same_numbers_get_each_their_own_samples(place: Place) -> None:
    place.known_route()
    for run in ("run-1", "run-2"):
        journal = Journal.open(
            Route(run=run, run_dir=str(place.run_dir), sample_interval=0.3), folder=place.state, start_agent=False
        )
        journal.append(running(1, os.getpid()))
        place.open.append(journal)
    agent = place.start_agent()
    place.receive(10, until=lambda: {"run-1", "run-2"} <= place.runs_with(m.TaskSample))
    assert {"run-1", "run-2"} <= place.runs_with(m.TaskSample)
    agent.kill()
    agent.wait()


def test_a_lease_is_renewed_in_time_and_only_while_it_is_owned() -> None:
    leases = Leases()
    assert leases.due(["r"], 100.0) == ["r"]
    assert leases.due(["r"], 100.0 + EVERY - 1) == []
    assert leases.next_at() == 100.0 + EVERY
    assert leases.due(["r"], 100.0 + EVERY) == ["r"]
    assert leases.due([], 200.0) == []
    assert leases.next_at() is None


def test_no_heartbeat_for_a_run_that_ended_or_whose_owner_is_gone(place: Place) -> None:
    place.known_route()
    at, mono = now()
    ended = Journal.open(place.route(owner=True), start_agent=False)
    ended.append(m.RunStarted(at=at, mono=mono, name="n"))
    ended.append(m.RunEnded(at=at, mono=mono))
    agent = place.start_agent()
    place.receive(4, until=lambda: len(place.of(m.AgentStatus)) > 0)
    assert place.of(m.RunEnded)
    assert not place.of(m.RunHeartbeat)
    ended.close()
    assert agent.wait(15) == 0


def test_what_an_ended_batch_job_left_is_taken_over(place: Place) -> None:
    place.known_route()
    left = Journal.open(place.route(), start_agent=False)
    left.append(task(5))
    left.close()
    (journal,) = (place.namespace / "journals").iterdir()
    other = place.state / "0123456789abcdef"
    place.namespace.rename(other)
    assert adopt(place.namespace) == 0  # touched a moment ago: its own agent may be on its way
    for path in (other / "journals" / journal.name).iterdir():
        os.utime(path, (time.time() - 1000, time.time() - 1000))
    holder = Election(other)
    assert holder.won()
    assert adopt(place.namespace) == 0  # watched over
    holder.drop()
    broken = place.state / "0000000000000000"
    (broken / "journals").mkdir(parents=True)
    (broken / watchman.AGENT_LOCK).symlink_to("elsewhere")
    assert adopt(place.namespace) == 1  # whatever is wrong with another one
    assert [path.name for path in (place.namespace / "journals").iterdir()] == [journal.name]


@pytest.mark.parametrize("kept", ["", "journals/one", "unreadable"])
def test_what_was_empty_for_long_is_deleted(place: Place, kept: str) -> None:
    other = place.state / "0123456789abcdef"
    place.namespace.rename(other)
    (other / "agent.log").write_text("all is shipped")
    if kept:
        (other / kept).mkdir()

    def left_alone_for(seconds: float) -> None:
        for path in (other, *other.iterdir()):
            os.utime(path, (time.time() - seconds,) * 2)

    holder = Election(other)
    assert holder.won()
    left_alone_for(8 * 86400)
    adopt(place.namespace)
    assert other.exists()  # watched over
    holder.drop()
    left_alone_for(6 * 86400)
    adopt(place.namespace)
    assert other.exists()
    left_alone_for(8 * 86400)
    adopt(place.namespace)
    assert other.exists() == bool(kept)


def test_one_is_elected_and_it_leaves_only_when_nothing_can_come(place: Place) -> None:
    first, second = Election(place.namespace), Election(place.namespace)
    assert first.won(0)
    assert not second.won(0.2)
    assert watchman.agent_present(place.namespace)
    assert not first.leave(lambda: False)
    with watchman.at_the_gate(place.namespace) as seen:
        assert seen
        assert not first.leave(lambda: True)  # a recorder is just opening its journal
    seen_at_the_gate = []

    def look() -> bool:
        with watchman.at_the_gate(place.namespace) as seen:
            seen_at_the_gate.append(seen)
        return True

    assert first.leave(look)
    assert seen_at_the_gate == [False]  # who comes now knows that it has to start another
    assert second.won(0)
    second.drop()
    assert not watchman.agent_present(place.namespace)


def test_an_agent_keeps_its_lock_fresh_and_knows_when_it_was_deleted(place: Place) -> None:
    agent = Election(place.namespace)
    assert agent.won(0)
    lock = place.namespace / watchman.AGENT_LOCK
    os.utime(lock, (1000, 1000))
    assert agent.keep()
    assert time.time() - lock.stat().st_mtime < 60
    lock.unlink()
    assert not agent.keep()


def test_a_journal_opened_while_the_agent_leaves_is_never_stranded(place: Place) -> None:
    """Short-lived recorders, one after the other, at the pace at which agents leave."""
    place.known_route()
    for n in range(3):
        journal = Journal.open(place.route())
        journal.append(task(n))
        journal.close()
        wait_for(place.agents)
        wait_for(lambda: not place.agents(), 20)
    place.receive(5, until=lambda: len(place.of(m.TaskState)) == 3)
    assert sorted(t.number for t in place.of(m.TaskState)) == [0, 1, 2]  # type: ignore[union-attr]
    assert not list((place.namespace / "journals").iterdir())


def test_the_start_of_an_agent_does_not_hold_up_the_recorder(place: Place, tmp_path: Path) -> None:
    began = time.perf_counter()
    journal = Journal.open(place.route())
    assert journal.append(task(1))
    assert time.perf_counter() - began < 0.2
    assert threading.active_count() == 1 or all(not t.name.startswith("ship") for t in threading.enumerate())
    journal.close()
