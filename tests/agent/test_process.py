"""Real agents as processes: started by records, killed, told to end, forbidden; on a spool as the bus."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from heliograph import messages as m
from heliograph import watchman
from heliograph.journal import Journal, Limits, now
from heliograph.journal_reader import read_all
from heliograph.route import spool_path
from tests.agent.conftest import Place, task, wait_for


def test_a_record_starts_an_agent_that_ships_everything_and_ends(place: Place) -> None:
    place.known_route()
    journal = Journal.open(place.route(owner=True, sample_interval=0.5))
    at, mono = now()
    journal.append(m.RunStarted(at=at, mono=mono, name="n"))
    for n in range(100):
        journal.append(task(n))
    place.receive(10, until=lambda: len(place.of(m.TaskState)) == 100 and bool(place.of(m.RunHeartbeat)))
    (pid,) = place.agents()
    # Detached: nobody's child here, a session of its own, nothing open that the recorder had, low priority.
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 10
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    targets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert all(t == "/dev/null" or str(place.state) in t or str(place.spool) in t for t in targets), targets
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    journal.append(m.RunEnded(at=at, mono=mono))
    journal.close()
    place.receive(15, until=lambda: any(s.ended for s in place.of(m.AgentStatus)))  # type: ignore[union-attr]
    wait_for(lambda: not place.agents(), 5)
    (closed,) = place.of(m.JournalClosed)
    assert closed.clean  # type: ignore[union-attr]
    assert closed.records == 102  # type: ignore[union-attr]
    assert sorted(t.number for t in place.of(m.TaskState)) == list(range(100))  # type: ignore[union-attr]
    assert place.of(m.NodeSample)
    assert list((place.namespace / "journals").iterdir()) == []
    assert max(place.ids.values()) == 1


@pytest.mark.slow
def test_killed_ten_times_under_load_everything_arrives(place: Place) -> None:
    """50,000 records from three processes; what arrives equals what the recorders wrote down themselves."""
    place.known_route()
    script = Path(__file__).with_name("recorder.py")
    ledgers = [place.run_dir / f"ledger-{n}" for n in range(3)]
    recorders = [
        subprocess.Popen([sys.executable, str(script), str(place.run_dir), str(ledger), "17000"]) for ledger in ledgers
    ]
    kills = []
    chance = random.Random(7)
    while len(kills) < 10:
        arrived_before = len(place.ids)
        place.receive(20, until=lambda: len(place.ids) > arrived_before)  # noqa: B023 - called within this round
        assert len(place.ids) > arrived_before, kills
        place.receive(chance.uniform(0.0, 0.6))
        for pid in place.agents():
            os.kill(pid, signal.SIGKILL)
            in_flight = sum(path.stat().st_size for path in (place.namespace / "journals").rglob("*.seg"))
            kills.append((len(place.ids), in_flight))
    (place.run_dir / "stop").touch()
    for recorder in recorders:
        assert recorder.wait(60) == 0
    written = {line for ledger in ledgers for line in ledger.read_text().split()}
    assert len(written) >= 51_000
    # One more record brings an agent back, should the last one have been killed after the recorders' end.
    with_agent = Journal.open(place.route())
    with_agent.append(task(-1))
    with_agent.close()

    def arrived() -> set[str]:
        return {f"{r.origin}/{r.number}" for r in place.of(m.TaskState) if r.number >= 0}  # type: ignore[union-attr]

    place.receive(60, until=lambda: len(place.state_ids) > len(written) and arrived() == written)
    assert arrived() == written
    # Shipped again after a kill, a record keeps its id: there are not more ids than records.
    assert len(place.state_ids) == len(written) + 1
    assert len(kills) >= 10
    print("kills as (records arrived, bytes in the journals):", kills)
    wait_for(lambda: not place.agents(), 15)
    place.receive(1)
    assert list((place.namespace / "journals").iterdir()) == []


def test_a_killed_agent_comes_back_with_a_later_record(place: Place) -> None:
    place.known_route()
    journal = Journal.open(place.route())
    journal.append(task(1))
    place.receive(10, until=lambda: len(place.of(m.TaskState)) == 1)
    (pid,) = place.agents()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not place.agents())
    for n in range(2, 200):
        journal.append(task(n))
        if place.agents():
            break
        time.sleep(0.05)
    assert place.agents() not in ([], [pid])
    place.receive(10, until=lambda: len(place.of(m.TaskState)) >= n)
    assert sorted(t.number for t in place.of(m.TaskState)) == list(range(1, n + 1))  # type: ignore[union-attr]
    journal.close()


def test_a_hundred_recorders_have_one_agent(place: Place) -> None:
    place.known_route()
    script = "from tests.agent.test_process import *; from tests.agent.conftest import *\n"
    script += "import sys; from heliograph.route import Route\n"
    script += "j = Journal.open(Route(run='run-1', run_dir=sys.argv[1])); j.append(task(1)); time.sleep(4)\n"
    recorders = [subprocess.Popen([sys.executable, "-c", script, str(place.run_dir)]) for _ in range(8)]
    wait_for(place.agents)
    seen = set()
    while any(recorder.poll() is None for recorder in recorders):
        seen.update(place.agents())
        time.sleep(0.1)
    log = (place.namespace / "agent.log").read_text()
    assert log.count("watches over") == 1, log
    place.receive(10, until=lambda: len(place.of(m.JournalClosed)) == 8)
    assert len(place.of(m.TaskState)) == 8


def test_the_site_says_how_often_samples_are_taken_at_most(place: Place, tmp_path: Path) -> None:
    site = tmp_path / "agent.json"
    site.write_text(json.dumps({"interval": 4}))
    place.known_route()
    journal = Journal.open(place.route(sample_interval=0.2), start_agent=False)
    at, mono = now()
    journal.append(m.TaskRunning(at=at, mono=mono, origin="o", number=1, try_=0, host="h", pid=os.getpid()))
    agent = place.start_agent(HELIOGRAPH_SITE_FILE=str(site))
    place.receive(60, until=lambda: len(place.of(m.TaskSample)) >= 3)
    samples = sorted(place.of(m.TaskSample), key=lambda sample: sample.at)
    assert len(samples) >= 3
    assert {sample.interval for sample in samples} == {4.0}  # type: ignore[union-attr]
    assert samples[2].at - samples[1].at >= 3_500_000
    agent.kill()
    agent.wait()


@pytest.mark.parametrize("how", ["HELIOGRAPH_AGENT", "the site's file"])
def test_agents_can_be_forbidden(place: Place, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "HELIOGRAPH_AGENT":
        monkeypatch.setenv("HELIOGRAPH_AGENT", "off")
    else:
        site = place.run_dir / "site.json"
        site.write_text(json.dumps({"off": True}))
        monkeypatch.setenv("HELIOGRAPH_SITE_FILE", str(site))
    place.known_route()
    journal = Journal.open(place.route())
    assert journal.append(task(1))
    time.sleep(0.5)
    assert place.agents() == []
    assert place.start_agent().wait(10) == 0
    journal.close()
    (folder,) = (place.namespace / "journals").iterdir()
    assert len(read_all(folder)) == 1  # recorded all the same: for an agent that is allowed


def test_told_to_end_it_ships_what_is_there(place: Place) -> None:
    place.known_route()
    journal = Journal.open(place.route(), start_agent=False)
    journal.append(task(0))
    agent = place.start_agent()
    place.receive(10, until=lambda: len(place.of(m.TaskState)) == 1)
    for n in range(1, 5000):
        journal.append(task(n))
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(10) == 0
    place.receive(3, until=lambda: len(place.of(m.TaskState)) == 5000)
    assert sorted(t.number for t in place.of(m.TaskState)) == list(range(5000))  # type: ignore[union-attr]
    assert not watchman.agent_present(place.namespace)
    assert any(s.ended for s in place.of(m.AgentStatus))  # type: ignore[union-attr]


def test_told_to_end_while_it_starts_it_still_moves_everything(place: Place) -> None:
    journal = Journal.open(place.route(), start_agent=False)
    for n in range(30):
        journal.append(task(n))
    agent = place.start_agent(HELIOGRAPH_BUS="amqp://127.0.0.1:1/")
    wait_for(lambda: watchman.agent_present(place.namespace))
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    place.receive(3, spool=spool_path(place.run_dir), until=lambda: len(place.of(m.TaskState)) == 30)
    assert sorted(t.number for t in place.of(m.TaskState)) == list(range(30))  # type: ignore[union-attr]


def test_told_to_end_without_a_bus_it_moves_all_to_the_run_directory(place: Place) -> None:
    journal = Journal.open(place.route(), start_agent=False)
    for n in range(3000):
        journal.append(task(n))
    agent = place.start_agent(HELIOGRAPH_BUS="amqp://127.0.0.1:1/")  # nothing listens there
    wait_for(lambda: watchman.agent_present(place.namespace))
    time.sleep(1)
    began = time.monotonic()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(15) == 0
    assert time.monotonic() - began < 8
    place.receive(3, spool=spool_path(place.run_dir), until=lambda: len(place.of(m.TaskState)) == 3000)
    assert sorted(t.number for t in place.of(m.TaskState)) == list(range(3000))  # type: ignore[union-attr]


def test_the_submitting_nodes_agent_ships_on_what_others_left_in_the_run_directory(place: Place) -> None:
    from heliograph import bus

    record = task(77)
    batch = m.Batch(
        version=1,
        run="run-1",
        cls="states",
        agent="far",
        host="far",
        boot="",
        sources=[m.Source("far-away", [5])],
        records=[msgspec.Raw(m.encode(record))],
    )
    publisher = bus.open_publisher(f"spool:{spool_path(place.run_dir)}", name="far")
    publisher.publish([bus.Outgoing(run="run-1", cls=m.Class.STATES, body=m.encode(batch))])
    place.known_route()
    journal = Journal.open(place.route(owner=True))
    journal.append(task(1))
    place.receive(15, until=lambda: len(place.of(m.TaskState)) == 2)
    assert "far-away:5" in place.ids
    journal.close()


@pytest.mark.slow
def test_the_submitting_nodes_agent_outlives_the_run_when_one_elsewhere_found_no_way_to_the_bus(place: Place) -> None:
    """The other says so at its first failure and gives up on the bus half a minute later: the run may be over then."""
    from heliograph import bus
    from heliograph.agent import forward

    place.known_route()
    forward.announce(str(place.run_dir))
    journal = Journal.open(place.route(owner=True))
    journal.append(task(1))
    journal.close()
    place.receive(30, until=lambda: len(place.of(m.JournalClosed)) == 1 and bool(place.of(m.AgentStatus)))
    time.sleep(6)  # twice as long as it takes to end otherwise
    batch = m.Batch(
        version=1,
        run="run-1",
        cls="states",
        agent="far",
        host="far",
        boot="",
        sources=[m.Source("far-away", [5])],
        records=[msgspec.Raw(m.encode(task(77)))],
    )
    publisher = bus.open_publisher(f"spool:{spool_path(place.run_dir)}", name="far")
    publisher.publish([bus.Outgoing(run="run-1", cls=m.Class.STATES, body=m.encode(batch))])
    place.receive(30, until=lambda: "far-away:5" in place.ids)
    assert "far-away:5" in place.ids


@pytest.mark.parametrize("far", [False, True], ids=["from a journal here", "from a spool in the run directory"])
def test_a_command_is_shipped_like_a_record_but_not_to_the_writer(place: Place, far: bool) -> None:
    from heliograph import bus
    from heliograph.filewatch import request

    place.known_route()
    journal = Journal.open(place.route(owner=True))
    journal.append(task(1))
    if far:
        command = m.encode(m.WatchStart(at=1, watch="w", root="/scr"))
        batch = m.Batch(
            version=1,
            run="run-1",
            cls="commands",
            agent="far",
            host="far",
            boot="",
            sources=[m.Source("far-away", [5])],
            records=[msgspec.Raw(command)],
        )
        publisher = bus.open_publisher(f"spool:{spool_path(place.run_dir)}", name="far")
        publisher.publish([bus.Outgoing(run="run-1", cls=m.Class.COMMANDS, body=m.encode(batch))])
    else:
        assert request.ask(journal, watch="w", root="/scr")
    obeys = bus.open_consumer(f"spool:{place.spool}", name="filewatch", classes=[m.Class.COMMANDS])
    (got,) = obeys.receive(5, 20.0)
    commands, aside = m.decode_commands(m.decode_batch(got.body))
    assert ([c.watch for c in commands], aside) == (["w"], [])
    obeys.ack([got])
    obeys.close()
    place.receive(15, until=lambda: bool(place.of(m.TaskState)))
    assert "far-away:5" not in place.ids
    journal.close()


def test_over_its_memory_cap_it_ends_and_the_next_record_brings_another(place: Place) -> None:
    place.known_route()
    site = place.run_dir / "site.json"
    site.write_text(json.dumps({"memory": 1 << 20}))
    journal = Journal.open(place.route(), start_agent=False)
    journal.append(task(1))
    assert place.start_agent(HELIOGRAPH_SITE_FILE=str(site)).wait(10) == 0
    assert not watchman.agent_present(place.namespace)
    (folder,) = (place.namespace / "journals" / journal.id,)
    assert folder.exists()
    journal.close()


def test_records_over_the_cap_are_dropped_and_the_bus_learns_how_many(place: Place) -> None:
    place.known_route()
    journal = Journal.open(place.route(), limits=Limits(process=100_000, reserve=0), start_agent=False)
    kept = sum(journal.append(task(n)) for n in range(5000))
    assert kept < 5000
    journal.close()
    agent = place.start_agent()
    place.receive(10, until=lambda: bool(place.of(m.JournalClosed)))
    assert len(place.of(m.TaskState)) == kept
    assert place.of(m.Dropped)[-1].states == 5000 - kept  # type: ignore[union-attr]
    assert agent.wait(15) == 0


def test_an_idle_agent_costs_less_than_a_thousandth_of_a_core(place: Place) -> None:
    place.known_route()
    journals = [Journal.open(place.route(sample_interval=10.0), start_agent=False) for _ in range(16)]
    for journal in journals:
        journal.append(task(1))
    agent = place.start_agent()
    place.receive(10, until=lambda: len(place.of(m.TaskState)) == 16)
    time.sleep(5)  # until it has slowed down
    before, began = _cpu_seconds(agent.pid), time.monotonic()
    time.sleep(20)
    share = (_cpu_seconds(agent.pid) - before) / (time.monotonic() - began)
    print(f"idle agent with 16 journals: {share:.3%} of a core")
    assert share < 0.0015  # 0.1 % and one tick of the clock, which counts in hundredths of a second
    agent.kill()
    agent.wait()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
