"""Histograms whose counts come in bulk, already sorted into buckets by the database.

In: how many fell into which bucket, and their sum. Out: Prometheus histograms by app and executor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

LABELS = ("app", "executor")


class Histograms(Collector):
    """One histogram for each pair of labels; `bounds` ascending, in seconds."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self._name, self._text = name, text
        self._edges = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._sums: dict[tuple[str, str], float] = {}
        registry.register(self)

    def add(self, labels: tuple[str, str], *, bucket: int, count: int, total: float) -> None:
        """`bucket` is the place of the bound, or the number of bounds for what is above all of them."""
        self._counts.setdefault(labels, [0] * len(self._edges))[bucket] += count
        self._sums[labels] = self._sums.get(labels, 0.0) + total

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(self._name, self._text, labels=LABELS)
        for labels, counts in list(self._counts.items()):
            buckets = list(zip(self._edges, accumulate(counts), strict=True))
            family.add_metric(labels, buckets=buckets, sum_value=self._sums[labels])
        yield family
