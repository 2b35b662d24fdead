"""The named queries, each on SQLite and PostgreSQL, over rows that the writer wrote from messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from random import Random
from typing import Any

import pytest

from heliograph.messages import (
    AgentStatus,
    BlockState,
    Dropped,
    FileCallback,
    FileFound,
    Gpu,
    JournalClosed,
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
    WatchClosed,
    WatchOpened,
)
from heliograph_store.migrate import migrate
from heliograph_store.read import files, nodes, pipeline, runs, samples, tasks, tries
from heliograph_store.schema import task_key
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import batch, batches, numbered, recorded_run

AT = 1_790_000_000_000_000
SECOND = 1_000_000


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


@pytest.fixture
def recorded(store: Store) -> int:
    """The id of a run with 60 tasks of all sorts."""
    Writer(store).write(batches(numbered(recorded_run(Random(7), tasks=60)), 500))
    found = runs.find_run(store, "run-1")
    assert found is not None
    return found.id


def write(store: Store, *records: Record, run: str = "run-1") -> int:
    writer = Writer(store)
    for i, record in enumerate(records):
        assert not writer.write([batch([record], run=run, offsets=[i])]).aside
    found = runs.find_run(store, run)
    assert found is not None
    return found.id


def state(name: str, at: int, *, number: int = 0, try_: int = 0, **more: Any) -> TaskState:
    return TaskState(at=at, origin="", number=number, try_=try_, state=name, **more)


def started(at: int = AT, name: str = "w", **more: Any) -> RunStarted:
    return RunStarted(at=at, name=name, owner="ada", host="head", run_dir="/runs/1", **more)


# -- runs ------------------------------------------------------------------------------------------------------------


def test_runs_come_newest_first_in_pages_that_lose_none(store: Store) -> None:
    for i in range(7):
        write(store, started(AT + i % 3), run=f"run-{i}")
    everything = runs.list_runs(store, limit=100)
    assert [r.key for r in everything] == sorted((r.key for r in everything), reverse=True)
    paged: list[runs.Run] = []
    while page := runs.list_runs(store, limit=2, after=paged[-1].key if paged else None):
        paged += page
    assert paged == everything
    assert len(everything) == 7


def test_search_finds_what_was_typed_and_not_what_it_might_mean(store: Store) -> None:
    write(store, started(name="100% CPU_bound"), run="a")
    write(store, started(name="other"), run="b")
    assert [r.run for r in runs.list_runs(store, search="cpu_")] == ["a"]
    assert [r.run for r in runs.list_runs(store, search="0% ")] == ["a"]
    assert runs.list_runs(store, search="%e%") == []
    assert len(runs.list_runs(store, search="/RUNS/")) == 2


def test_runs_by_state_and_tag(store: Store) -> None:
    write(store, started(tags={"team": "x"}), RunEnded(at=AT + 1), run="done")
    write(store, started(), RunEnded(at=AT + 1, failed=2), run="bad")
    write(store, started(lease=60 * SECOND), run="dead")
    write(store, started(), RunHeartbeat(at=AT + 600 * SECOND), run="alive")
    now = AT + 610 * SECOND

    def named(state: Any, **more: Any) -> list[str]:
        return sorted(r.run for r in runs.list_runs(store, state=state, now=now, **more))

    assert named("completed") == ["done"]
    assert named("failed") == ["bad"]
    assert named("lost") == ["dead"]
    assert named("running") == ["alive"]
    assert named("unknown", lag=61 * SECOND) == ["dead"]
    assert named(None, tags={"team": "x"}) == ["done"]


def test_a_run_with_its_counts(store: Store, recorded: int) -> None:
    found = runs.find_run(store, "run-1")
    assert found is not None
    summary = runs.run_summary(store, found)
    assert summary.tasks == sum(summary.states.values()) == 60
    assert summary.run.tags == {"k": "v"}
    assert summary.run == runs.get_run(store, recorded)
    page = tasks.task_page(store, recorded, limit=1000)
    for app in summary.apps:
        assert app.total == sum(task.app == app.app for task in page)
    for name, count in summary.states.items():
        assert sum(task.state == name for task in page) == count
    assert runs.find_run(store, "nobody") is None


def test_activity_counts_every_state_once_in_its_minute(store: Store) -> None:
    run = write(
        store,
        TaskDescribed(at=AT, origin="", number=0, app="a"),
        state("pending", AT),
        state("pending", AT),
        state("exec_done", AT + 120 * SECOND),
        state("pending", AT + 121 * SECOND, number=1),
    )
    minute = AT // 60_000_000 * 60_000_000
    found = [(a.at - minute, a.app, a.state, a.entered) for a in runs.activity(store, run)]
    later = 120 * SECOND
    assert sorted(found, key=str) == sorted(
        [(0, "a", "pending", 1), (later, "a", "exec_done", 1), (later, None, "pending", 1)], key=str
    )
    assert {a.at - minute for a in runs.activity(store, run, since=AT + later)} == {later}
    assert {a.at - minute for a in runs.activity(store, run, until=AT)} == {0}


# -- tasks and tries -------------------------------------------------------------------------------------------------


def test_task_pages_lose_none_both_ways(store: Store, recorded: int) -> None:
    everything = [t.task for t in tasks.task_page(store, recorded, limit=1000)]
    assert everything == sorted(everything)
    assert len(everything) == 60
    for newest_first, expected in ((False, everything), (True, everything[::-1])):
        paged: list[int] = []
        while page := tasks.task_page(
            store, recorded, limit=7, after=paged[-1] if paged else None, newest_first=newest_first
        ):
            paged += [t.task for t in page]
        assert paged == expected


def test_filters_agree_with_the_rows(store: Store, recorded: int) -> None:
    page = tasks.task_page(store, recorded, limit=1000)
    assert len({t.app for t in page}) > 1
    assert len({t.state for t in page}) > 1
    for field in ("app", "state", "executor", "host"):
        for value in {getattr(t, field) for t in page} - {None}:
            found = tasks.task_page(store, recorded, limit=1000, **{field: value})
            assert found == [t for t in page if getattr(t, field) == value], (field, value)
    assert tasks.task_page(store, recorded, app="no such app") == []


def test_a_task_is_where_its_latest_try_is(store: Store) -> None:
    run = write(
        store,
        TaskDescribed(at=AT, origin="", number=5, app="a", executor="htex"),
        state("fail_retryable", AT + 9, number=5, fail_count=1),
        TaskRunning(at=AT + 5, origin="", number=5, try_=0, host="n1", pid=1, executor="htex"),
        TaskRunning(at=AT + 20, origin="", number=5, try_=1, host="n2", pid=2, executor="other", block="3"),
    )
    (task,) = tasks.task_page(store, run)
    assert (task.try_, task.state, task.host, task.executor, task.block) == (1, "running", "n2", "other", "3")
    assert (task.began, task.number, task.fail_count) == (AT + 20, 5, 1)
    assert tasks.task_page(store, run, host="n1") == []
    with pytest.raises(FrozenInstanceError):
        task.app = "b"  # type: ignore[misc]


def test_a_task_that_was_only_described_has_no_state(store: Store) -> None:
    run = write(store, TaskDescribed(at=AT, origin="", number=0, app="a", executor="htex"))
    (task,) = tasks.task_page(store, run)
    assert (task.state, task.try_, task.executor) == (None, None, "htex")


def test_detail_shows_neighbours_both_ways(store: Store) -> None:
    described = [
        TaskDescribed(at=AT, origin="k", number=n, app=f"app{n}", depends=depends)
        for n, depends in ((0, []), (1, [0]), (2, [0, 1]), (3, []))
    ]
    run = write(
        store,
        *described,
        state("exec_done", AT, number=9),
        TaskState(at=AT, origin="k", number=0, try_=0, state="exec_done"),
        TaskState(at=AT, origin="k", number=3, try_=0, state="joining", joins=[1, 2]),
        TaskState(at=AT, origin="k", number=2, try_=0, state="fail_retryable", fail_history="boom"),
        TaskState(at=AT, origin="k", number=2, try_=1, state="pending"),
    )
    origin = next(t.task for t in tasks.task_page(store, run, app="app0"))

    def detail(number: int) -> tasks.TaskDetail:
        found = tasks.task_detail(store, run, origin + number)
        assert found is not None
        return found

    assert [n.app for n in detail(0).needed_by] == ["app1", "app2"]
    assert [(n.app, n.state, n.number) for n in detail(1).depends_on] == [("app0", "exec_done", 0)]
    assert {t: [n.number for n in ns] for t, ns in detail(3).joined.items()} == {0: [1, 2]}
    assert [n.number for n in detail(2).joined_by] == [3]
    assert detail(1).needed_by[0].number == 2
    assert detail(2).origin == "k"
    assert [(t.try_, t.state, t.history) for t in detail(2).tries] == [
        (0, "fail_retryable", "boom"),
        (1, "pending", None),
    ]
    assert tasks.task_detail(store, run, 12345) is None
    edges = tasks.task_edges(store, run, limit=100)
    assert len(edges) == 5
    paged: list[tasks.Edge] = []
    while page := tasks.task_edges(store, run, limit=2, after=_edge_key(paged[-1]) if paged else None):
        paged += page
    assert paged == edges


def _edge_key(edge: tasks.Edge) -> tuple[int, int, int]:
    return edge.task, -1 if edge.join_try is None else edge.join_try, edge.depends_on


def test_a_try_tells_where_it_ran_and_why_it_failed(store: Store) -> None:
    run = write(
        store,
        TaskRunning(at=AT, origin="", number=1, try_=0, host="n1", pid=41, worker="3", pool="p",
                    block="0", executor="x"),
        TaskEnded(
            at=AT + 5 * SECOND, origin="", number=1, try_=0, host="n1", pid=41, ok=False, elapsed=4_999_000,
            exc_type="ValueError", exc_message="bad", exc_place="a.py:1 in f", traceback="T", peak_rss=77, cpu_user=5,
        ),
        state("failed", AT + 6 * SECOND, number=1, launched=AT - SECOND, returned=AT + 6 * SECOND),
        state("pending", AT, number=2),
    )  # fmt: skip
    (found,) = tries.tries_of(store, run, task_key(0, 1))
    assert (found.host, found.pid, found.worker, found.pool, found.block, found.executor) == (
        "n1",
        41,
        "3",
        "p",
        "0",
        "x",
    )
    assert (found.ok, found.elapsed, found.peak_rss, found.peak_exact, found.waited) == (
        False, 4_999_000, 77, False, SECOND
    )  # fmt: skip
    assert (found.exc_type, found.exc_message, found.exc_place, found.traceback) == (
        "ValueError",
        "bad",
        "a.py:1 in f",
        "T",
    )
    assert set(found.states) == {"running", "running_ended", "failed"}
    assert tries.failed_tries(store, run) == [found]
    assert tries.failed_tries(store, run, exc_type="ValueError") == [found]
    assert tries.failed_tries(store, run, exc_type="KeyError") == []
    assert tries.failed_tries(store, run, after=(1, 0)) == []
    assert [(f.exc_type, f.tries) for f in runs.failure_counts(store, run)] == [("ValueError", 1)]


# -- samples ---------------------------------------------------------------------------------------------------------


def test_thinned_samples_keep_peaks_and_totals(store: Store) -> None:
    taken = [
        TaskSample(at=AT + i * SECOND, origin="", number=1, try_=0, host="n", pid=3, rss=9_100 if i == 500 else 100,
                   cpu_user=i * 10, threads=2, status="running")
        for i in range(1000)
    ]  # fmt: skip
    other = TaskSample(at=AT, origin="", number=2, try_=0, host="n", pid=3, rss=10**9)
    Writer(store).write([batch(taken), batch([other], journal="k")])
    run = write(store, started())
    points = samples.task_series(store, run, 1, buckets=50)
    assert 25 <= len(points) <= 50
    assert sum(p.samples for p in points) == 1000
    assert max(p.rss_peak or 0 for p in points) == 9_100
    assert points[-1].cpu_user == 9_990
    assert [p.at for p in points] == sorted(p.at for p in points)
    assert min(p.rss or 0 for p in points) == 100.0
    assert samples.task_series(store, run, 99) == []
    assert len(samples.task_series(store, run, 1, buckets=5000)) == 1000
    paged: list[samples.TaskSample] = []
    while page := samples.task_samples(store, run, 1, limit=300, after=paged[-1].key if paged else None):
        paged += page
    assert len(paged) == 1000
    assert (paged[0].host, paged[0].pid, paged[0].status, paged[0].shared) == ("n", 3, "running", False)


def test_node_samples_by_host(store: Store) -> None:
    taken = [
        NodeSample(at=AT + i * SECOND, host=host, cpu_percent=90.0 if i == 30 else 10.0, load1=0.5, memory_used=i,
                   disk_free=100 - i, net_sent=i, gpus=[Gpu(index=0, name="g", utilisation=5.0)] if host == "a" else [])
        for host in ("a", "b")
        for i in range(60)
    ]  # fmt: skip
    Writer(store).write([batch(taken)])
    run = write(store, started())
    points = samples.node_series(store, run, buckets=6)
    assert {p.host for p in points} == {"a", "b"}
    assert len(points) <= 12
    assert max(p.cpu_percent_peak or 0 for p in points if p.host == "b") == 90.0
    only = samples.node_series(store, run, host="a", since=AT + 40 * SECOND, until=AT + 49 * SECOND, buckets=1)
    assert [(p.host, p.samples, p.memory_used, p.memory_used_peak, p.disk_free, p.net_sent) for p in only] == [
        ("a", 10, 44.5, 49, 51, 49)
    ]
    page = samples.node_page(store, run, "a", limit=10)
    assert [s.memory_used for s in page] == list(range(10))
    assert page[0].gpus[0]["utilisation"] == 5.0
    assert samples.node_page(store, run, "b", after=page[-1].at, limit=1)[0].memory_used == 10
    assert samples.node_page(store, run, "nowhere") == []


# -- nodes, files, pipeline ------------------------------------------------------------------------------------------


def test_nodes_and_blocks(store: Store) -> None:
    run = write(
        store,
        NodeSeen(at=AT, host="n1", pool="p1", executor="htex", block="0", workers=4, cpu_count=8),
        NodeSeen(at=AT + 5, host="n1", pool="p1", executor="htex", block="0", workers=4, cpu_count=8, active=False),
        NodeSeen(at=AT, host="n2", pool="p2"),
        BlockState(at=AT + 2, executor="htex", block="0", status="RUNNING", job_id="77"),
        BlockState(at=AT, executor="htex", block="0", status="PENDING"),
        BlockState(at=AT, executor="htex", block="1", status="PENDING"),
    )
    first, second = sorted(nodes.node_list(store, run), key=lambda n: n.host or "")
    assert (first.host, first.pool, first.executor, first.block, first.workers) == ("n1", "p1", "htex", "0", 4)
    assert (first.active, first.first_seen, first.last_seen) == (False, AT, AT + 5)
    assert (second.workers, second.block) == (None, None)
    assert len(nodes.node_list(store, run, limit=1)) == 1
    assert nodes.node_list(store, run, after=nodes.node_list(store, run, limit=1)[0].key) in ([first], [second])
    zero, one = sorted(nodes.block_list(store, run), key=lambda b: b.block)
    assert [(c.at, c.status) for c in zero.history] == [(AT, "PENDING"), (AT + 2, "RUNNING")]
    assert (zero.status, zero.job_id, one.status, one.job_id) == ("RUNNING", "77", "PENDING", None)


def test_watches_files_and_callbacks(store: Store) -> None:
    found = [FileFound(at=AT + i, watch="w1", path=f"/d/{i}", size=i, mtime=AT) for i in range(5)]
    run = write(
        store,
        WatchOpened(at=AT, watch="w1", root="/d", host="n1", patterns=["*.h5"], origin="", number=3),
        WatchOpened(at=AT, watch="w2", root="/e"),
        WatchClosed(at=AT + 9, watch="w1", files=5, unfinished=1, reason="end"),
        *found,
        FileFound(at=AT, watch="w2", path="/e/x", size=1, mtime=AT, pattern="*", repeat=True),
        FileCallback(at=AT, watch="w1", callback="cb", sequence=1, outcome="ok", paths=["/d/1"], elapsed=5),
        FileCallback(at=AT, watch="w1", callback="cb", sequence=2, outcome="error", result="E"),
    )
    one, two = sorted(files.watch_list(store, run), key=lambda w: w.watch or "")
    assert (one.root, one.host, one.patterns, one.task, one.files, one.unfinished) == ("/d", "n1", ["*.h5"], 3, 5, 1)
    assert (two.closed, two.task, two.patterns) == (None, None, [])
    everything = files.file_page(store, run)
    paged: list[files.FoundFile] = []
    while page := files.file_page(store, run, limit=2, after=paged[-1].key if paged else None):
        paged += page
    assert paged == everything
    assert len(everything) == 6
    assert [f.path for f in files.file_page(store, run, watch="w2")] == ["/e/x"]
    calls = files.callback_page(store, run)
    assert [(c.sequence, c.outcome, c.paths) for c in calls] == [(1, "ok", ["/d/1"]), (2, "error", [])]
    assert files.callback_page(store, run, after=calls[0].key) == calls[1:]


def test_losses_count_once_and_by_run(store: Store) -> None:
    report = AgentStatus(at=AT, agent="a1", host="n1", pid=4, dropped_samples=3, torn=1, depth=10, version="0.1")
    one = write(
        store, report, Dropped(at=AT, journal="j", samples=2, states=1), JournalClosed(at=AT, journal="k", clean=False)
    )
    two = write(store, report, AgentStatus(at=AT + 1, agent="a2", host="n1", pid=5, ended=True), run="run-2")
    unusable = TaskState(at=AT, origin="", number=0, try_=0, state="dreaming")
    assert len(Writer(store).write([batch([unusable], run="run-2", journal="z")]).aside) == 1
    found = pipeline.losses(store, run_id=one)
    assert (found.dropped_samples, found.dropped_states, found.torn, found.unclean, found.aside) == (5, 1, 1, 1, 0)
    assert not found.none
    everywhere = pipeline.losses(store)
    assert (everywhere.dropped_samples, everywhere.torn, everywhere.aside) == (5, 1, 1)
    assert [(a.run, a.agent, a.ended) for a in pipeline.agent_list(store, run_id=two)] == [
        ("run-2", "a2", True), ("run-2", "a1", False)
    ]  # fmt: skip
    assert len(pipeline.agent_list(store)) == 3
    (put,) = pipeline.aside_page(store)
    assert (put.run, put.record_id, bool(put.raw)) == ("run-2", "z:0", True)
    assert "dreaming" in put.reason
    assert pipeline.aside_page(store, after=put.key) == []
    assert pipeline.aside_page(store, run_id=one) == []
    assert pipeline.losses(store, run_id=999).none
