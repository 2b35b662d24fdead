"""An agent that lives long sees many runs; of those that are over here it keeps nothing."""

from __future__ import annotations

import queue
import threading
from pathlib import Path

from heliograph.agent.elect import Election
from heliograph.agent.followed import Journals
from heliograph.agent.loop import STATUS_EVERY, Agent
from heliograph.agent.persist import Progress, Tries, load
from heliograph.agent.routes import Resolver
from heliograph.agent.runs import Means
from heliograph.agent.sample_node import NodeSampler
from heliograph.agent.sample_tasks import TaskSampler
from heliograph.agent.ship import open_bus
from heliograph.agent.watch import Watch
from heliograph.journal import Journal, Limits
from heliograph.messages import AgentStatus, RunEnded
from heliograph.route import Route
from tests.agent.conftest import Place, task, wait_for


def agent_of(place: Place, memory_cap: int = 1) -> Agent:
    means = Means(
        agent="agent-1", state=place.state, limits=Limits(), outcomes=queue.SimpleQueue(), open_publisher=open_bus,
        resolver=Resolver,
    )  # fmt: skip
    return Agent(
        means=means,
        journals=Journals(place.namespace, "agent-1", {}),
        watch=Watch(TaskSampler(), NodeSampler(), Tries()),
        election=Election(place.namespace),
        memory=lambda: 0,
        memory_cap=memory_cap,
    )


def shippers() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("ship ")}


def journals(place: Place) -> set[Path]:
    return set((place.namespace / "journals").iterdir())


def test_runs_that_are_over_here_are_let_go_while_others_go_on(place: Place) -> None:
    place.known_route()
    lasting = Journal.open(place.route(sample_interval=0.0), start_agent=False)
    lasting.append(task(1))
    for n in range(3):
        over = Journal.open(Route(run=f"over-{n}", run_dir=str(place.run_dir), sample_interval=0.0), start_agent=False)
        over.append(task(n))
        over.append(RunEnded(at=task(n).at))
        over.close()
    agent = agent_of(place)
    moment = 1.0

    def only_the_lasting_run_is_left() -> bool:
        nonlocal moment
        moment += STATUS_EVERY / 4
        agent._step(moment)
        agent._collect(0.05)
        return shippers() == {"ship run-1"}

    agent._step(moment)
    assert shippers() == {"ship run-1", "ship over-0", "ship over-1", "ship over-2"}
    wait_for(only_the_lasting_run_is_left, 20.0)
    place.receive(10.0, until=lambda: {"over-0", "over-1", "over-2", "run-1"} <= place.runs_with(AgentStatus))
    for n in range(3):
        told = [record for record in place.by_run[f"over-{n}"] if isinstance(record, AgentStatus)]
        assert told[-1].ended
    assert max(place.ids.values()) == 1
    saved = load(place.namespace / "agent.progress", Progress)
    assert saved.ended == []
    assert saved.cursors.keys() == {path.name for path in journals(place)}
    lasting.append(task(2))
    agent._step(moment + 1.0)
    assert shippers() == {"ship run-1"}
    lasting.close()
    agent.stop()
    agent.run()
    wait_for(lambda: not shippers())


def test_a_bus_that_is_away_for_many_runs_does_not_fill_the_memory(place: Place) -> None:
    for n in range(20):
        journal = Journal.open(Route(run=f"run-{n}", sample_interval=0.0), start_agent=False)
        assert all(journal.append(task(number, "x" * 10_000)) for number in range(500))
        journal.close()
    agent = agent_of(place, memory_cap=100 << 20)
    for moment in range(10):
        agent._step(float(moment))
    waiting = {run: part.outbox.memory for run, part in agent._runs.items()}
    assert len(waiting) == 20
    assert min(waiting.values()) > 0
    assert sum(waiting.values()) < 60 << 20
    for part in agent._runs.values():
        part.stop(0.0)
