"""The workload's metrics: what runs, waits, finishes and gets lost, by app, state and executor.

In: `heliograph_store.read.workload`, asked in bounded steps. Out: metrics in the hub's registry.

Gauges come from rollups. What finished is found by sweeps: each walks the tries of the runs that were heard of, a few
ranges a scrape, and counts those that ended in one span of time; the next sweep begins where that span ended. So every
try is counted once, nothing is kept in memory, and a scrape costs the same in a run of a million tasks. What the bus
delivers later than `GRACE` (and the lag) after it happened is missing here, and only here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from heliograph_hub.histograms import Histograms
from heliograph_hub.labels import UNKNOWN, Labels
from heliograph_hub.run_gauges import RunGauges
from heliograph_store.errors import StoreError
from heliograph_store.read import workload as read
from heliograph_store.read.liveness import liveness
from heliograph_store.read.pipeline import Losses, losses
from heliograph_store.store import Store

log = logging.getLogger("heliograph.hub")

GRACE = 30_000_000
"""Microseconds after which what happened is taken to have arrived."""
STEP = 20_000
"""Task keys in one range of a sweep."""
BUDGET = 0.25
"""Seconds that the sweep may take in one scrape."""
REST = 5.0
"""Seconds for which the numbers are used again, so that two scrapers cost as much as one."""
AGENT_SEEN = 300_000_000
MAX_EXECUTORS = 20
HOUR, DAY = 3600, 86400
WAITED = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, HOUR, 4 * HOUR, 12 * HOUR, DAY, 3 * DAY, 7 * DAY)
RAN = (0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 900, HOUR, 4 * HOUR, 12 * HOUR, DAY, 3 * DAY)


@dataclass(kw_only=True)
class Sweep:
    """One walk over the runs: which remain, where in the first of them, and the span of time it counts."""

    since: int
    until: int
    runs: list[int]
    task: int = 0
    active: Tally[tuple[str, str]] = field(default_factory=Tally)


class Workload:
    """Metrics of all runs together, and a few of the runs that are alive. `refresh` brings them up to date; never by
    task or process."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        store: Callable[[], Store],
        lag: Callable[[], int],
        label_values: int,
        run_metrics: int = 0,
        step: int = STEP,
        budget: float = BUDGET,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._store, self._lag, self._now = store, lag, now
        self._step, self._budget = step, budget
        self._apps, self._executors = Labels(label_values), Labels(min(label_values, MAX_EXECUTORS))
        self._lock = threading.Lock()
        self._fresh_until = 0
        self._counted_until = now() - GRACE
        self._sweep: Sweep | None = None

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"heliograph_{name}", text, labels, registry=registry)

        self._runs = gauge("runs", "Runs by liveness, derived now", "liveness")
        self._tasks = gauge("tasks", "Tasks of runs that are not over, by app and state", "app", "state")
        self._active = gauge("tries_active", "Tries that have not ended, by executor and state", "executor", "state")
        self._agents = gauge("agents", "Agents heard of within the last minutes")
        self._backlog = gauge(
            "agents_backlog_bytes", "Bytes in journals and spools of nodes, as their agents told last"
        )
        self._dropped = gauge("dropped_records", "Records dropped on the way, as journals and agents report", "class")
        self._torn = gauge("journal_torn", "Stretches of journals that could not be read")
        self._unclean = gauge("journals_unclean", "Journals whose process died without closing them: tail unknown")
        self._aside = gauge("aside_records", "Records that the writer could not use and put aside")
        self._lagging = gauge("pipeline_lag_seconds", "How far the store is behind the bus")
        self._up = gauge("store_up", "1 when the last look at the store succeeded")
        self._finished = Counter(
            "heliograph_tries_finished",
            "Tries that ended while this hub watched",
            ["app", "executor", "state"],
            registry=registry,
        )
        self._waited = Histograms(
            registry, "heliograph_try_waiting_seconds", "From launch to the function's beginning", WAITED
        )
        self._of_runs = RunGauges(registry, most=run_metrics)
        self._ran = Histograms(registry, "heliograph_try_run_seconds", "How long the function ran", RAN)

    def refresh(self) -> None:
        """Look at the store again if the last look is old. A store that is away leaves the last numbers and says so."""
        with self._lock:
            now = self._now()
            if now < self._fresh_until:
                return
            lag = self._lag()
            self._lagging.set(lag / 1e6)
            try:
                self._look(self._store(), now, lag)
            except StoreError as error:
                log.warning("no workload metrics: %s", type(error).__name__)
                self._up.set(0)
            else:
                self._up.set(1)
            self._fresh_until = self._now() + int(REST * 1e6)

    def _look(self, store: Store, now: int, lag: int) -> None:
        unfinished = read.open_runs(store)
        ended = read.ended_runs(store)
        alive: Tally[str] = Tally(liveness(run, now, lag) for run in unfinished)
        for name, count in {"completed": ended.completed, "failed": ended.failed}.items():
            self._runs.labels(name).set(count)
        for name in ("running", "lost", "unknown"):
            self._runs.labels(name).set(alive[name])
        running = [run for run in unfinished if liveness(run, now, lag) == "running"]
        self._set_tasks(store, [run.id for run in running])
        self._of_runs.show(store, running, now)
        seen = read.agents_seen(store, now - AGENT_SEEN)
        self._agents.set(seen.agents)
        self._backlog.set(seen.backlog)
        self._set_losses(losses(store))
        self._go_on(store, now, lag)

    def _set_tasks(self, store: Store, runs: list[int]) -> None:
        counts: Tally[tuple[str, str]] = Tally()
        for start in range(0, len(runs), 500):
            for row in read.state_counts(store, runs[start : start + 500]):
                counts[self._apps.of(row.app), row.state or UNKNOWN] += row.tasks
        _replace(self._tasks, counts)

    def _set_losses(self, lost: Losses) -> None:
        self._dropped.labels("samples").set(lost.dropped_samples)
        self._dropped.labels("states").set(lost.dropped_states)
        self._dropped.labels("control").set(lost.dropped_control)
        self._torn.set(lost.torn)
        self._unclean.set(lost.unclean)
        self._aside.set(lost.aside)

    def _go_on(self, store: Store, now: int, lag: int) -> None:
        """Take the sweep some ranges further; begin one when there is none and time has passed."""
        ends = time.monotonic() + self._budget
        if self._sweep is None:
            until = now - max(GRACE, lag)
            if until <= self._counted_until:
                return
            # A run that ended is heard of no more, but its last tries may fall into the span.
            runs = read.runs_seen_since(store, self._counted_until)
            self._sweep = Sweep(since=self._counted_until, until=until, runs=runs)
        for _ in self._ranges(store, self._sweep):
            if time.monotonic() >= ends:
                return
        _replace(self._active, self._sweep.active)
        self._counted_until, self._sweep = self._sweep.until, None

    def _ranges(self, store: Store, sweep: Sweep) -> Iterator[None]:
        """Each step handles one range of tasks and moves the sweep past it, so that it can go on later."""
        while sweep.runs:
            run = sweep.runs[-1]
            first = read.next_task(store, run, sweep.task)
            if first is None:
                sweep.runs.pop()
                sweep.task = 0
                continue
            last = first + self._step - 1
            self._count(store, sweep, run, first, last)
            sweep.task = last + 1
            yield

    def _count(self, store: Store, sweep: Sweep, run: int, first: int, last: int) -> None:
        # Both questions before any number changes: a store that fails in between must not count a range twice.
        finished = read.finished_tries(
            store, run, first=first, last=last, since=sweep.since, until=sweep.until, waited=WAITED, ran=RAN
        )
        active = read.active_tries(store, run, first=first, last=last)
        for here in active:
            sweep.active[self._executors.of(here.executor), here.state or UNKNOWN] += here.tries
        for row in finished:
            labels = self._apps.of(row.app), self._executors.of(row.executor)
            self._finished.labels(*labels, row.state or UNKNOWN).inc(row.tries)
            if row.waited_bucket is not None:
                self._waited.add(labels, bucket=row.waited_bucket, count=row.tries, total=row.waited)
            if row.ran_bucket is not None:
                self._ran.add(labels, bucket=row.ran_bucket, count=row.tries, total=row.ran)


def _replace(gauge: Gauge, counts: Tally[tuple[str, str]]) -> None:
    """Set these series and drop all others: a state without tasks is no series."""
    gauge.clear()
    for labels, count in counts.items():
        gauge.labels(*labels).set(count)
