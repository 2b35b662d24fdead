"""Series of resources and what efficiency is computed from, read from rows that the writer wrote; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from heliograph.messages import (
    AgentStatus,
    BlockState,
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunStarted,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
)
from heliograph_store.migrate import migrate
from heliograph_store.read import resources, runs, sampled, stints, taskuse
from heliograph_store.read.efficiency import cpu_share, memory_share, occupation, worker_share
from heliograph_store.schema import task_key
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import batches, numbered

AT = 1_790_000_000_000_000
S = 1_000_000
GB = 1 << 30


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def write(store: Store, *records: Record) -> runs.Run:
    assert not Writer(store).write(batches(numbered([("r", record) for record in records]), 500)).aside
    found = runs.find_run(store, "r")
    assert found is not None
    return found


def node(host: str, second: float, **more: Any) -> NodeSample:
    return NodeSample(at=AT + int(second * S), host=host, cpu_count=4, memory_total=8 * GB, **more)


def started(**more: Any) -> RunStarted:
    return RunStarted(at=AT, name="w", sample_interval=10.0, **more)


# -- nodes -----------------------------------------------------------------------------------------------------------


def test_levels_sum_the_nodes_and_keep_the_extremes(store: Store) -> None:
    run = write(
        store,
        started(),
        *(node("a", s, cpu_percent=100.0 if s == 30 else 50.0, memory_used=2 * GB) for s in range(0, 60, 10)),
        *(node("b", s, cpu_percent=25.0, memory_used=GB if s else 4 * GB) for s in range(0, 60, 10)),
    )
    found = resources.node_levels(store, run.id, buckets=1)
    (level,) = found.points
    # a: mean 58.3 % of 4 cores, b: 25 % of 4 cores.
    assert level.cpu == pytest.approx(4 * (350 / 6 + 25) / 100)
    assert (level.nodes, level.cores, level.memory_total) == (2, 8, 16 * GB)
    assert (level.cpu_low, level.cpu_high) == (0.25, 1.0)
    assert level.memory == pytest.approx(2 * GB + GB * 9 / 6)
    assert (level.memory_low, level.memory_high) == (1 / 8, 4 / 8)
    one = resources.node_levels(store, run.id, host="b", buckets=1).points
    assert [(p.nodes, p.cpu, p.cpu_high) for p in one] == [(1, 1.0, 0.25)]
    narrow = resources.node_levels(store, run.id, host="a", buckets=300).points
    assert max(p.cpu_high for p in narrow) == 1.0
    assert len(narrow) == 6
    assert resources.node_levels(store, run.id, host="nowhere").points == ()


def test_summed_stretches_are_never_shorter_than_the_interval(store: Store) -> None:
    run = write(store, started(), *(node(h, s, cpu_percent=1.0) for h in "abc" for s in range(0, 300, 10)))
    found = resources.node_levels(store, run.id, buckets=2000)
    assert found.width == 15 * S
    assert {p.nodes for p in found.points} == {3}
    window = resources.node_levels(store, run.id, since=AT + 100 * S, until=AT + 150 * S, buckets=1)
    assert window.points[0].at >= AT + 100 * S
    assert window.width == 60 * S  # 50 s, to whole steps of 15 s


def test_rates_are_growth_over_time_and_not_over_reboots_or_gaps(store: Store) -> None:
    sent = {0: 0, 10: 1000, 20: 6000, 30: 100, 40: 200, 500: 10**9, 510: 10**9 + 50}
    run = write(store, started(), *(node("a", s, net_sent=v, disk_read=v * 2) for s, v in sent.items()))
    found = resources.node_rates(store, run.id, host="a", buckets=2000)
    rates = {round((p.at - AT) / S): p.net_sent for p in found.points}
    assert rates == {0: None, 10: 100.0, 20: 500.0, 30: None, 40: 10.0, 500: None, 510: 5.0}
    assert max(p.disk_read or 0 for p in found.points) == 1000.0
    assert {p.net_received for p in found.points} == {None}
    (whole,) = resources.node_rates(store, run.id, host="a", buckets=1).points
    assert (whole.net_sent_low, whole.net_sent_high) == (5.0, 500.0)
    assert found.gap == 45 * S


def test_rates_of_nodes_add_up(store: Store) -> None:
    run = write(store, started(), *(node(h, s, net_sent=s * 100) for h in "ab" for s in (0, 10, 20)))
    (point,) = resources.node_rates(store, run.id, buckets=1).points
    assert (point.nodes, point.net_sent, point.net_sent_low, point.net_sent_high) == (2, 200.0, 200.0, 200.0)


def test_when_nodes_were_last_heard_of(store: Store) -> None:
    run = write(store, started(), node("b", 5), node("b", 50), node("a", 7))
    assert sampled.last_samples(store, run.id) == {"a": AT + 7 * S, "b": AT + 50 * S}
    assert sampled.sampled_hosts(store, run.id) == ["a", "b"]
    assert sampled.last_samples(store, run.id + 1) == {}


# -- tries -----------------------------------------------------------------------------------------------------------


def running(number: int, second: float, **more: Any) -> TaskRunning:
    return TaskRunning(**{"at": AT + int(second * S), "origin": "k", "number": number, "try_": 0, "host": "a", "pid": 9,
                          "worker": "0", "pool": "p", "executor": "htex", **more})  # fmt: skip


def sample(number: int, second: float, cpu: float, rss: int, **more: Any) -> TaskSample:
    return TaskSample(at=AT + int(second * S), origin="k", number=number, try_=0, host="a", pid=9, rss=rss,
                      cpu_user=int(cpu * S), cpu_system=0, read_bytes=int(cpu * 100), **more)  # fmt: skip


def described(number: int, app: str, **more: Any) -> TaskDescribed:
    return TaskDescribed(at=AT, origin="k", number=number, app=app, **more)


def test_what_a_task_used_while_it_was_measured(store: Store) -> None:
    run = write(
        store, started(), described(1, "x"), running(1, 0),
        sample(1, 10, 5, GB), sample(1, 20, 15, 3 * GB), sample(1, 60, 15, GB),
    )  # fmt: skip
    points = taskuse.task_use(store, run.id, task_key(0, 1), buckets=2000).points
    # 0.5 of a core since it began, a whole one, and none over the last 40 s.
    assert [(p.cpu, p.memory, p.read) for p in points] == [(0.5, GB, 50.0), (1.0, 3 * GB, 100.0), (0.0, GB, 0.0)]
    (whole,) = taskuse.task_use(store, run.id, task_key(0, 1), buckets=1).points
    assert whole.cpu == pytest.approx(15 / 60)
    assert whole.memory == pytest.approx((10 + 10 * 3 + 40) * GB / 60)
    assert (whole.cpu_high, whole.memory_high, whole.samples) == (1.0, 3 * GB, 3)
    assert taskuse.task_use(store, run.id, task_key(0, 2)).points == ()


def test_what_an_app_used_is_the_sum_of_its_tries_without_shared_processes(store: Store) -> None:
    records = [described(1, "x"), described(2, "x"), described(3, "y"), *(running(n, 0) for n in (1, 2, 3))]
    for second in (10, 20, 30, 40):
        records += [sample(n, second, second * 0.5, GB) for n in (1, 2, 3)]
        records.append(sample(4, second, second * 9, 99 * GB, shared=True))
    run = write(store, started(), running(4, 0), *records)
    of_x = taskuse.app_use(store, run.id, "x", buckets=1)
    assert of_x is not None
    (point,) = of_x.points
    # Two tries that use half a core and 1 GiB each for 40 s; the first sample is at 10 s, so 30 s are covered.
    assert point.cpu == pytest.approx(2 * 20 / 30)
    assert point.memory == pytest.approx(2 * GB * 40 / 30)
    assert point.memory_high == GB
    everything = taskuse.app_use(store, run.id, buckets=1)
    assert everything is not None
    assert everything.points[0].samples == 12
    steps = taskuse.app_use(store, run.id, "y", buckets=2000)
    assert steps is not None
    assert steps.width == 10 * S


# -- efficiency ------------------------------------------------------------------------------------------------------


def ended(number: int, second: float, **more: Any) -> TaskEnded:
    return TaskEnded(**{"at": AT + int(second * S), "origin": "k", "number": number, "try_": 0, "host": "a", "pid": 9,
                        "ok": True, "elapsed": 10 * S, **more})  # fmt: skip


def seen(second: float, **more: Any) -> NodeSeen:
    return NodeSeen(**{"at": AT + int(second * S), "host": "a", "pool": "p", "executor": "htex", "block": "0",
                       "workers": 2, "memory_total": 8 * GB, **more})  # fmt: skip


def test_the_efficiency_of_a_small_run(store: Store) -> None:
    run = write(
        store, started(), seen(0), described(1, "x"), described(2, "x", resources='{"cores": 2, "memory": 1024}'),
        running(1, 0), ended(1, 10, cpu_user=6 * S, cpu_system=2 * S, peak_rss=GB, peak_exact=True),
        running(2, 10, worker="1"), ended(2, 20, cpu_user=4 * S, cpu_system=0, peak_rss=GB // 2, peak_exact=True),
        running(3, 30), TaskState(at=AT + 35 * S, origin="k", number=3, try_=0, state="failed"),
        running(4, 36),
        node("a", 40), RunEnded(at=AT + 50 * S),
    )  # fmt: skip
    pools = stints.pools_of(store, run)
    assert [(p.key, p.workers, p.since - AT, p.until - AT) for p in pools] == [(("a", "p"), 2, 0, 40 * S)]
    read = stints.stints_of(store, run, pools, tasks_in_run=4)
    assert read.complete
    # Workers: 10 + 10 + 5 (its failure told the end) + 4 (until the last sign) of 2 × 40 s.
    share = worker_share(occupation(pools, read.stints))
    assert (share.used / S, share.available / S) == (29, 80)
    # Processors: 8 s of 10 s on one core, 4 s of 10 s on two: the others' times are not known.
    assert cpu_share(read.stints).ratio == 12 / 30
    # Memory: 1 GiB of a worker's part of the node (8 / 2), 0.5 of the 1 GiB that was asked for.
    assert memory_share(read.stints).ratio == pytest.approx((1 + 0.5) / (4 + 1))
    assert {s.app for s in read.stints} == {"x", None}
    assert len(stints.stints_of(store, run, pools, app="x", tasks_in_run=4).stints) == 2


def test_a_pool_is_there_until_it_says_goodbye_or_its_block_ends(store: Store) -> None:
    run = write(
        store, started(),
        seen(0), BlockState(at=AT + 30 * S, executor="htex", block="0", status="RUNNING"),
        BlockState(at=AT + 60 * S, executor="htex", block="0", status="COMPLETED", job_id="1"),
        seen(10, host="b", pool="q", block="1"), seen(25, host="b", pool="q", block="1", active=False),
        seen(0, host="c", pool="s", block="2"), AgentStatus(at=AT + 70 * S, agent="g", host="c", pid=1),
        node("a", 90), node("b", 90),
    )  # fmt: skip
    spans = {p.host: ((p.since - AT) // S, (p.until - AT) // S) for p in stints.pools_of(store, run)}
    assert spans == {"a": (0, 60), "b": (10, 25), "c": (0, 70)}


def test_threads_belong_to_the_process_that_registered(store: Store) -> None:
    threads = {"pool": None, "worker": None, "executor": "threads", "shared": True}
    run = write(
        store, started(), seen(0, pool="a/9/threads", workers=None, executor="threads", block=None),
        running(1, 0, thread=1, **threads), ended(1, 10, cpu_user=5 * S, peak_rss=GB),
        running(2, 0, thread=2, **threads), ended(2, 10, cpu_user=S, peak_rss=GB, peak_exact=True), node("a", 20),
    )  # fmt: skip
    pools = stints.pools_of(store, run)
    read = stints.stints_of(store, run, pools, tasks_in_run=2).stints
    (found,) = occupation(pools, read)
    assert (found.workers, found.share.ratio) == (2, 0.5)
    # A thread's CPU time is its own; the process's memory is not.
    assert cpu_share(read).ratio == 6 / 20
    assert memory_share(read).tries == 0


def test_of_a_large_run_an_even_choice_is_read(store: Store) -> None:
    tasks = range(3000)
    records: list[Record] = [seen(0)]
    for n in tasks:
        cpu = S if n < 1500 else 3 * S  # the first half of the run computes less than the second
        records += [described(n, "x"), running(n, n), ended(n, n + 10, cpu_user=cpu, elapsed=4 * S)]
    run = write(store, started(), *records)
    pools = stints.pools_of(store, run)
    everything = stints.stints_of(store, run, pools, tasks_in_run=3000)
    some = stints.stints_of(store, run, pools, tasks_in_run=3000, many=500)
    assert (everything.complete, len(everything.stints)) == (True, 3000)
    assert not some.complete
    assert 400 <= len(some.stints) <= 500
    assert cpu_share(everything.stints).ratio == 0.5
    assert cpu_share(some.stints).ratio == pytest.approx(0.5, abs=0.02)


def test_some_nodes_stand_for_all_where_samples_are_too_many(store: Store) -> None:
    hosts = [f"n{i:02}" for i in range(16)]
    seconds = range(0, 200, 10)
    run = write(
        store, started(),
        *(node(h, s, cpu_percent=25.0, memory_used=GB, net_sent=s * 10) for h in hosts for s in seconds),
    )  # fmt: skip
    whole = resources.node_levels(store, run.id, buckets=1)
    assert (whole.chosen, whole.nodes) == (16, 16)
    some = resources.node_levels(store, run.id, buckets=1, many=100)
    assert (some.chosen, some.nodes) == (4, 16)
    assert some.points[0].nodes == 4
    # Sums are as of all of them, shares are the same.
    assert (some.points[0].cpu, some.points[0].cores) == (whole.points[0].cpu, whole.points[0].cores) == (16.0, 64)
    assert some.points[0].cpu_high == 0.25
    assert [p.net_sent for p in resources.node_rates(store, run.id, buckets=1, many=100).points] == [160.0]
    # One node is always read whole.
    assert resources.node_levels(store, run.id, host="n03", buckets=1, many=1).chosen == 1
