"""The writer's own metrics.

In: what the loop did. Out: a Prometheus registry that the health server and the hub expose.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

WRITE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class WriterMetrics:
    """One object a process. Labels are kinds only: never a run, a task or a pid."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        self.records = Counter("heliograph_writer_records", "Records committed to the store", ["kind"], registry=r)
        self.batches = Counter("heliograph_writer_batches", "Batches committed to the store", registry=r)
        self.write_seconds = Histogram(
            "heliograph_writer_write_seconds", "Seconds of one commit", buckets=WRITE_BUCKETS, registry=r
        )
        self.lag = Gauge(
            "heliograph_writer_lag_seconds",
            "Age of the oldest record at the time of its commit; 0 when idle",
            registry=r,
        )
        self.dead = Counter("heliograph_writer_dead_letters", "Batches moved to the dead letters", registry=r)
        self.aside = Counter("heliograph_writer_aside", "Records put aside: broken or of an unknown kind", registry=r)
        self.late = Counter(
            "heliograph_writer_late", "Samples put aside because their run's horizon has passed", registry=r
        )
        self.store_up = Gauge("heliograph_writer_store_up", "1 when the last write reached the store", registry=r)
        self.bus_up = Gauge("heliograph_writer_bus_up", "1 when the bus answers", registry=r)
        self.depth = Gauge("heliograph_writer_queue_batches", "Batches that wait in the bus", registry=r)
        self.in_hand = Gauge("heliograph_writer_in_hand", "Batches received and not yet acknowledged", registry=r)
        self.thinned = Counter("heliograph_writer_thinned", "Samples that the retention policy removed", registry=r)
        self.log_bytes = Gauge("heliograph_writer_sqlite_log_bytes", "Size of SQLite's write-ahead log", registry=r)
        self.retries = Counter("heliograph_writer_retries", "Writes tried again", ["cause"], registry=r)

    def watch_disk(self, folder: Path) -> None:
        """Tell how full the disk of a database file is, whenever somebody scrapes."""

        def tell(name: str, text: str, blocks: Callable[[os.statvfs_result], int]) -> None:
            def read() -> float:
                try:
                    disk = os.statvfs(folder)
                except OSError:  # the folder went away: the store's own errors say so
                    return math.nan
                return float(blocks(disk) * disk.f_frsize)

            Gauge(f"heliograph_writer_disk_{name}_bytes", text, registry=self.registry).set_function(read)

        tell("free", "Space that is left beside the database file", lambda disk: disk.f_bavail)
        tell("size", "Size of the file system of the database file", lambda disk: disk.f_blocks)

    @property
    def ready(self) -> bool:
        """Both ends answered last time."""
        return bool(value(self.store_up) and value(self.bus_up))


def value(gauge: Gauge) -> float:
    return next(sample.value for metric in gauge.collect() for sample in metric.samples)
