"""`/metrics` for Prometheus: the hub's own numbers and the workload's.

In: a scrape, by whoever may read (or anyone, when the operator opened it). Out: the text format.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from heliograph_hub.access import may_read
from heliograph_hub.parts import parts_of

router = APIRouter(tags=["operation"])


@router.get("/metrics", summary="Metrics in the text format of Prometheus", response_class=Response)
def metrics(request: Request) -> Response:
    parts = parts_of(request)
    if not parts.config.metrics_open:
        may_read(parts.config, request)
    parts.workload.refresh()
    return Response(generate_latest(parts.meters.registry), media_type=CONTENT_TYPE_LATEST)
