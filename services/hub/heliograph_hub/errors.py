"""One shape for everything that goes wrong: what, where, and what to do about it.

In: `Problem`s raised by routes, and the framework's own errors. Out: `{"error": {status, what, where, what_to_do}}`.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from heliograph_store.errors import StoreError

log = logging.getLogger("heliograph.hub")

RETRY_AFTER = 5
"""Seconds after which a client whose request could not be served now should come again."""


class ErrorDetail(BaseModel):
    """What went wrong, for the person who reads it."""

    status: int
    what: str
    where: str = Field(description="The request, parameter or part of the hub that it concerns")
    what_to_do: str


class ErrorAnswer(BaseModel):
    """The body of every answer with status 400 or above."""

    error: ErrorDetail


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot be served as it is"},
    "5XX": {"model": ErrorAnswer, "description": "The hub cannot serve it now"},
}


class Problem(Exception):
    """A request that cannot be served. `headers` go into the answer."""

    def __init__(
        self, status: int, what: str, *, where: str = "", what_to_do: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(what)
        self.status, self.what, self.where, self.what_to_do = status, what, where, what_to_do
        self.headers = headers or {}


def try_later(what: str, *, where: str, what_to_do: str = "send it again later", status: int = 503) -> Problem:
    return Problem(status, what, where=where, what_to_do=what_to_do, headers={"retry-after": str(RETRY_AFTER)})


def answer(problem: Problem, where: str = "") -> JSONResponse:
    detail = ErrorDetail(
        status=problem.status,
        what=problem.what,
        where=problem.where or where,
        what_to_do=problem.what_to_do or "see /docs for what this hub answers",
    )
    return JSONResponse({"error": detail.model_dump()}, status_code=problem.status, headers=problem.headers)


def install(app: FastAPI) -> None:
    """Have every error of this app answered in the one shape."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return answer(error, _where(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return answer(Problem(400, f"{place}: {first['msg']}", where=f"{_where(request)}, {place}"))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        return answer(Problem(error.status_code, str(error.detail), headers=headers), _where(request))

    @app.exception_handler(StoreError)
    async def no_store(request: Request, error: StoreError) -> JSONResponse:
        log.warning("the store does not answer: %s", type(error).__name__)
        return answer(try_later("the database cannot be read now", where="store", what_to_do="see /readyz for why"))


def _where(request: Request) -> str:
    """Method and path, without the query: it may hold what a person would not want in a log."""
    return f"{request.method} {request.url.path}"[:200]
