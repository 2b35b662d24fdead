"""The service's own metrics.

In: what the service did. Out: a Prometheus registry. Labels are kinds only: never a run, a watch or a path.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector


class FilewatchMetrics:
    """One object a process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        r = self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=r)  # the service; each watch is a process of its own beside it
        p = "heliograph_filewatch_"
        self.watches = Gauge(p + "watches", "Watches under way", registry=r)
        self.requests = Counter(p + "requests", "Requests for watches, by what became of them", ["outcome"], registry=r)
        self.silent = Gauge(p + "watches_silent", "Watches whose process has said nothing for a minute", registry=r)
        self.restarts = Counter(p + "restarts", "Processes of watches that were started again", registry=r)
        self.runaway = Counter(p + "runaway", "Watches stopped because a step used too much processor time", registry=r)
        self.published = Counter(p + "records", "Records that the bus has confirmed", ["class"], registry=r)
        self.refused = Counter(p + "records_refused", "Records that the bus can never take", registry=r)
        self.unsent_bytes = Gauge(p + "outbox_bytes", "Bytes of records that wait for the bus", registry=r)
        self.files = Gauge(p + "files", "Files reported by the watches under way", registry=r)
        self.callbacks = Gauge(p + "callbacks", "Callbacks that ended in the watches under way", registry=r)
        self.failed = Gauge(p + "callbacks_failed", "Those of them that did not end well", registry=r)
        self.running = Gauge(p + "callbacks_running", "Callbacks that run", registry=r)
        self.waiting = Gauge(p + "files_waiting", "Files that wait for a callback", registry=r)
        self.settling = Gauge(p + "files_settling", "Files that are not still for long enough", registry=r)
        self.scan_seconds = Gauge(p + "scan_seconds", "Seconds of the last scans, summed over watches", registry=r)
        self.entries = Gauge(p + "scan_entries", "Entries of the last scans, summed over watches", registry=r)
        self.unsent = Gauge(p + "notifications_unsent", "Mails and webhooks not sent, watches under way", registry=r)
        self.bus_up = Gauge(p + "bus_up", "1 when the bus answers", registry=r)
        self.store_up = Gauge(p + "store_up", "1 when the store answers", registry=r)

    @property
    def bus_is_up(self) -> bool:
        return bool(_value(self.bus_up))

    @property
    def store_is_up(self) -> bool:
        return bool(_value(self.store_up))


def _value(gauge: Gauge) -> float:
    return next(sample.value for metric in gauge.collect() for sample in metric.samples)


SUMMED = ("files", "callbacks", "failed", "running", "waiting", "settling", "scan_seconds", "entries", "unsent")
"""What each watch tells of itself, under the same name."""
