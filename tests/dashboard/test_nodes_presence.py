"""Whether a node is there, from what was heard of it; computed at a time that the test chooses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heliograph.messages import (
    AgentStatus,
    BlockState,
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    TaskRunning,
)
from heliograph_store.migrate import migrate
from heliograph_store.read import runs
from heliograph_store.read.presence import Host, host_list, presence
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import batches, numbered

AT = 1_790_000_000_000_000
S = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/monitoring.db"
    migrate(url)
    opened = connect(url)
    yield opened
    opened.close()


def write(store: Store, *records: Record) -> runs.Run:
    assert (
        not Writer(store)
        .write(batches(numbered([("r", r) for r in (RunStarted(at=AT, name="w"), *records)]), 99))
        .aside
    )
    found = runs.find_run(store, "r")
    assert found is not None
    return found


def seen(host: str, second: float = 0, **more: Any) -> NodeSeen:
    return NodeSeen(**{"at": AT + int(second * S), "host": host, "pool": f"p-{host}", "executor": "htex", "block": "0",
                       "workers": 4, **more})  # fmt: skip


def status(host: str, second: float, **more: Any) -> AgentStatus:
    return AgentStatus(at=AT + int(second * S), agent=f"agent-{host}", host=host, pid=1, **more)


def found(store: Store, run: runs.Run, second: float, lag: int = 0) -> dict[str, Host]:
    return {host.host: host for host in host_list(store, run, now=AT + int(second * S), lag=lag)}


def states(store: Store, run: runs.Run, second: float, lag: int = 0) -> dict[str, str]:
    return {name: host.presence for name, host in found(store, run, second, lag).items()}


def test_nodes_of_a_run_that_goes_on(store: Store) -> None:
    run = write(
        store,
        seen("alive"), NodeSample(at=AT + 95 * S, host="alive"),
        seen("silent"), status("silent", 30),
        seen("bye"), seen("bye", 20, active=False), status("bye", 25),
        seen("ended", block="1"), BlockState(at=AT + 40 * S, executor="htex", block="1", status="COMPLETED"),
        seen("went", block="2"), status("went", 20, ended=True),
        seen("mute", block="3"),
        NodeSample(at=AT + 99 * S, host="only-sampled"),
        TaskRunning(at=AT + 99 * S, origin="k", number=1, try_=0, host="ran", pid=1),
        RunHeartbeat(at=AT + 100 * S),
    )  # fmt: skip
    assert states(store, run, 100) == {
        "alive": "alive", "silent": "lost", "bye": "left", "ended": "left", "went": "left", "mute": "unknown",
        "only-sampled": "alive", "ran": "unknown",
    }  # fmt: skip
    # While records are on their way for longer than a lease, nobody can tell.
    assert states(store, run, 100, lag=61 * S)["silent"] == "unknown"
    # Whatever comes back is alive again.
    write(store, status("silent", 101))
    assert states(store, run, 102)["silent"] == "alive"


def test_nodes_of_a_run_that_is_over(store: Store) -> None:
    run = write(
        store, seen("to-the-end"), status("to-the-end", 290), seen("silent"), status("silent", 100),
        seen("early"), seen("early", 50, active=False), status("early", 60), seen("mute"), RunEnded(at=AT + 300 * S),
    )  # fmt: skip
    for second in (301, 10**6):
        assert states(store, run, second) == {"to-the-end": "over", "silent": "lost", "early": "left", "mute": "over"}


def test_of_a_lost_run_the_nodes_are_lost_too(store: Store) -> None:
    run = write(store, seen("a"), status("a", 10))
    assert states(store, run, 5000) == {"a": "lost"}
    assert states(store, replace(run, lease_until=AT + 10**13), 5000) == {"a": "unknown"}


def test_a_node_with_all_that_is_there(store: Store) -> None:
    run = write(
        store, seen("n"), seen("n", 5, pool="q", block="1", workers=2, executor="big"),
        seen("n", 6, pool="t", workers=None),
        status("n", 70, dropped_samples=3, dropped_states=1), NodeSample(at=AT + 50 * S, host="n"), seen("other"),
    )  # fmt: skip
    (host,) = host_list(store, run, now=AT + 80 * S, host="n")
    assert (host.workers, host.blocks, host.executors, host.dropped) == (6, ["0", "1"], ["big", "htex"], 4)
    assert (host.first_seen, host.last_sign, host.sampled) == (AT, AT + 70 * S, AT + 50 * S)
    assert host_list(store, run, now=AT, host="nowhere") == []


def test_a_lease_is_a_minute(store: Store) -> None:
    run = write(store, RunHeartbeat(at=AT + 1000 * S))
    assert presence(run, AT, said_goodbye=False, now=AT + 60 * S) == "alive"
    assert presence(run, AT, said_goodbye=False, now=AT + 61 * S) == "lost"
