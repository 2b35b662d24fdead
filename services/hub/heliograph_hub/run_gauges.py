"""Metrics of single runs, for the people whose runs they are: a few gauges for each run that is alive, and no more.

In: the runs without an end, and the store. Out: gauges in the hub's registry, which go away with their run.

Every run is a series of its own for ever in a time-series database, so they are kept few: at most `most` runs at a
time, and none that is younger than `SETTLED` or that ended. The oldest come first: a run that is shown stays shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from heliograph_hub.labels import UNKNOWN, cleaned
from heliograph_store.read.run_now import nodes_now, tasks_of_runs
from heliograph_store.read.workload import RunSigns
from heliograph_store.store import Store

SETTLED: Final = 60_000_000
"""Microseconds. Thousands of runs of seconds would be thousands of series, and nobody could look at one."""
SAMPLED: Final = 90_000_000
"""Microseconds. A node on which nothing runs is sampled every 30 s: one that is silent for longer is not there."""
LABELS: Final = ("run", "workflow")


class RunGauges:
    """`show` brings them up to date. With `most` 0 there are none."""

    def __init__(self, registry: CollectorRegistry, *, most: int) -> None:
        self._most = most

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"heliograph_run_{name}", text, (*LABELS, *labels), registry=registry)

        self._tasks = gauge("tasks", "Tasks of a run that is alive, by state", "state")
        self._nodes = gauge("nodes", "Nodes of a run that is alive from which samples come")
        self._cpu = gauge("nodes_cpu_cores", "Cores busy on these nodes, with whatever")
        self._cores = gauge("nodes_cores", "Cores that these nodes have")
        self._memory = gauge("nodes_memory_bytes", "Memory used on these nodes, by whatever")
        self._memory_total = gauge("nodes_memory_size_bytes", "Memory that these nodes have")
        self._all = (self._tasks, self._nodes, self._cpu, self._cores, self._memory, self._memory_total)

    def show(self, store: Store, alive: Sequence[RunSigns], now: int) -> None:
        """Of the runs that are alive. Raises StoreError, and then the gauges are as they were."""
        settled = sorted((run for run in alive if (run.first_seen or now) <= now - SETTLED), key=lambda run: run.id)
        runs = {run.id: (cleaned(run.run), cleaned(run.name) or UNKNOWN) for run in settled[: self._most]}
        tasks = tasks_of_runs(store, list(runs)) if runs else []
        nodes = {run: nodes_now(store, run, since=now - SAMPLED) for run in runs}
        for gauge in self._all:
            gauge.clear()
        for row in tasks:
            self._tasks.labels(*runs[row.run_id], row.state or UNKNOWN).set(row.tasks)
        for run, found in nodes.items():
            self._nodes.labels(*runs[run]).set(found.nodes)
            pairs = (
                (self._cpu, found.cpu),
                (self._cores, found.cores),
                (self._memory, found.memory),
                (self._memory_total, found.memory_total),
            )
            for gauge, value in pairs:
                if value is not None:
                    gauge.labels(*runs[run]).set(value)
