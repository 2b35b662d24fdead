"""/metrics, /healthz and /readyz for roles that serve no HTTP of their own.

In: a registry and a function that says what is not ready. Out: a small server in a thread, on loopback unless told.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from heliograph_server.http import listen, url_of

log = logging.getLogger("heliograph.server")
Readiness = Callable[[], Mapping[str, bool]]
AT_ONCE: Final = 16
"""Connections at a time. On a machine of many users anybody can open some: of too many the oldest is closed, so that
they take neither the threads nor the descriptors of the role, and who asks and listens is still answered."""


class HealthServer:
    """Answers three paths. `ready` gives one flag for each thing that the role needs."""

    def __init__(self, *, host: str, port: int, registry: CollectorRegistry, ready: Readiness) -> None:
        sock = listen(host, port)
        self.url = url_of(sock)
        self._server = _Bounded(sock.getsockname()[:2], _handler(registry, ready), bind_and_activate=False)
        self._server.socket.close()  # made by the base class, never bound
        self._server.socket = sock
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2.0)


class _Bounded(ThreadingHTTPServer):
    """A thread for each of `AT_ONCE` connections."""

    def __init__(self, *args: Any, **more: Any) -> None:
        self._lock = threading.Lock()
        self._connections: dict[Any, None] = {}
        super().__init__(*args, **more)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            while len(self._connections) >= AT_ONCE:
                oldest = next(iter(self._connections))
                del self._connections[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread wakes and closes it
            self._connections[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who goes away in the middle of an answer is not worth a traceback."""
        log.debug("a request for health or metrics broke off", exc_info=True)


def _handler(registry: CollectorRegistry, ready: Readiness) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # of the socket: a client that says nothing holds no thread

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
            elif path == "/healthz":
                self._answer(200, b'{"status":"ok"}')
            elif path == "/readyz":
                parts = dict(ready())
                good = all(parts.values())
                self._answer(200 if good else 503, json.dumps({"ready": good, **parts}).encode())
            else:
                self._answer(404, b'{"error":"there are /metrics, /healthz and /readyz"}')

        def _answer(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every few seconds: not worth a line each."""

    return Handler
