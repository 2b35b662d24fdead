"""What holds for every request before any page sees it: who may come in, by which name, from where, under which prefix.

In: ASGI. Out: ASGI. Outermost, so that refusals carry the same headers as pages.

* A secret (cookie after the login page, `Authorization`, or once `?token=`), or a header of a trusted proxy, opens it.
* Without a secret, on loopback, it is for the user who runs it: others of the machine can reach it, too.
* An open dashboard answers only under names that cannot be somebody else's (DNS rebinding).
* What changes something or opens a socket comes from our own pages (`Origin`), or from no page at all.
* A proxy's X-Forwarded-… and user header count only when it is one that the operator named.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import os
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heliograph import peers
from heliograph.peers import Address
from heliograph_dashboard.config import PREFIX, DashboardConfig, is_loopback
from heliograph_dashboard.sessions import COOKIE, Guesses, Sessions
from heliograph_dashboard.urls import prefix

log = logging.getLogger("heliograph.dashboard")

OPEN_PATHS: Final = ("/login", "/healthz", "/readyz")
OPEN_FOLDERS: Final = ("/assets/",)
"""Code and pictures, the same for all: the login page needs some of them."""
MAX_QUERY: Final = 8 << 10


def security_headers(scripts: tuple[str, ...], *, tls: bool) -> dict[str, str]:
    """Headers of every answer. `scripts` are the hashes of Dash's inline scripts, the only ones that may run.

    Styles may be inline: plotly, AG Grid and Mantine make theirs at run time, and a style cannot send anything away
    where no other origin may be reached. Pictures may be data and blobs: plotly saves figures that way.
    """
    policy = {
        "default-src": "'self'",
        "script-src": " ".join(("'self'", *scripts)),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'self'",
    }
    headers = {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "x-frame-options": "SAMEORIGIN",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
    if tls:
        headers["strict-transport-security"] = "max-age=31536000"
    return headers


class Guard:
    """Wraps the whole app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        config: DashboardConfig,
        sessions: Sessions,
        guesses: Guesses,
        headers: dict[str, str],
        stranger: Callable[[Address | None, Address | None], int | None] = peers.stranger,
    ) -> None:
        self._app, self._config, self._sessions, self._guesses = app, config, sessions, guesses
        self._headers, self._stranger_at = headers, stranger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        request = Request(scope, self._config)
        token = prefix.set(request.prefix)
        began = False

        async def send_guarded(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            scope = {**scope, "path": request.path, "raw_path": quote(request.path).encode(), "root_path": ""}
            scope["heliograph"] = request
            refusal = self._refusal(request)
            if refusal is None:
                await self._app(scope, receive, send_guarded)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 4403, "reason": "not allowed"})
            else:
                await refusal(scope, receive, send_guarded)
        except Exception:
            # The border of the dashboard: one broken answer must not end the server, and must not tell its insides.
            if scope["type"] != "http":
                raise
            log.exception("cannot serve %s", request.path[:200])
            if not began:
                await _told(500, "the dashboard made a mistake; see its log")(scope, receive, send_guarded)
        finally:
            prefix.reset(token)

    def _refusal(self, request: Request) -> Response | None:
        if len(request.scope.get("query_string", b"")) > MAX_QUERY:
            return _told(414, f"the query is longer than {MAX_QUERY} bytes")
        if not self._name_allowed(request):
            return _told(
                421,
                "this dashboard does not answer under that host name; use its own address, or add the name to "
                "HELIOGRAPH_DASHBOARD_ALLOWED_HOSTS",
            )
        changes = request.websocket or request.method not in {"GET", "HEAD"}
        if changes and not self._ours(request):
            return _told(403, "this request comes from a page of somebody else")
        if self._public(request):
            return None
        return self._stranger(request) if self._config.guarded else self._neighbour(request)

    def _public(self, request: Request) -> bool:
        if request.path == "/metrics":
            return self._config.metrics_open
        return request.path in OPEN_PATHS or request.path.startswith(OPEN_FOLDERS)

    def _stranger(self, request: Request) -> Response | None:
        """None for who may come in."""
        if self._sessions.valid(request.cookies.get(COOKIE)):
            return None
        header = self._config.user_header
        if header is not None and request.by_proxy and request.headers.get(header, "").strip():
            return None
        given, in_url = request.secret()
        if given is not None:
            # Who shares an address with somebody who guesses (a proxy, a login node) still comes in with a token.
            if not self._sessions.long_token(given) and self._guesses.wait(request.address):
                return _told(429, "too many wrong secrets; wait a minute")
            if self._sessions.token(given) if in_url else self._sessions.secret(given):
                return self._without_token(request) if in_url and not request.websocket else None
            self._guesses.wrong(request.address)
        if request.wants_page and self._config.has_secret:
            back = request.path + (f"?{request.query}" if request.query and not in_url else "")
            return RedirectResponse(f"{request.prefix}login?{urlencode({'to': back})}", status_code=303)
        return _told(401, "log in first, or send 'Authorization: Bearer <token>'")

    def _neighbour(self, request: Request) -> Response | None:
        """Without a secret: who is on this machine and not our user stays outside, unless all are let in."""
        if self._config.open or request.by_proxy:
            return None
        if self._stranger_at(request.scope.get("client"), request.scope.get("server")) is None:
            return None
        owner = peers.user_name(os.geteuid())
        return _told(
            403,
            f"this dashboard has no password and is for user {owner} alone, who runs it; {owner} can set "
            "HELIOGRAPH_DASHBOARD_PASSWORD_FILE, or HELIOGRAPH_DASHBOARD_OPEN=true to let everybody on this machine in",
        )

    def _without_token(self, request: Request) -> Response:
        """The token once in the URL becomes a cookie, so that it does not stay in history and links."""
        rest = [(key, value) for key, value in parse_qsl(request.query, keep_blank_values=True) if key != "token"]
        address = request.prefix + quote(request.path.lstrip("/")) + (f"?{urlencode(rest)}" if rest else "")
        answer = RedirectResponse(address, status_code=303)
        set_cookie(answer, self._sessions, self._config, request)
        return answer

    def _name_allowed(self, request: Request) -> bool:
        """A foreign name that leads to an open dashboard is DNS rebinding; behind a secret it opens nothing.

        A proxy on this machine cannot be told from a browser on it, whose page can send any header to its own name: so
        names count there, too, and the operator says which ones lead to the proxy.
        """
        nearby = request.by_proxy and is_loopback(request.peer.removeprefix("::ffff:"))
        if request.by_proxy and not nearby:
            return True
        if self._config.guarded and not (nearby and self._config.user_header is not None):
            return True
        if not self._config.loopback:
            return bool(request.host)
        return is_loopback(request.host) or request.host in self._config.allowed_hosts

    def _ours(self, request: Request) -> bool:
        """Browsers name the page from which a request comes; programs do not."""
        origin = request.headers.get("origin")
        if origin is None:
            return request.headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"}
        here = {request.headers.get("host", "").lower(), request.outer_host.lower()} - {""}
        try:
            parts = urlsplit(origin)
            return parts.netloc.lower() in here or (parts.hostname or "") in self._config.allowed_hosts
        except ValueError:
            return False


class Request:
    """What access depends on, read from a scope once."""

    def __init__(self, scope: Scope, config: DashboardConfig) -> None:
        self.scope = scope
        self.headers = Headers(scope=scope)
        self.websocket = scope["type"] == "websocket"
        self.method = scope.get("method", "GET")
        self.query = scope.get("query_string", b"").decode("latin-1")
        peer = (scope.get("client") or ("", 0))[0]
        self.peer = peer
        self.by_proxy = _in(peer, config)
        forwarded = self.headers.get("x-forwarded-for", "").split(",") if self.by_proxy else []
        # The last one was written by our proxy; those before it by anybody.
        self.address = forwarded[-1].strip()[:64] if forwarded and forwarded[-1].strip() else peer
        self.outer_host = self.headers.get("x-forwarded-host", "").split(",")[-1].strip() if self.by_proxy else ""
        self.host = _name(self.headers.get("host", ""))
        named = self.headers.get("x-forwarded-prefix", "").split(",")[-1].strip() if self.by_proxy else ""
        self.prefix = config.prefix
        if named.startswith("/") and PREFIX.fullmatch(named.rstrip("/") + "/"):
            self.prefix = named.rstrip("/") + "/"
        proto = self.headers.get("x-forwarded-proto", "") if self.by_proxy else ""
        self.secure = scope.get("scheme") in {"https", "wss"} or proto.split(",")[-1].strip() == "https"
        # Some proxies take the prefix away and some do not.
        path = scope["path"]
        inside = path.startswith(self.prefix) or path + "/" == self.prefix
        self.path = "/" + path[len(self.prefix) :] if inside else path
        try:
            cookies = SimpleCookie(self.headers.get("cookie", ""))
            self.cookies = {name: morsel.value for name, morsel in cookies.items()}
        except CookieError:
            self.cookies = {}

    @property
    def wants_page(self) -> bool:
        """Whether a person looks at the answer, rather than a script."""
        return not self.websocket and self.method == "GET" and "text/html" in self.headers.get("accept", "")

    def secret(self) -> tuple[str | None, bool]:
        """What was shown to get in, and whether it stands in the URL."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and value.strip():
            return value.strip(), False
        if scheme.lower() == "basic":
            try:
                return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2], False
            except (binascii.Error, UnicodeDecodeError, ValueError):
                return "", False
        tokens = [v for k, v in parse_qsl(self.query) if k == "token"]
        return (tokens[0], True) if tokens else (None, False)


def set_cookie(answer: Response, sessions: Sessions, config: DashboardConfig, request: Request) -> None:
    answer.set_cookie(
        COOKIE,
        sessions.cookie(),
        max_age=int(config.session_lifetime),
        path=request.prefix,
        httponly=True,
        samesite="lax",  # a link in a colleague's mail must work
        secure=request.secure,
    )


def _told(status: int, text: str) -> Response:
    answer = JSONResponse({"error": text}, status_code=status, headers={"cache-control": "no-store"})
    if status == 429:
        answer.headers["retry-after"] = "60"
    return answer


def _in(peer: str, config: DashboardConfig) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in config.proxy_networks)


def _name(host: str) -> str:
    """The host header without its port, in lower case; empty when it is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
