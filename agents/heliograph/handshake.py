"""Asking a hub where the records of a run go.

In: a hub's address, the run, the join token. Out: the route file's content, with a token that allows publishing this
run and nothing else. An open port proves nothing (Parsl's own executors listen on ports like the hub's), so the other
side must say what it is before it is told anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import ssl
import time
from typing import Any
from urllib.parse import SplitResult, urlsplit

from heliograph import settings
from heliograph.route import RouteFile

DEFAULT_PORT = 55055
TIMEOUT = 3.0
_MAX_ANSWER = 64 << 10


class NoHub(Exception):
    """Nobody who is a hub answers there (yet)."""


class Refused(Exception):
    """A hub is there, and does not take this run: wrong token, untrusted certificate, too new."""


def connect(
    address: str,
    *,
    run: str,
    run_dir: str = "",
    interval: float = 10.0,
    token: str | None = None,
    tls_fingerprint: str | None = None,
    timeout: float = TIMEOUT,
) -> RouteFile:
    """Where this hub wants the run's records. Token and fingerprint are the settings' unless given.

    `address` is 'host:port' or a URL. Without a scheme TLS is tried first, except on this machine; and nothing else
    when the hub's certificate is known: whoever made TLS fail, or took the port first, would be believed.
    Raises NoHub, Refused.
    """
    token = token or settings.join_token()
    fingerprint = tls_fingerprint or settings.secret("HELIOGRAPH_TLS_FINGERPRINT")
    reasons: list[str] = []
    for url in _candidates(address, only_tls=bool(fingerprint)):
        with contextlib.closing(_connection(url, fingerprint, timeout)) as connection:
            try:
                _hello(connection)
                if token and url.scheme == "http" and not (_is_loopback(url.hostname) or "://" in address):
                    raise Refused(
                        "it has no TLS, and the join token is not sent in the open; name it http://… to allow that"
                    )
                asked_at = time.time_ns()
                answer = _ask(connection, {"run": run, "run_dir": run_dir}, token)
                between = (asked_at + time.time_ns()) // 2000
            except ssl.SSLCertVerificationError as error:
                raise Refused(
                    f"its certificate is not trusted ({error.verify_message}); set HELIOGRAPH_TLS_FINGERPRINT"
                ) from None
            except (OSError, http.client.HTTPException, NoHub) as error:
                reasons.append(f"{url.scheme}: {error or type(error).__name__}")
                continue
            return _route(answer, interval, fingerprint if url.scheme == "https" else None, between)
    raise NoHub("; ".join(reasons))


def _candidates(address: str, *, only_tls: bool) -> list[SplitResult]:
    """The URLs to try, in order. A scheme that is named counts."""
    schemes = [""] if "://" in address else ["https://"] if only_tls else ["https://", "http://"]
    try:
        urls = [urlsplit(scheme + address) for scheme in schemes]
        if any(url.scheme not in {"http", "https"} or not url.hostname or url.port == 0 for url in urls):
            raise NoHub(f"{address!r} is not an address; write host:port")
    except ValueError as error:
        raise NoHub(f"{address!r} is not an address: {error}") from None
    return urls[::-1] if _is_loopback(urls[0].hostname) else urls


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _Pinned(http.client.HTTPSConnection):
    """TLS to whoever has exactly this certificate, whoever signed it."""

    fingerprint = ""

    def connect(self) -> None:
        super().connect()
        certificate = self.sock.getpeercert(binary_form=True) if isinstance(self.sock, ssl.SSLSocket) else None
        found = hashlib.sha256(certificate or b"").hexdigest()
        if not hmac.compare_digest(found, self.fingerprint):
            raise Refused("its certificate is not the one of HELIOGRAPH_TLS_FINGERPRINT")


def _connection(url: SplitResult, fingerprint: str | None, timeout: float) -> http.client.HTTPConnection:
    host, port = url.hostname or "", url.port or DEFAULT_PORT
    if url.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout)
    context = ssl.create_default_context()
    if not fingerprint:
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the fingerprint decides
    pinned = _Pinned(host, port, timeout=timeout, context=context)
    pinned.fingerprint = fingerprint.removeprefix("sha256:").replace(":", "").lower()
    return pinned


def _hello(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/v1/hello", headers={"Accept": "application/json"})
    _, said = _answer(connection)
    if said.get("service") != "heliograph":
        raise NoHub("what answers there is not a Heliograph hub")
    if not isinstance(said.get("version"), int) or said["version"] > 1:
        raise Refused(f"it speaks version {said.get('version')!r} of the handshake, this agent version 1")


def _ask(connection: http.client.HTTPConnection, asked: dict[str, str], token: str | None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.request("POST", "/v1/connect", body=json.dumps(asked), headers=headers)
    status, answer = _answer(connection)
    if status == 403:
        raise Refused("it is for another user of that machine alone; name your own hub or server")
    if status == 401:
        raise Refused("the join token is missing or wrong; set HELIOGRAPH_TOKEN or HELIOGRAPH_JOIN_TOKEN")
    if status != 200:
        raise NoHub(f"it answered {status} to the connection of a run")
    return answer


def _answer(connection: http.client.HTTPConnection) -> tuple[int, dict[str, Any]]:
    try:
        response = connection.getresponse()
        body = response.read(_MAX_ANSWER)
        found = json.loads(body) if body else {}
    except ValueError as error:
        raise NoHub("what answers there is not a Heliograph hub") from error
    return response.status, found if isinstance(found, dict) else {}


def _route(answer: dict[str, Any], interval: float, fingerprint: str | None, between: int) -> RouteFile:
    """`between` is this host's time in microseconds, half way between the question and its answer."""
    bus, token, hubs_time = answer.get("bus"), answer.get("token"), answer.get("time")
    if not isinstance(bus, str) or urlsplit(bus).scheme not in {"amqp", "amqps", "http", "https"}:
        raise Refused("it named no bus that this agent knows")
    return RouteFile(
        bus=bus,
        token=token if isinstance(token, str) else None,
        tls_fingerprint=fingerprint,
        interval=interval,
        clock_offset=between - hubs_time if isinstance(hubs_time, int) and 0 < hubs_time < 1 << 53 else None,
    )
