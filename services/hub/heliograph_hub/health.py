"""Alive, and able to work: two questions with two answers.

In: nothing. Out: `/healthz` (the process answers) and `/readyz` (store reachable with the schema of this version, bus
reachable), each with reasons in JSON. Neither needs a token, and neither tells addresses or credentials.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from heliograph.bus import BadMessage, BusFull, BusUnavailable
from heliograph_hub.errors import RETRY_AFTER
from heliograph_hub.parts import Parts, parts_of
from heliograph_hub.publishing import TooBusy
from heliograph_store.errors import NeedsMigration, NewerDatabase, NotHeliograph, StoreError
from heliograph_store.migrate import check

router = APIRouter(tags=["operation"])

PATIENCE = 5.0
"""Seconds for a part to answer before it counts as unreachable."""
_REASONS: dict[type[BaseException], str] = {
    NeedsMigration: "the database has no schema, or an older one: run `heliograph migrate`",
    NewerDatabase: "the database was written by a newer Heliograph: install that version",
    NotHeliograph: "the database holds something else",
}


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"
    time: int


class Part(BaseModel):
    """One thing that the hub needs, and why it cannot be used."""

    ok: bool
    reason: str = ""


class Ready(BaseModel):
    """Whether the hub can do its work."""

    ready: bool
    store: Part
    bus: Part


@router.get("/healthz", response_model=Alive, summary="Is the process alive?")
async def healthz() -> Alive:
    return Alive(time=time.time_ns() // 1000)


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready}}, summary="Can the hub work?")
async def readyz(request: Request) -> JSONResponse:
    parts = parts_of(request)
    store, bus = await asyncio.gather(_store(parts), _bus(parts))
    ready = Ready(ready=store.ok and bus.ok, store=store, bus=bus)
    headers = {} if ready.ready else {"retry-after": str(RETRY_AFTER)}
    return JSONResponse(ready.model_dump(), status_code=200 if ready.ready else 503, headers=headers)


async def _store(parts: Parts) -> Part:
    try:
        async with asyncio.timeout(PATIENCE):
            await run_in_threadpool(lambda: check(parts.store.get()))
    except (StoreError, TimeoutError) as error:
        return Part(ok=False, reason=_REASONS.get(type(error), "the database cannot be reached"))
    return Part(ok=True)


async def _bus(parts: Parts) -> Part:
    """Ask a publisher thread: the one way to the bus that the intake uses too."""
    try:
        done: Future[None] = parts.pool.submit([])
        await asyncio.wait_for(asyncio.wrap_future(done), PATIENCE)
    except TooBusy as error:
        return Part(ok=False, reason=str(error))
    except (BusUnavailable, BusFull, BadMessage, TimeoutError):
        return Part(ok=False, reason="the bus cannot be reached")
    return Part(ok=True)
