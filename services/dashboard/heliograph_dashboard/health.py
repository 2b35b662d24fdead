"""Alive, able to work, and how busy: `/healthz`, `/readyz`, `/metrics`.

In: the parts that count. Out: JSON with reasons, and the text format of Prometheus. Health needs no secret, tells none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from heliograph_dashboard.answers import Answers
from heliograph_dashboard.data import Data
from heliograph_dashboard.live import Live, Versions
from heliograph_store.errors import NeedsMigration, NewerDatabase, NotHeliograph, StoreError
from heliograph_store.migrate import check
from heliograph_store.store import Store

PATIENCE = 5.0
"""Seconds for the database to answer before it counts as away."""
REASONS: dict[type[BaseException], str] = {
    NeedsMigration: "the database has no schema, or an older one: run `heliograph migrate`",
    NewerDatabase: "the database was written by a newer Heliograph: install that version",
    NotHeliograph: "the database holds something else",
}


class Meters(Collector):
    """Reads the counts of the parts whenever somebody scrapes."""

    def __init__(self, *, live: Live, versions: Versions, data: Data, answers: Answers) -> None:
        self._live, self._versions, self._data, self._answers = live, versions, data, answers
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def collect(self) -> list[Metric]:
        name = "heliograph_dashboard"
        up = GaugeMetricFamily(f"{name}_store_up", "Whether the database answered when last asked")
        up.add_metric([], 0.0 if self._versions.trouble else 1.0)
        viewers = GaugeMetricFamily(f"{name}_viewers", "Open pages with a live connection")
        viewers.add_metric([], self._live.viewers)
        looks = CounterMetricFamily(f"{name}_looks", "How often the database was asked whether anything changed")
        looks.add_metric([], self._versions.looks)
        reads = CounterMetricFamily(f"{name}_reads", "Reads by pages: from the database, or shared", labels=["from"])
        answers = CounterMetricFamily(f"{name}_answers", "Answers to pages: made, or shared", labels=["how"])
        reads.add_metric(["database"], self._data.asked)
        reads.add_metric(["shared"], self._data.given - self._data.asked)
        answers.add_metric(["made"], self._answers.made)
        answers.add_metric(["shared"], self._answers.given - self._answers.made)
        return [up, viewers, looks, reads, answers]


class Health:
    """The three answers."""

    def __init__(self, get: Callable[[], Store], meters: Meters) -> None:
        self._get, self._meters = get, meters

    async def healthz(self) -> JSONResponse:
        return JSONResponse({"status": "ok", "time": time.time_ns() // 1000})

    async def readyz(self) -> JSONResponse:
        reason = ""
        try:
            async with asyncio.timeout(PATIENCE):
                await run_in_threadpool(lambda: check(self._get()))
        except (StoreError, TimeoutError) as error:
            reason = REASONS.get(type(error), "the database cannot be reached")
        status, ready = (503, False) if reason else (200, True)
        return JSONResponse({"ready": ready, "store": {"ok": ready, "reason": reason}}, status_code=status)

    def metrics(self, request: Request) -> Response:
        del request
        return Response(generate_latest(self._meters.registry), media_type=CONTENT_TYPE_LATEST)
