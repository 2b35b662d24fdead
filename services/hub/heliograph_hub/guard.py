"""What holds for every request, whatever its route: host check, size limits, security headers, metrics, last resort.

In: ASGI. Out: ASGI. Outermost, so that refusals and mistakes carry the same headers as answers.
"""

from __future__ import annotations

import logging
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heliograph_hub.config import HubConfig, is_loopback
from heliograph_hub.errors import Problem, answer
from heliograph_hub.meters import Meters

log = logging.getLogger("heliograph.hub")

MAX_QUERY = 8 << 10
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Wraps the whole app."""

    def __init__(self, app: ASGIApp, *, config: HubConfig, meters: Meters) -> None:
        self._app, self._config, self._meters = app, config, meters
        self._headers = dict(HEADERS)
        if config.tls_certificate is not None:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here; without an accept the server closes the connection
            return
        began = time.perf_counter()
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if (refusal := self._refusal(scope)) is not None:
                await answer(refusal, "request")(scope, receive, send_guarded)
            else:
                await self._app(scope, receive, send_guarded)
        except Exception:
            # The border of the hub: one broken answer must not end the server, and must not tell its insides.
            log.exception("cannot serve %s %s", scope["method"], scope["path"][:200])
            if status == 0:
                broken = Problem(500, "the hub made a mistake", what_to_do="see the hub's log, and report it")
                await answer(broken, "hub")(scope, receive, send_guarded)
        finally:
            self._count(scope, status, time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        host = _name(headers.get("host", ""))
        if not self._host_allowed(host):
            return Problem(
                421,
                "this hub does not answer under that host name",
                where="host header",
                what_to_do="use its own address, or add the name to allowed_hosts",
            )
        if len(scope.get("query_string", b"")) > MAX_QUERY:
            return Problem(414, "the query is too long", where="query", what_to_do=f"keep it under {MAX_QUERY} bytes")
        if scope["method"] not in {"GET", "HEAD"} and headers.get("origin") is not None:
            # Agents send no Origin; a web page that a user of this machine happens to open does.
            return Problem(403, "requests from web pages may only read", where="origin header")
        return None

    def _host_allowed(self, host: str) -> bool:
        """On loopback only loopback names by default: a foreign name that resolves here is DNS rebinding."""
        if self._config.allowed_hosts:
            return host in self._config.allowed_hosts or (self._config.loopback and is_loopback(host))
        return bool(host) and (not self._config.loopback or is_loopback(host))

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "none"
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._meters.requests.labels(method, route, str(status)).inc()
        self._meters.seconds.labels(route).observe(seconds)


def _name(host: str) -> str:
    """The host header without its port, in lower case; empty when it is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
