"""The hub as a bus: for agents that cannot reach the broker. Publish only.

In: batches. Out: one `POST <url>/v1/intake/<class>/<run>` for each, answered with 204 after the broker's confirm.

A hub with a certificate of its own is known by that certificate's SHA-256, which came with the token through the shared
file system; the token is never sent to a server that has not shown it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import re
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from heliograph.bus import MAX_BODY, BadMessage, BadUrl, BusFull, BusUnavailable, Outgoing, hidden
from heliograph.messages import CONTENT_TYPE

CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 40.0
"""Seconds to wait for an answer; longer than the hub waits for the broker."""
_ANSWER_LIMIT = 64 << 10
_BAD = {400, 413, 415, 422}
_DENIED = {401, 403}
_STALE = (http.client.RemoteDisconnected, ConnectionError)


class HttpPublisher:
    """Keeps one connection open and makes a new one when it was closed meanwhile."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        token: str | None = None,
        tls_fingerprint: str | None = None,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self._answer_timeout = answer_timeout
        self._fingerprint = None if tls_fingerprint is None else _digest(tls_fingerprint)
        self._shown = hidden(url).rstrip("/")
        self._host, self._port, self._secure, self._prefix = _split(url)
        if self._fingerprint is not None and not self._secure:
            raise BadUrl(f"{self._shown}: a TLS fingerprint belongs to an https:// URL")
        self._headers = {"Content-Type": CONTENT_TYPE, "User-Agent": f"heliograph {_header(name, 'name')}"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {_header(token, 'token')}"
        self._connection: http.client.HTTPConnection | None = None

    def publish(self, batches: Sequence[Outgoing]) -> None:
        for batch in batches:
            if len(batch.body) > MAX_BODY:
                raise BadMessage(f"batch of {len(batch.body)} bytes; the bus takes up to {MAX_BODY}")
        for batch in batches:
            self._judge(*self._post(batch))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _judge(self, status: int, reason: str) -> None:
        if status == 204:
            return
        said = f"{self._shown}: {status}" + (f", {reason}" if reason else "")
        if status in _BAD:
            raise BadMessage(said)
        if status == 429:
            raise BusFull(said)
        if status in _DENIED:
            raise BusUnavailable(f"{said} (the token is missing, wrong or of another run)")
        if status == 404:
            raise BusUnavailable(f"{said} (is this a Heliograph hub?)")
        raise BusUnavailable(said)

    def _post(self, batch: Outgoing) -> tuple[int, str]:
        path = f"{self._prefix}/v1/intake/{batch.cls.value}/{quote(batch.run, safe='')}"
        used_before = self._connection is not None
        try:
            return self._exchange(path, batch.body)
        except _STALE as error:
            self.close()
            if not used_before:
                raise self._unavailable(error) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(error) from error
        # The hub closed a connection that was idle for long; that says nothing about the hub now.
        try:
            return self._exchange(path, batch.body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(error) from error

    def _exchange(self, path: str, body: bytes) -> tuple[int, str]:
        connection = self._connected()
        refused: OSError | None = None
        try:
            connection.request("POST", path, body=body, headers=self._headers)
        except ConnectionError as error:
            refused = error  # a hub that takes no such body answers before it has read it
        try:
            answer = connection.getresponse()
            data = answer.read(_ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            raise refused or error from None
        if refused is not None or not answer.isclosed():
            self.close()
        return answer.status, "" if answer.status == 204 else _reason(data)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            connection = self._new()
            connection.connect()
            self._connection = connection  # first, so that it is closed when the check fails
            self._check(connection)
            assert connection.sock is not None  # noqa: S101 - connected just now
            connection.sock.settimeout(self._answer_timeout)
        return self._connection

    def _new(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT)
        context = ssl.create_default_context()
        if self._fingerprint is not None:  # which certificate it has to be is known better than any authority does
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_TIMEOUT, context=context)

    def _check(self, connection: http.client.HTTPConnection) -> None:
        if self._fingerprint is None:
            return
        shown = isinstance(connection.sock, ssl.SSLSocket) and connection.sock.getpeercert(binary_form=True)
        if not hmac.compare_digest(hashlib.sha256(shown or b"").hexdigest(), self._fingerprint):
            self.close()
            raise BusUnavailable(f"{self._shown}: another certificate than the one with the known fingerprint")

    def _unavailable(self, error: Exception) -> BusUnavailable:
        if isinstance(error, TimeoutError):
            return BusUnavailable(f"{self._shown}: no answer in time")
        if isinstance(error, ssl.SSLCertVerificationError):
            return BusUnavailable(f"{self._shown}: TLS failed ({error.verify_message})")
        if isinstance(error, ssl.SSLError):
            return BusUnavailable(f"{self._shown}: TLS failed ({error.reason})")
        if isinstance(error, socket.gaierror):
            return BusUnavailable(f"{self._shown}: the host name is not known ({error.strerror})")
        if isinstance(error, OSError) and error.strerror:
            return BusUnavailable(f"{self._shown}: {error.strerror}")
        return BusUnavailable(f"{self._shown}: {error or type(error).__name__}")


def _split(url: str) -> tuple[str, int | None, bool, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadUrl("a hub URL with a bad host or port; write https://hub-host:55055") from None
    if not host:
        raise BadUrl(f"{hidden(url)!r} names no host; write https://hub-host:55055")
    if parts.username is not None or parts.query or parts.fragment:
        raise BadUrl(f"{hidden(url)!r}: a hub URL holds no user and no query; the token is given apart")
    return host, port, parts.scheme.lower() == "https", quote(parts.path.rstrip("/"), safe="/%")


def _digest(fingerprint: str) -> str:
    digits = fingerprint.lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise BadUrl("a TLS fingerprint is the SHA-256 of the certificate in 64 hexadecimal digits")
    return digits


def _header(value: str, what: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise BadUrl(f"the {what} for the hub has characters that a header cannot hold")
    return value


def _reason(data: bytes) -> str:
    """What the hub said, in its own shape or in whatever a proxy between may answer."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(data)["error"]["what"])[:500]
    return data[:200].decode(errors="replace").strip()
