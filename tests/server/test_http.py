"""What a listening role holds for people whom nobody has let in: bounded heads, bounded connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from websockets.sync.client import connect

from heliograph_server import http

Address = tuple[str, int]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Greets; refuses `/refused` without a look at its body; reads that of `/read` first; a socket echoes."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    while scope["path"] == "/read" and (await receive()).get("more_body"):
        pass
    status = 401 if scope["path"] == "/refused" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 20)
    sock = http.listen("127.0.0.1", 0)
    server = http._of_app(app, None, None)
    server.config.lifespan = "off"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    yield sock.getsockname()
    server.should_exit = True
    thread.join()
    sock.close()


def ask(client: socket.socket, path: str = "/", *, body: int = 0) -> bytes:
    client.sendall(f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {body}\r\n\r\n".encode() + b"x" * body)
    answer = b""
    while not answer.endswith(b"hi"):
        part = client.recv(4096)
        assert part, answer
        answer += part
    return answer


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET / HTTP/1.1\r\nhost: h\r\n", b"a: b\r\n"),
        (b"GET / HTTP/1.1\r\nhost: h\r\na: ", b"x"),
        (b"GET /", b"x"),
        (b"POST /read HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        (b"POST /read HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: ", b"x"),
    ],
    ids=["lines", "value", "path", "trailers", "trailer"],
)
def test_a_head_that_never_ends_is_cut_off(address: Address, start: bytes, more: bytes) -> None:
    """Its lines took the hub twenty times their size, from anybody."""
    sent = 0
    with socket.create_connection(address, 10) as client, suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(start)
        while sent < 10 << 20:
            client.sendall(more * (50_000 // len(more)))
            sent += 50_000
            time.sleep(0.005)
    assert sent < 10 << 20


def test_large_bodies_are_no_heads(address: Address) -> None:
    """Also those that are refused before they are read: whoever sends one still gets to know why."""
    with socket.create_connection(address, 10) as client:
        assert ask(client, "/read", body=3 << 20).startswith(b"HTTP/1.1 200")
        assert ask(client, "/refused", body=3 << 20).startswith(b"HTTP/1.1 401")
        for _ in range(3000):
            assert ask(client).startswith(b"HTTP/1.1 200")


def test_of_too_many_idle_connections_the_oldest_go_and_others_are_answered(address: Address) -> None:
    with ExitStack() as open_:
        viewer = open_.enter_context(connect(f"ws://{address[0]}:{address[1]}/"))
        idle = [open_.enter_context(socket.create_connection(address, 10)) for _ in range(100)]
        for number, client in enumerate(idle):
            client.sendall([b"GET", b"POST /read HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n"][number % 2])
        with socket.create_connection(address, 10) as mine:
            assert ask(mine).startswith(b"HTTP/1.1 200")
        closed = 0
        for client in idle:
            client.settimeout(0.05)
            try:
                closed += client.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                closed += 1
        assert closed >= 80
        viewer.send("still here")
        assert viewer.recv(5) == "still here"
