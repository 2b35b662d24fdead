"""Dash on FastAPI, in our way: callbacks run in threads, scripts are compressed once, nothing comes from elsewhere.

In: Dash's routes. Out: the same on a FastAPI app. Dash's own backend runs a callback on the event loop, where one slow
query would stop everybody, and takes every path that is left; neither is wanted here.
"""

from __future__ import annotations

import gzip
import json
import logging
import mimetypes
import pkgutil
import sys
from contextvars import copy_context
from functools import lru_cache
from typing import Any, Final

import anyio
from dash import Dash, _validate
from dash.backends._fastapi import FastAPIDashServer, reset_current_request, set_current_request
from dash.exceptions import DependencyException, InvalidResourceError, PreventUpdate
from dash.fingerprint import check_fingerprint
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from heliograph_dashboard.answers import Answer, Answers, answer_of
from heliograph_dashboard.live import Versions
from heliograph_dashboard.urls import prefix
from heliograph_store.errors import StoreError

__all__ = ["Backend", "packed_answer", "reset_current_request", "run_callback", "set_current_request"]

log = logging.getLogger("heliograph.dashboard")
A_YEAR: Final = "public, max-age=31536000, immutable"
BAD_BODY: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)
MAX_BODY: Final = 4 << 20
AT_ONCE: Final = 12
"""Callbacks that run at the same time; more would only wait for each other."""


class Backend(FastAPIDashServer):
    """What Dash asks of a server."""

    websocket_capability = False  # live updates have a socket of their own
    versions: Versions
    """Given before the first request."""

    @staticmethod
    def create_app(name: str = "", config: dict[str, Any] | None = None) -> FastAPI:
        del name, config
        # FastAPI's own pages load scripts from a CDN.
        return FastAPI(title="Heliograph dashboard", docs_url=None, redoc_url=None, openapi_url=None)

    def setup_backend(self, dash_app: Dash) -> None:
        """No middleware: `app.py` sets the server up before the first request."""

    def setup_index(self, dash_app: Dash) -> None:
        """`app.py` serves the index."""

    def setup_catchall(self, dash_app: Dash) -> None:
        """`app.py` has its own."""

    def _setup_catchall(self) -> None:
        """See above."""

    def serve_component_suites(
        self, dash_app: Dash, package_name: str, fingerprinted_path: str, request: Request
    ) -> Response:
        path, fingerprint = check_fingerprint(fingerprinted_path)
        try:
            _validate.validate_js_path(dash_app.registered_paths, package_name, path)
            plain, packed = _packaged(package_name, path)
        except (DependencyException, InvalidResourceError, OSError):
            return JSONResponse({"error": "there is no such script"}, status_code=404)
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        answer = Answer(status=200, body=plain, packed=packed, kind=kind)
        return packed_answer(request, answer, cache=A_YEAR if fingerprint else "no-cache")

    def serve_callback(self, dash_app: Dash) -> Any:
        answers, limiter = Answers(), anyio.CapacityLimiter(AT_ONCE)

        async def dispatch(request: Request) -> Response:
            raw = await body_of(request)
            if raw is None:
                return JSONResponse({"error": "this is more than a page ever sends"}, status_code=413)
            if not self.versions.fresh():
                await run_in_threadpool(self.versions.of, None)

            async def make() -> Answer:
                return await anyio.to_thread.run_sync(run_callback, dash_app, request, raw, limiter=limiter)

            answer = await answers.get((prefix.get(), self.versions.generation, raw), make)
            return packed_answer(request, answer, cache="no-store")

        dash_app.server.state.answers = answers
        return dispatch


async def body_of(request: Request) -> bytes | None:
    """The body, None as soon as it is more than `MAX_BODY`: what is not read takes no memory."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BODY:
            return None
    return bytes(raw)


def run_callback(dash_app: Dash, request: Request, raw: bytes) -> Answer:
    """Run one callback. What a client got wrong is a 400, a database that is away a 503; neither tells insides."""
    token = set_current_request(request)
    try:
        try:
            body = json.loads(raw)
            context = dash_app._initialize_context(body)
            function = dash_app._prepare_callback(context, body)
            values = dash_app._inputs_to_vals(context.inputs_list + context.states_list)
        except BAD_BODY as error:
            log.debug("a callback that cannot be understood: %r", error)
            return _sorry("this is no callback of this dashboard; reload the page", 400)
        call = dash_app._execute_callback(function, values, context.outputs_list, context)
        return answer_of(copy_context().run(call).encode())
    except PreventUpdate:
        return Answer(status=204, body=b"")
    except StoreError as error:
        log.warning("the database does not answer: %s", error)
        return _sorry("the database cannot be read now", 503)
    except Exception:  # the border of a page: the others go on
        log.exception("a callback went wrong")
        return _sorry("the dashboard made a mistake; see its log", 500)
    finally:
        reset_current_request(token)


def _sorry(text: str, status: int) -> Answer:
    return Answer(status=status, body=json.dumps({"error": text}).encode())


def packed_answer(request: Request, answer: Answer, *, cache: str) -> Response:
    """An answer, compressed for those who take that."""
    headers = {"cache-control": cache, "vary": "accept-encoding"}
    body = answer.body
    if answer.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        body = answer.packed
    if answer.status == 204:
        return Response(status_code=204, headers=headers)
    return Response(body, status_code=answer.status, media_type=answer.kind, headers=headers)


@lru_cache(maxsize=256)
def _packaged(package: str, path: str) -> tuple[bytes, bytes | None]:
    """A file of a component package, plain and compressed. Packages do not change while we run."""
    plain = pkgutil.get_data(sys.modules[package].__name__, path)
    if plain is None:
        raise OSError(path)
    return plain, gzip.compress(plain, 6) if len(plain) > 1024 else None
