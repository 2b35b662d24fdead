"""The carriers that the contract is tested on, each with whatever it needs around it.

`http` only publishes: a small real server stands for the hub and passes what it gets into a spool, from which the
contract consumes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from heliograph.bus import (
    Consumer,
    DeadLetters,
    Delivery,
    Outgoing,
    Publisher,
    open_consumer,
    open_dead_letters,
    open_publisher,
)
from heliograph.bus.spool import SpoolPublisher
from heliograph.messages import CONTENT_TYPE, RECORDS, Class

TOKEN = "publish-only"


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """Where to publish and where to consume."""

    name: str
    publish_url: str
    consume_url: str

    def publisher(self, name: str = "agent") -> Publisher:
        return open_publisher(self.publish_url, name=name, token=TOKEN)

    def consumer(self, name: str = "writer", prefetch: int = 200, classes: Collection[Class] = RECORDS) -> Consumer:
        return open_consumer(self.consume_url, name=name, prefetch=prefetch, classes=classes)

    def dead_letters(self) -> DeadLetters:
        return open_dead_letters(self.consume_url)


class Intake(ThreadingHTTPServer):
    """Stands for the hub: `answer` is the status for the next requests, None to take them."""

    daemon_threads = True

    def __init__(self, spool_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spool_url = spool_url
        self.answer: tuple[int, bytes] | None = None
        self.connections: set[tuple[str, int]] = set()
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Intake
    timeout = 5

    def do_POST(self) -> None:
        server = self.server
        server.connections.add(self.client_address)
        server.requests.append((self.path, self.headers["authorization"]))
        body = self.rfile.read(int(self.headers["content-length"]))
        if server.answer is None and self.headers["authorization"] != f"Bearer {TOKEN}":
            self._say(401, b'{"error": {"what": "no such token"}}')
        elif server.answer is not None:
            self._say(*server.answer)
        else:
            assert self.headers["content-type"] == CONTENT_TYPE
            _, _, intake, cls, run = self.path.split("/")
            assert intake == "intake"
            SpoolPublisher(server.spool_url, name="hub").publish(
                [Outgoing(run=unquote(run), cls=Class(cls), body=body)]
            )
            self._say(204, b"")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def intake(spool_url: str) -> Iterator[Intake]:
    with Intake(spool_url) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def out(body: bytes, run: str = "r1", cls: Class = Class.STATES) -> Outgoing:
    return Outgoing(run=run, cls=cls, body=body)


def drain(consumer: Consumer, count: int, *, timeout: float = 20, limit: int | None = None) -> list[Delivery]:
    """Deliveries until there are `count` of them, or the time is over."""
    got: list[Delivery] = []
    end = time.monotonic() + timeout
    while len(got) < count and time.monotonic() < end:
        got += consumer.receive(limit or count - len(got), 0.2)
    return got


def eventually(happened: Callable[[], bool], timeout: float = 10) -> bool:
    """Whether it happens within `timeout` seconds: a broker's counts lag behind its queues."""
    end = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
