"""The hub's own metrics: requests, intake, what waits. The workload's are in `workload`.

In: what routes and the guard count. Out: a registry of its own, so that two hubs in one process do not mix.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector


class Meters:
    """Labels are route templates and classes, never paths: a scanner cannot make new series."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "heliograph_hub_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "heliograph_hub_request_seconds",
            "Time from request to answer",
            ["route"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 30),
            registry=self.registry,
        )
        self.intake_bytes = Counter(
            "heliograph_hub_intake_bytes", "Bytes of batches that the bus confirmed", ["class"], registry=self.registry
        )
        self._waiting = Gauge("heliograph_hub_intake_waiting", "Batches waiting for the bus", registry=self.registry)
        self._held = Gauge("heliograph_hub_intake_held_bytes", "Bytes of bodies held in memory", registry=self.registry)

    def watch(self, waiting: Callable[[], float], held: Callable[[], float]) -> None:
        """Read these two whenever somebody scrapes."""
        self._waiting.set_function(waiting)
        self._held.set_function(held)
