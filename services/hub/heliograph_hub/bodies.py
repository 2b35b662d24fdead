"""Reads request bodies with a cap, while they arrive.

In: a request. Out: its bytes, or a `Problem`: 413 too large, 415 compressed, 408 too slow, 503 too much at once.
"""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from heliograph_hub.errors import Problem, try_later


class Budget:
    """Bytes that all bodies together may take at once. Used from one event loop only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self, size: int) -> bool:
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        self.used -= size


class Body:
    """One body and its share of the budget: `async with Body(…) as data`. The share ends with the block."""

    def __init__(self, request: Request, budget: Budget, *, limit: int, timeout: float) -> None:
        self._request, self._budget, self._limit, self._timeout = request, budget, limit, timeout
        self._held = 0

    async def __aenter__(self) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._read()
        except BaseException as error:
            self._release()
            if isinstance(error, TimeoutError):
                raise Problem(408, "the body did not arrive in time", where="request body") from None
            if isinstance(error, ClientDisconnect):
                raise Problem(400, "the sender went away", where="request body") from None
            raise

    async def __aexit__(self, *_: object) -> None:
        self._release()

    async def _read(self) -> bytes:
        if self._request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "compressed bodies are not taken", where="content-encoding", what_to_do="send it plain")
        declared = self._request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > self._limit:
            raise self._too_large()
        chunks: list[bytes] = []
        async for chunk in self._request.stream():
            if self._held + len(chunk) > self._limit:
                raise self._too_large()
            if not self._budget.take(len(chunk)):
                raise try_later("the hub holds as much as it may", where="intake")
            self._held += len(chunk)
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_large(self) -> Problem:
        return Problem(
            413,
            f"the body is larger than {self._limit} bytes",
            where="request body",
            what_to_do="send smaller batches",
            headers={"connection": "close"},  # the rest of the body is not read
        )

    def _release(self) -> None:
        self._budget.give_back(self._held)
        self._held = 0
