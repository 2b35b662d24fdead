"""How late rows are: some records of a stream are asked for in the database until they are there.

In: times at which records came about, and where their rows will be. Out: seconds from each to its row's commit, as a
reader sees it. Asking is by primary key, every 20 ms, for what is still missing; so no figure is finer than that.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from statistics import quantiles

from sqlalchemy import text

from heliograph_store.errors import StoreUnavailable
from heliograph_store.store import connect

EVERY = 0.02


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The first try of a task of a run, which entered a state at `at` (seconds since the epoch)."""

    run: str
    task: int
    state: str
    at: float


@dataclass
class Prober:
    """Looks for probes in a thread of its own; `add` them, `finish`, then read `found`."""

    url: str
    found: list[tuple[Probe, float]] = field(default_factory=list)
    """Probes with the time at which their row was seen."""

    def __post_init__(self) -> None:
        self._missing: list[Probe] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def add(self, probe: Probe) -> None:
        with self._lock:
            self._missing.append(probe)

    def finish(self, seconds: float = 60) -> int:
        """Wait for what is missing; returns how many rows never came."""
        deadline = time.monotonic() + seconds
        while self._missing and time.monotonic() < deadline:
            time.sleep(EVERY)
        self._end.set()
        self._thread.join()
        return len(self._missing)

    def delays(self) -> list[float]:
        return [seen - probe.at for probe, seen in self.found]

    def _look(self) -> None:
        store = connect(self.url, read_only=True)
        while not self._end.wait(EVERY):
            with self._lock:
                wanted = list(self._missing)
            there = set()
            try:
                with store.connection() as connection:
                    for probe in wanted:
                        query = (
                            f"SELECT {probe.state} FROM tries JOIN runs ON runs.id = tries.run WHERE runs.run = :run"
                        )
                        values = {"run": probe.run, "task": probe.task}
                        if connection.scalar(text(f"{query} AND task = :task AND try_ = 0"), values) is not None:
                            there.add(probe)
            except StoreUnavailable:
                continue
            seen = time.time()
            self.found += [(probe, seen) for probe in wanted if probe in there]
            with self._lock:
                self._missing = [probe for probe in self._missing if probe not in there]
        store.close()


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else sum(values)
