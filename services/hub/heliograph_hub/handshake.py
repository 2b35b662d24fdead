"""The front door for agents and launchers: is this a Heliograph hub, and where do I send what I record?

In: `GET /v1/hello` (no secret), `POST /v1/connect` (the join token, where one is set). Out: the bus as the caller can
reach it, a token that allows nothing but publishing this run, and the hub's time for the clock offset.
"""

from __future__ import annotations

import logging
import time

import msgspec
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from heliograph.bus import hidden
from heliograph_hub.access import may_join
from heliograph_hub.bodies import Body
from heliograph_hub.errors import Problem
from heliograph_hub.parts import parts_of
from heliograph_hub.tokens import Claims

log = logging.getLogger("heliograph.hub")
router = APIRouter(tags=["agents"])

INTAKE = "/v1/intake"
MAX_CONNECT = 64 << 10
MAX_RUN = 200


class Hello(BaseModel):
    """What anyone may know of this hub."""

    service: str = "heliograph"
    version: int = 1
    bus: str | None = Field(description="The broker without credentials; null: batches go to the intake")
    intake: str = INTAKE
    join: str = Field(description="'open' or 'token'")


class Connected(BaseModel):
    """Where this run's records go."""

    bus: str = Field(description="Bus URL with publish-only credentials; http(s): this hub's intake")
    token: str = Field(description="Allows publishing this run, and nothing else")
    expires: int = Field(description="Seconds since the epoch at which the token ends")
    time: int = Field(description="The hub's clock in microseconds since the epoch")


class ConnectRequest(msgspec.Struct, frozen=True):
    """Which run wants to send. `run_dir` is for the log of whoever looks for a run."""

    run: str
    run_dir: str = ""


_connect = msgspec.json.Decoder(ConnectRequest)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["run"],
                    "properties": {"run": {"type": "string", "maxLength": MAX_RUN}, "run_dir": {"type": "string"}},
                }
            }
        },
    }
}


@router.get("/v1/hello", response_model=Hello, summary="Is this a Heliograph hub?")
async def hello(request: Request) -> Hello:
    config = parts_of(request).config
    bus = hidden(config.public_bus_url) if config.public_bus_url else None
    return Hello(bus=bus, join="open" if config.join_open else "token")


@router.post("/v1/connect", response_model=Connected, openapi_extra=_BODY, summary="Where do I send this run?")
async def connect(request: Request) -> Connected:
    """The answer holds secrets: it belongs in a file of mode 0600 and in no log."""
    parts = parts_of(request)
    config = parts.config
    may_join(config, request)
    async with Body(request, parts.budget, limit=MAX_CONNECT, timeout=config.read_timeout) as body:
        asked = _asked(body)
    who = request.client.host if request.client else "?"
    log.info("told an agent at %s where to send its records", who, extra={"run": asked.run})
    expires = int(time.time() + config.token_lifetime)
    return Connected(
        bus=config.public_bus_url or _own_url(request, config.public_url),
        token=parts.signer.sign(Claims(run=asked.run, expires=expires)),
        expires=expires,
        time=time.time_ns() // 1000,
    )


def _asked(body: bytes) -> ConnectRequest:
    try:
        asked = _connect.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"not a connect request: {error}"[:300], what_to_do='send {"run": "<run id>"}') from error
    if not 0 < len(asked.run) <= MAX_RUN or "/" in asked.run or not asked.run.isprintable() or asked.run in {".", ".."}:
        raise Problem(400, f"a run id is 1 to {MAX_RUN} printable characters without '/'", where="run")
    return asked


def _own_url(request: Request, public_url: str | None) -> str:
    """This hub as the caller sees it. The Host header was checked by the guard and only its sender gets it back."""
    return public_url.rstrip("/") if public_url else f"{request.url.scheme}://{request.url.netloc}"
