"""Takes batches from agents that cannot reach the broker, and answers only when the broker has them.

In: `POST /v1/intake/{class}/{run}` with one encoded batch and the run's token. Out: 204 after the confirm; otherwise an
error that tells the agent whether to keep the batch (408, 429, 503), to connect again (401, 403) or to give it up
(400, 413).
"""

from __future__ import annotations

import asyncio
import logging

from fastapi import APIRouter, Request, Response

from heliograph.bus import BadMessage, BusFull, BusUnavailable, Outgoing
from heliograph.messages import CONTENT_TYPE, Class, decode_batch
from heliograph_hub.access import may_publish
from heliograph_hub.bodies import Body
from heliograph_hub.errors import Problem, try_later
from heliograph_hub.parts import Parts, parts_of
from heliograph_hub.publishing import TooBusy

log = logging.getLogger("heliograph.hub")
router = APIRouter(tags=["agents"])

_BODY = {
    "requestBody": {"required": True, "content": {CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post("/v1/intake/{cls}/{run}", status_code=204, openapi_extra=_BODY, summary="Hand in one batch of records")
async def intake(cls: Class, run: str, request: Request) -> Response:
    """204 when the bus has confirmed the batch. Repeating a batch is harmless: the store drops duplicates."""
    parts = parts_of(request)
    may_publish(parts.signer, request, run)
    config = parts.config
    async with Body(request, parts.budget, limit=config.max_body, timeout=config.read_timeout) as body:
        _check(body, cls, run)
        await _publish(parts, Outgoing(run=run, cls=cls, body=body))
    parts.meters.intake_bytes.labels(cls.value).inc(len(body))
    return Response(status_code=204)


def _check(body: bytes, cls: Class, run: str) -> None:
    """The head of the batch says what the path says; its records are the writer's business."""
    try:
        batch = decode_batch(body)
    except BadMessage as error:
        raise _bad(run, str(error)) from error
    if batch.run != run or batch.cls != cls.value:
        raise _bad(run, "the batch is of another run or class than its path")


async def _publish(parts: Parts, batch: Outgoing) -> None:
    try:
        done = parts.pool.submit([batch])
        await asyncio.wait_for(asyncio.wrap_future(done), parts.config.publish_timeout)
    except TooBusy as error:
        raise try_later(str(error), where="intake queue") from error
    except BusFull as error:
        raise try_later(
            f"the bus takes no more {batch.cls.value} for now",
            where="bus",
            status=429,
            what_to_do="thin out and send later",
        ) from error
    except BadMessage as error:
        raise _bad(batch.run, str(error)) from error
    except (BusUnavailable, TimeoutError) as error:
        raise try_later("the bus does not answer", where="bus") from error


def _bad(run: str, reason: str) -> Problem:
    log.warning("a batch is refused: %s", reason[:500], extra={"run": run})
    return Problem(400, reason[:500], where="request body", what_to_do="put this batch aside: it can never be taken")
