"""The efficiency of a whole run: try by try, and from the rollup, which must come to the same where both can be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from heliograph.messages import (
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunStarted,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
)
from heliograph_store.migrate import migrate
from heliograph_store.read import load, runs
from heliograph_store.read.busy_rollup import Busy, BusyGrid
from heliograph_store.read.efficiency import Pool
from heliograph_store.read.run_efficiency import efficiency_of, from_rollup, host_use
from heliograph_store.read.stints import pools_of
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import batches, numbered

AT = 1_789_999_980_000_000
"""The beginning of a minute."""
S = 1_000_000
MINUTE = 60 * S


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/monitoring.db"
    migrate(url)
    opened = connect(url)
    yield opened
    opened.close()


def write(store: Store, *records: Record) -> runs.Run:
    assert not Writer(store).write(batches(numbered([("r", record) for record in records]), 500)).aside
    found = runs.find_run(store, "r")
    assert found is not None
    return found


def ran(number: int, host: str, began: int, lasted: int, *, worker: int = 0, app: str = "a") -> list[Record]:
    head: dict[str, Any] = {"origin": "k", "number": number, "host": host, "try_": 0}
    return [
        TaskDescribed(at=AT, origin="k", number=number, app=app),
        TaskRunning(at=AT + began, pid=worker + 1, worker=str(worker), pool=f"p-{host}", executor="htex", **head),
        TaskEnded(at=AT + began + lasted, pid=worker + 1, ok=True, elapsed=lasted, cpu_user=lasted // 2, **head),
    ]


def a_run(random: Random, *, nodes: int = 3, workers: int = 4, minutes: int = 30) -> list[Record]:
    """Workers that do one thing at a time, with breaks between."""
    records: list[Record] = [RunStarted(at=AT, name="w", sample_interval=10.0)]
    number = 0
    for node in range(nodes):
        host, first = f"n{node}", node * 3 * MINUTE
        records.append(NodeSeen(at=AT + first, host=host, pool=f"p-{host}", executor="htex", workers=workers))
        for worker in range(workers):
            at = first + random.randrange(30 * S)
            while (lasted := random.randrange(S, 4 * MINUTE)) + at < minutes * MINUTE:
                records += ran(number, host, at, lasted, worker=worker, app="ab"[number % 2])
                number += 1
                at += lasted + random.randrange(90 * S)
        records.append(NodeSample(at=AT + minutes * MINUTE, host=host))
    return [*records, RunEnded(at=AT + minutes * MINUTE)]


@pytest.mark.parametrize("seed", range(3))
def test_the_rollup_comes_to_what_the_tries_come_to(store: Store, seed: int) -> None:
    run = write(store, *a_run(Random(seed)))
    exact = efficiency_of(store, run)
    assert exact.complete
    hosts, moments = from_rollup(pools_of(store, run), load.host_busy_of(store, run, 30))
    assert {h.host for h in hosts} == {h.host for h in exact.hosts} == {"n0", "n1", "n2"}
    for mine, theirs in zip(hosts, exact.hosts, strict=True):
        assert mine.workers.used == theirs.workers.used
        assert mine.workers.available == pytest.approx(theirs.workers.available, rel=1e-6)
    assert sum(m.busy for m in moments) > 0
    assert all(m.busy <= m.available + 1e-9 for m in moments)


def test_apps_add_up_to_the_run(store: Store) -> None:
    run = write(store, *a_run(Random(9)))
    found = efficiency_of(store, run)
    assert [one.app for one in found.apps] == ["a", "b"]
    assert found.cpu.ratio == pytest.approx(0.5, rel=1e-4)
    assert sum(one.cpu.tries for one in found.apps) == found.cpu.tries == found.tries
    assert found.memory.ratio is None
    assert sum(host.workers.used for host in found.hosts) == found.workers.used
    assert 0 < (found.workers.ratio or 0) < 1
    assert host_use(store, run).shares == found.hosts


def test_a_run_without_anything_is_unknown(store: Store) -> None:
    found = efficiency_of(store, write(store, RunStarted(at=AT, name="w")))
    assert (found.workers.ratio, found.cpu.ratio, found.memory.ratio) == (None, None, None)
    assert (found.apps, found.moments) == ([], [])


def busy(at: int, host: str, worker_minutes: float) -> Busy:
    return Busy(at=AT + at * MINUTE, width=MINUTE, name=host, busy=int(worker_minutes * MINUTE), running=0)


def told(host: str, workers: int | None, since: int, until: int) -> Pool:
    key = (host, host)
    return Pool(key=key, host=host, executor="x", workers=workers, since=AT + since * MINUTE, until=AT + until * MINUTE)


def test_threads_are_measured_against_their_busiest_stretch() -> None:
    # 3 busy at most, in 4 minutes: 12 worker-minutes, of which 1 + 3 + 2 were used.
    (host,), moments = from_rollup(
        [told("n", None, 0, 4)], BusyGrid.of([busy(0, "n", 1), busy(1, "n", 3), busy(3, "n", 2)])
    )
    assert (host.workers.used / MINUTE, host.workers.available / MINUTE) == (6, 12)
    assert [(m.busy, m.available) for m in moments] == [(1, 3), (3, 3), (0, 3), (2, 3)]


def test_a_node_is_there_only_while_its_pool_is() -> None:
    # 2 workers in the minutes 1 and 2 of 4; the other node's one worker all the time.
    rows = [busy(0, "m", 1), busy(1, "m", 1), busy(1, "n", 2), busy(2, "m", 1), busy(3, "m", 1)]
    hosts, moments = from_rollup([told("n", 2, 1, 3), told("m", 1, 0, 4)], BusyGrid.of(rows))
    assert [(h.host, h.workers.used / MINUTE, h.workers.available / MINUTE) for h in hosts] == [
        ("m", 4, 4),
        ("n", 2, 4),
    ]
    assert [(m.busy, m.available) for m in moments] == [(1, 1), (3, 3), (1, 3), (1, 1)]


def test_what_ran_before_a_pool_told_of_itself_was_there() -> None:
    # A fifth of a minute before its registration: no worker more for the whole run, and never above all of it.
    (host,), moments = from_rollup(
        [told("n", 1, 1, 3)], BusyGrid.of([busy(0, "n", 0.2), busy(1, "n", 1), busy(2, "n", 0.5)])
    )
    assert host.workers.available / MINUTE == pytest.approx(2.2)
    assert all(m.busy <= m.available for m in moments)


def test_load_of_nodes_over_time_and_what_runs_there_now(store: Store) -> None:
    now = AT + 10 * MINUTE
    run = write(
        store, RunStarted(at=AT, name="w"), *ran(0, "n0", 0, 2 * MINUTE), *ran(1, "n1", MINUTE, MINUTE),
        TaskDescribed(at=AT, origin="k", number=2, app="late"),
        TaskRunning(at=now - 30 * S, origin="k", number=2, try_=0, host="n1", pid=8, worker="7", pool="p"),
        NodeSample(at=now, host="n0"),
    )  # fmt: skip
    found = load.host_load(store, run, buckets=10)
    assert {host: round(sum(values) * found.width / MINUTE, 3) for host, values in found.busy.items()} == {
        "n0": 2, "n1": 1.5,
    }  # fmt: skip
    assert (found.running.get("n0", 0), found.running["n1"]) == (0, 1)
    assert [(i.task, i.app, i.worker) for i in load.running_on(store, run, "n1")] == [(2, "late", "7")]
    assert load.running_on(store, run, "n0") == []
    assert load.host_load(store, write(store, RunStarted(at=AT, name="w"))).busy.keys() == found.busy.keys()
