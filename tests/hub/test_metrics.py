"""The workload's metrics say what is in the store, count every finished try once, and stay bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from heliograph.bus import Outgoing, open_consumer, open_publisher
from heliograph.messages import Class, NodeSample, Record, TaskDescribed, TaskState
from heliograph_hub.config import HubConfig
from heliograph_hub.labels import Labels
from heliograph_hub.lag import LONGEST, Lag, Waiting
from heliograph_hub.workload import Workload
from heliograph_store.migrate import migrate
from tests.hub.conftest import Serving, bearer
from tests.hub.recorded import SECOND, Recorder, ended, now, started, surroundings, task


@pytest.fixture
def recorder(config: HubConfig) -> Iterator[Recorder]:
    made = Recorder(config)
    yield made
    made.close()


@pytest.fixture
def either(config: HubConfig, database_url: str) -> Iterator[Recorder]:
    """A recorder on SQLite, and again on PostgreSQL."""
    migrate(database_url)
    made = Recorder(replace(config, database_url=database_url))
    yield made
    made.close()


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = now()

    def __call__(self) -> int:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += int(seconds * SECOND)


class Watched:
    """A workload over a recorder's store, with a clock and a lag of the test's own."""

    def __init__(self, recorder: Recorder, *, label_values: int = 200, run_metrics: int = 50, **sweep: Any) -> None:
        self.clock, self.lag, self.registry = Clock(), 0, CollectorRegistry()
        sweep.setdefault("budget", 60.0)  # a busy machine takes its time, and the test's clock stands meanwhile
        self.workload = Workload(
            self.registry,
            store=lambda: recorder.store,
            lag=lambda: self.lag,
            label_values=label_values,
            run_metrics=run_metrics,
            now=self.clock,
            **sweep,
        )

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"heliograph_{name}", labels) or 0.0

    def after(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.workload.refresh()

    def listed(self) -> dict[str, str]:
        """Runs that have metrics of their own, with their workflows' names."""
        gauges = [m for m in self.registry.collect() if m.name.startswith("heliograph_run_")]
        return {s.labels["run"]: s.labels["workflow"] for gauge in gauges for s in gauge.samples}

    def finished(self) -> float:
        samples = [s for m in self.registry.collect() for s in m.samples if s.name == "heliograph_tries_finished_total"]
        return sum(s.value for s in samples)


def test_gauges_follow_the_store(either: Recorder) -> None:
    watched = Watched(either)
    at = watched.clock.at
    either.write("alive", [*started(at, lease=3600 * SECOND), *surroundings(at), *task(0, at)])
    either.write("alive", [TaskState(at=at, origin="parsl", number=1, try_=0, state="launched", executor="htex")])
    either.write("dead", started(at - 3600 * SECOND))
    either.write("well", [*started(at), *task(0, at), *ended(at)])
    either.write("ill", [*started(at), *ended(at, failed=1)])
    watched.after(60)
    assert {name: watched.value("runs", liveness=name) for name in ("running", "lost", "completed", "failed")} == {
        "running": 1, "lost": 1, "completed": 1, "failed": 1,
    }  # fmt: skip
    assert watched.value("tasks", app="work", state="exec_done") == 1, "tasks of the living run only"
    assert watched.value("tries_active", executor="htex", state="launched") == 1
    assert watched.value("agents") == 1
    assert watched.value("agents_backlog_bytes") == 77
    assert watched.value("dropped_records", **{"class": "samples"}) == 7
    assert watched.value("dropped_records", **{"class": "states"}) == 1
    assert watched.value("store_up") == 1
    head = {"origin": "parsl", "number": 1}
    either.write("alive", [TaskState(at=watched.clock.at, try_=0, state="running", executor="htex", **head)])
    watched.after(60)
    assert watched.value("tries_active", executor="htex", state="launched") == 0
    assert watched.value("tries_active", executor="htex", state="running") == 1


def test_runs_that_are_alive_have_a_few_numbers_of_their_own(either: Recorder) -> None:
    watched = Watched(either)
    at = watched.clock.at
    nodes: list[Record] = [
        NodeSample(at=at + second * SECOND, host=host, cpu_percent=50.0, cpu_count=8, memory_used=used, memory_total=32)
        for host, second, used in (("n1", 70, 5), ("n1", 80, 7), ("n2", 75, 10), ("gone", 0, 9))
    ]
    either.write("one", [*started(at, lease=3600 * SECOND, name="mine"), *task(0, at), *task(1, at, final="failed")])
    either.write("one", nodes)
    either.write("two", started(at, lease=3600 * SECOND, name=""))
    either.write("over", [*started(at, name="over"), *task(0, at), *ended(at)])
    watched.after(10)
    assert watched.listed() == {}, "none is old enough to be looked at"
    watched.after(85)
    assert watched.listed() == {"one": "mine", "two": "unknown"}
    mine = {"run": "one", "workflow": "mine"}
    assert (
        watched.value("run_tasks", state="exec_done", **mine) == watched.value("run_tasks", state="failed", **mine) == 1
    )
    assert watched.value("run_nodes", **mine) == 2, "what the third told is too old"
    assert watched.value("run_nodes_cpu_cores", **mine) == 8
    assert watched.value("run_nodes_cores", **mine) == 16
    assert watched.value("run_nodes_memory_bytes", **mine) == 17, "the latest of each"
    assert watched.value("run_nodes_memory_size_bytes", **mine) == 64
    assert watched.value("run_nodes", run="two", workflow="unknown") == 0
    either.write("one", ended(watched.clock.at))
    watched.after(10)
    assert watched.listed() == {"two": "unknown"}


@pytest.mark.parametrize("most", [0, 3])
def test_few_runs_have_numbers_of_their_own_and_the_oldest_keep_them(recorder: Recorder, most: int) -> None:
    watched = Watched(recorder, run_metrics=most)
    for run in "abcdef":
        recorder.write(run, started(watched.clock.at, lease=3600 * SECOND))
    watched.after(70)
    assert list(watched.listed()) == list("abc"[:most])
    recorder.write("a", ended(watched.clock.at))
    watched.after(10)
    assert list(watched.listed()) == list("bcd"[:most])


def test_every_try_that_ends_is_counted_once(either: Recorder) -> None:
    """Also when a sweep needs many scrapes: each may take one small range of one run here."""
    watched = Watched(either, step=3, budget=0.0)
    either.write("old", task(0, watched.clock.at - 7200 * SECOND))
    written = 0
    for round_ in range(12):
        for run in ("a", "b"):
            for n in range(round_ % 4):
                either.write(run, task(round_ * 10 + n, watched.clock.at, final="failed" if n == 2 else "exec_done"))
                written += 1
        watched.after(11)
    assert watched.finished() < written
    for _ in range(120):
        watched.after(31)
    assert watched.finished() == written
    assert watched.value("tries_finished_total", app="work", executor="htex", state="failed") == 6
    waiting = {"app": "work", "executor": "htex"}
    assert watched.value("try_waiting_seconds_count", **waiting) == written
    assert watched.value("try_waiting_seconds_sum", **waiting) == 2 * written
    assert watched.value("try_run_seconds_bucket", le="1.0", **waiting) == 0
    assert watched.value("try_run_seconds_bucket", le="5.0", **waiting) == written


def test_what_lags_is_waited_for(recorder: Recorder) -> None:
    """While the pipeline is behind, the span to count ends earlier, so that late rows still fall into the next one."""
    watched = Watched(recorder)
    watched.lag = 600 * SECOND
    happened = watched.clock.at
    recorder.write("a", [*started(happened), *task(0, happened)])
    watched.after(300)
    recorder.write("a", task(1, happened))  # arrives five minutes late
    assert watched.finished() == 0
    for _ in range(3):
        watched.after(310)
    assert watched.finished() == 2


def test_waiting_times_reach_days(recorder: Recorder) -> None:
    watched = Watched(recorder)
    two_days = 2 * 86400 * SECOND
    recorder.write("a", task(0, watched.clock.at - two_days, waited=two_days))
    watched.after(60)
    labels = {"app": "work", "executor": "htex"}
    assert watched.value("try_waiting_seconds_bucket", le="86400.0", **labels) == 0
    assert watched.value("try_waiting_seconds_bucket", le="259200.0", **labels) == 1


def test_apps_beyond_the_cap_are_counted_as_other(recorder: Recorder) -> None:
    watched = Watched(recorder, label_values=5)
    at = watched.clock.at
    records: list[Record] = [
        TaskDescribed(at=at, origin="parsl", number=n, app=f"app{n}", executor=f"x{n}") for n in range(50)
    ]
    recorder.write("a", [*started(at), *records])
    watched.after(10)
    gauge = next(m for m in watched.registry.collect() if m.name == "heliograph_tasks")
    counts = {s.labels["app"]: s.value for s in gauge.samples}
    assert len(counts) == 6
    assert counts["other"] == 45


def test_labels_are_cut_and_encodable() -> None:
    labels = Labels(3)
    assert labels.of(None) == labels.of("") == "unknown"
    assert len(labels.of("x" * 10_000)) == 128
    assert labels.of("\ud800").encode() == b"?"
    assert [labels.of(v) for v in ("c", "d", "c")] == ["c", "other", "c"]
    assert labels.folded == 1


def test_numbers_are_used_again_for_a_while(recorder: Recorder) -> None:
    watched = Watched(recorder)
    watched.after(10)
    recorder.write("a", started(watched.clock.at))
    watched.after(1)
    assert watched.value("runs", liveness="running") == 0
    watched.after(10)
    assert watched.value("runs", liveness="running") == 1


def test_a_scrape_is_text_without_short_runs_tasks_or_pids(serving: Serving, recorder: Recorder) -> None:
    recorder.write("run-in-question", [*started(now(), name="name-in-question"), *task(12345, now(), app='a"\n\\b')])
    client = serving()
    client.get("/v1/runs/run-in-question")
    text = scraped(client)
    found = {family.name for family in text_string_to_metric_families(text)}
    assert {
        "heliograph_runs",
        "heliograph_tasks",
        "heliograph_hub_requests",
        "heliograph_pipeline_lag_seconds",
        "process_resident_memory_bytes",
    } <= found
    assert "in-question" not in text
    assert "12345" not in text
    assert 'route="/v1/runs/{run}"' in text


def test_a_scanner_makes_no_series(serving: Serving) -> None:
    client = serving()
    scraped(client)
    before = len(scraped(client).splitlines())
    for n in range(50):
        client.get(f"/wp-admin/{n}")
        client.request(f"METHOD{n}", "/v1/hello")
        client.get(f"/v1/runs/none-{n}", headers={"host": f"evil{n}.example"})
    assert len(scraped(client).splitlines()) - before < 40


def test_two_hubs_in_one_process_count_apart(serving: Serving) -> None:
    first, second = serving(), serving()
    for _ in range(3):
        first.get("/v1/hello")
    assert 'route="/v1/hello"' in scraped(first)
    assert 'route="/v1/hello"' not in scraped(second)


def test_lag_is_zero_when_nothing_waits_and_the_age_of_the_newest_otherwise() -> None:
    clock, waiting, newest = Clock(), 0, 0

    def measured() -> int:
        clock.forward(10)
        return Lag(waiting=lambda: waiting, newest=lambda: newest, now=clock).micros()

    assert measured() == 0
    waiting, newest = 5, clock.at
    assert measured() == 10 * SECOND
    newest = 1
    assert measured() == LONGEST
    newest = clock.at + 60 * SECOND
    assert measured() == 0, "a clock that runs ahead"


def test_while_the_bus_takes_its_time_others_get_the_last_answer() -> None:
    clock, answers, gate = Clock(), 0, threading.Event()

    def waiting() -> int:
        nonlocal answers
        answers += 1
        if answers > 1:
            gate.wait(10)
        return 1

    lag = Lag(waiting=waiting, newest=lambda: clock.at - 5 * SECOND, now=clock)
    assert lag.micros() == 5 * SECOND
    clock.forward(60)
    slow = threading.Thread(target=lag.micros)
    slow.start()
    while answers < 2:
        time.sleep(0.001)
    assert lag.micros() == 5 * SECOND
    gate.set()
    slow.join()


def test_waiting_batches_are_seen_and_not_taken(config: HubConfig) -> None:
    waiting = Waiting(lambda: open_consumer(config.bus_url, name="depth"))
    assert waiting() == 0
    publisher = open_publisher(config.bus_url, name="p")
    for _ in range(3):
        publisher.publish([Outgoing(run="r", cls=Class.STATES, body=b"x")])
    publisher.close()
    assert waiting() == 3
    assert waiting() == 3
    waiting.close()
    assert waiting() is None


def scraped(client: TestClient) -> str:
    answer = client.get("/metrics", headers=bearer("unused"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text
