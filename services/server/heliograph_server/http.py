"""Runs an application: the hub in a thread beside a writer, hub or dashboard as the process's main work.

In: a hub config or an app, an address. Out: a listening server; its URL is known before the application is loaded.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import resource
import signal
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heliograph_server.errors import SetupError

if TYPE_CHECKING:
    import uvicorn

    from heliograph_hub.config import HubConfig

log = logging.getLogger("heliograph.server")
MAX_HEAD: Final = 64 << 10
"""Bytes of a request before its body. uvicorn's parser has no bound, and a line of six bytes takes it 130."""
MOST_HEADERS: Final = 1000
MOST_CONNECTIONS: Final = 512
"""Connections over which no request is being answered; at most half of the files that this process may have open."""


def listen(host: str, port: int) -> socket.socket:
    """A bound and listening socket. Raises SetupError that says why not."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SetupError(f"cannot listen on {host}: {error.strerror or error}") from None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(f"port {port} on {host} is in use; stop what uses it or choose another port") from None
        raise SetupError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return sock


def url_of(sock: socket.socket, *, tls: bool = False) -> str:
    host, port = sock.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def tell_address(path: Path, about: dict[str, object]) -> None:
    """Put an address where others look for it, whole or not at all (0600: a database URL may hold a password). Raises
    OSError."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        json.dump(about, file)
    os.rename(file.name, path)


def serve(config: HubConfig, sock: socket.socket) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    log.info("the hub listens on %s", url_of(sock, tls=config.tls_certificate is not None))
    return _until_stopped(_server(config), sock)


def serve_app(app: Any, sock: socket.socket, *, tls_certificate: Path | None, tls_key: Path | None) -> int:
    """Serve an ASGI app until SIGTERM or SIGINT."""
    # A line for each socket that opens would be all that the log holds.
    return _until_stopped(_of_app(app, tls_certificate, tls_key, log_level="warning"), sock)


def _until_stopped(server: uvicorn.Server, sock: socket.socket) -> int:
    # uvicorn raises the signal that ended it once more, for whoever was there before: that must not kill us.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[sock])
    return 0


class HubThread:
    """The hub beside something else in one process. Its failure is logged and takes nothing down with it."""

    def __init__(self, config: HubConfig, sock: socket.socket) -> None:
        self._config = config
        self._sock = sock
        self._server: uvicorn.Server | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hub", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        try:
            server = _server(self._config)
            self._server = server
            if not self._stopped.is_set():
                server.run(sockets=[self._sock])
        except Exception:  # the border of the thread: the writer must go on
            log.exception("the hub stopped; the writer goes on without it")

    def stop(self) -> None:
        self._stopped.set()
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(5.0)
        self._sock.close()


def _server(config: HubConfig) -> uvicorn.Server:
    from heliograph_hub.app import create_app

    return _of_app(create_app(config), config.tls_certificate, config.tls_key)


def _of_app(
    app: Any, tls_certificate: Path | None, tls_key: Path | None, log_level: str | None = None
) -> uvicorn.Server:
    import uvicorn

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=_bounded_protocol(),
            log_config=None,
            log_level=log_level,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # whom the peer may speak for is for the application to decide
            timeout_graceful_shutdown=5,
            ssl_certfile=str(tls_certificate) if tls_certificate else None,
            ssl_keyfile=str(tls_key) if tls_key else None,
        )
    )


def _bounded_protocol() -> type[asyncio.Protocol]:
    """uvicorn's protocol for one server, with bounds on what nobody has shown a secret for.

    A head that is too long is cut off. Of too many connections over which nothing is being answered (idle, or the
    request is not complete) the oldest is closed, so that they take neither the descriptors of a writer in this
    process nor the place of who really asks. Sockets of viewers are not counted: they have been let in.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol
    open_: dict[Any, None] = {}
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files // 2)

    class Bounded(base):  # type: ignore[misc]
        head = 0

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            open_[self] = None
            if len(open_) > most:
                waiting = next((one for one in open_ if one.waits), None)
                if waiting is not None:
                    del open_[waiting]
                    waiting.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            open_.pop(self, None)
            super().connection_lost(exc)

        @property
        def waits(self) -> bool:
            """For its client: no request is here, or the rest of one is missing."""
            return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            in_body = before is not None and before.more_body
            had = len(before.body) if in_body else 0
            super().data_received(data)
            if self not in self.connections:  # a socket by now, with a protocol of its own
                open_.pop(self, None)
                return
            if self.cycle is not before:
                self.head = 0  # its head was complete
            elif not in_body or (len(before.body) == had and not before.response_complete):
                self.head += len(data)  # a head in the making, or what trails a body; of a refused body nothing is kept
            if self.head > MAX_HEAD or len(getattr(self, "headers", None) or ()) > MOST_HEADERS:
                self.transport.abort()

    return Bounded
