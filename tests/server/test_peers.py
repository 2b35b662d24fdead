"""Who else is on this machine: what listens on loopback without a secret is for its own user alone."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Scope

from heliograph import peers
from heliograph_dashboard.access import Guard
from heliograph_dashboard.config import DashboardConfig
from heliograph_dashboard.sessions import Guesses, Sessions
from heliograph_hub.access import may_join, may_read
from heliograph_hub.config import HubConfig
from heliograph_hub.errors import Problem

NOBODY = 65534
CONNECT = "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); sys.stdin.read()"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_the_kernel_tells_whose_a_connection_is(listener: socket.socket) -> None:
    here = listener.getsockname()
    with socket.create_connection(here) as client:
        assert peers.owner(client.getsockname(), here) == os.geteuid()
        assert peers.stranger(client.getsockname(), here) is None
    with closing(socket.socket(socket.AF_INET6)) as mapped:
        mapped.connect((f"::ffff:{here[0]}", here[1]))
        assert peers.owner(("127.0.0.1", mapped.getsockname()[1]), here) == os.geteuid()
    assert peers.told()


def test_another_user_of_the_machine_is_a_stranger(listener: socket.socket) -> None:
    here = listener.getsockname()
    # Only root can be somebody else; as an ordinary user the same connection is our own.
    other = NOBODY if os.geteuid() == 0 else os.geteuid()
    child = subprocess.Popen(
        ["/usr/bin/env", "python3", "-c", CONNECT, str(here[1])], stdin=subprocess.PIPE, user=other
    )
    try:
        connection, address = listener.accept()
        with connection:
            assert peers.owner(address, here) == other
            assert peers.stranger(address, here) == (NOBODY if os.geteuid() == 0 else None)
    finally:
        child.communicate(timeout=60)


def test_what_cannot_be_told_is_no_stranger(listener: socket.socket) -> None:
    here = listener.getsockname()
    client = socket.create_connection(here)
    connection, address = listener.accept()
    client.close()
    assert peers.owner(address, here) is None  # nobody holds it any more
    connection.close()
    for client_at in (("127.0.0.1", 1), here, ("10.1.2.3", 50000), ("testclient", 50000), ("::1", 70000), ("", 0)):
        assert peers.owner(client_at, here) is None, client_at
    assert peers.stranger(None, here) is None


def test_users_have_names() -> None:
    assert not peers.user_name(os.geteuid()).isspace()

    def unknown(user: int) -> str:
        raise KeyError(user)

    assert peers.user_name(4_000_000_000, lookup=unknown) == "4000000000"


def stranger(_client: Any, _server: Any) -> int | None:
    return 1234


def asked(path: str, **settings: Any) -> httpx.Response:
    """The answer of a dashboard's door to another user of this machine."""
    config = DashboardConfig(database_url="sqlite:///x", **settings)
    inside = PlainTextResponse("inside")
    guard = Guard(inside, config=config, sessions=Sessions(config), guesses=Guesses(), headers={}, stranger=stranger)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=guard), base_url="http://127.0.0.1") as client:
            return await client.get(path)

    with ThreadPoolExecutor(1) as other:  # this thread may have a loop already: a browser's, of another test
        return other.submit(asyncio.run, ask()).result()


def test_a_dashboard_without_a_secret_is_for_its_own_user() -> None:
    refused = asked("/runs/abc")
    assert refused.status_code == 403
    assert peers.user_name(os.geteuid()) in refused.text
    assert "HELIOGRAPH_DASHBOARD_PASSWORD_FILE" in refused.text
    assert asked("/healthz").text == "inside"
    assert asked("/metrics").status_code == 403
    assert asked("/metrics", metrics_open=True).text == "inside"


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"open": True}, 200),
        ({"trusted_proxies": ("127.0.0.1",)}, 200),
        ({"password": "correct horse battery"}, 401),
    ],
    ids=["open", "proxy", "password"],
)
def test_whom_the_operator_lets_in(settings: dict[str, Any], status: int) -> None:
    allowed = {"allowed_hosts": ("127.0.0.1",)}
    assert asked("/", **settings, **allowed).status_code == status


def test_a_hub_without_tokens_is_for_its_own_user() -> None:
    config = HubConfig(bus_url="spool:/x", database_url="sqlite:///x")
    scope: Scope = {"type": "http", "headers": [], "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 6)}
    for may in (may_join, may_read):
        with pytest.raises(Problem, match="alone") as refused:
            may(config, Request(scope), stranger)
        assert refused.value.status == 403
        may(config, Request(scope), lambda _client, _server: None)
    guarded = replace(config, join_token="j" * 32, read_token="r" * 32)
    with pytest.raises(Problem, match="join token"):
        may_join(guarded, Request(scope), stranger)


def test_a_header_does_not_change_who_is_asking(tmp_path: Path) -> None:
    """uvicorn takes what 127.0.0.1 says of others for true unless told not to."""
    code = (
        "import socket, sys\n"
        "from starlette.responses import PlainTextResponse\n"
        "from heliograph_server.http import serve_app\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'http':\n"
        "        await PlainTextResponse(scope['client'][0])(scope, receive, send)\n"
        "serve_app(app, socket.socket(fileno=int(sys.argv[1])), tls_certificate=None, tls_key=None)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(sock.fileno())], pass_fds=(sock.fileno(),), cwd=tmp_path
        )
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            answer = httpx.get(url, headers={"x-forwarded-for": "10.0.0.7"}, timeout=60, trust_env=False)
            assert answer.text == "127.0.0.1"
        finally:
            process.terminate()
            process.wait(60)
