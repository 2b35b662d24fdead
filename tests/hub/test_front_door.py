"""Handshake and intake: who gets in, what is taken, and that nothing confirmed is lost."""

from __future__ import annotations

import logging
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from heliograph.bus import BadMessage, BusUnavailable, Outgoing, open_consumer, open_publisher
from heliograph.messages import Class
from heliograph_hub.app import create_app
from heliograph_hub.config import BadConfig, HubConfig
from heliograph_hub.tokens import Claims, Signer
from tests.hub.conftest import JOIN, LOCKED, READ, Serving, batch, bearer, drain, server

SIGNER = Signer("s" * 32)


def token(run: str = "r-1", *, lifetime: float = 86_400, scope: str = "publish", signer: Signer = SIGNER) -> str:
    return signer.sign(Claims(run=run, expires=int(time.time() + lifetime), scope=scope))


def post(
    client: httpx.Client, body: bytes, *, run: str = "r-1", cls: str = "control", auth: str | None = None
) -> httpx.Response:
    headers = bearer(token(run) if auth is None else auth)
    return client.post(f"/v1/intake/{cls}/{run}", content=body, headers=headers)


def raw_head(url: httpx.URL, length: int) -> bytes:
    """Head of an intake request for whoever writes its body in pieces."""
    host, auth = url.netloc.decode(), token()
    lines = ["POST /v1/intake/control/r-1 HTTP/1.1", f"host: {host}", f"authorization: Bearer {auth}"]
    return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()


def check_error(response: httpx.Response, status: int) -> dict[str, str]:
    """Every error has the one shape, and says something in each of its places."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["status"] == status
    assert all(error[key] for key in ("what", "where", "what_to_do"))
    return error  # type: ignore[no-any-return]


def test_hello_connect_and_intake_over_a_real_server(config: HubConfig) -> None:
    with server(config) as client:
        hello = client.get("/v1/hello").json()
        assert hello == {"service": "heliograph", "version": 1, "bus": None, "intake": "/v1/intake", "join": "open"}
        before = time.time_ns() // 1000
        answer = client.post("/v1/connect", json={"run": "r-1", "run_dir": "/somewhere"})
        connected = answer.json()
        assert connected["bus"] == str(client.base_url).rstrip("/")
        assert before <= connected["time"] <= time.time_ns() // 1000
        bodies = [batch("r-1", n) for n in range(30)]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda body: post(client, body, auth=connected["token"]), bodies))
        assert {a.status_code for a in answers} == {204}
        assert answers[0].content == b""
        # Confirmed means on the bus now, not after the hub has ended.
        assert sorted(drain(config.bus_url)) == sorted(bodies)


def test_an_agent_ships_through_the_hub(config: HubConfig) -> None:
    """The publisher that agents use understands what the hub answers."""
    with server(config) as client:
        url = str(client.base_url).rstrip("/")
        given = client.post("/v1/connect", json={"run": "r-1"}).json()
        publisher = open_publisher(given["bus"], name="agent-1", token=given["token"])
        assert given["bus"] == url
        bodies = [batch("r-1", n, cls=Class.STATES) for n in range(10)]
        publisher.publish([Outgoing(run="r-1", cls=Class.STATES, body=body) for body in bodies])
        with pytest.raises(BadMessage):
            publisher.publish([Outgoing(run="r-1", cls=Class.STATES, body=b"garbage")])
        with pytest.raises(BusUnavailable):  # keeps it: another token may come
            publisher.publish([Outgoing(run="r-2", cls=Class.STATES, body=batch("r-2", cls=Class.STATES))])
        publisher.close()
    assert sorted(drain(config.bus_url)) == sorted(bodies)


def test_commands_of_a_run_come_through_the_hub_and_past_the_writer(config: HubConfig) -> None:
    body = batch("r-1", cls=Class.COMMANDS)
    with server(config) as client:
        given = client.post("/v1/connect", json={"run": "r-1"}).json()
        publisher = open_publisher(given["bus"], name="agent-1", token=given["token"])
        publisher.publish([Outgoing(run="r-1", cls=Class.COMMANDS, body=body)])
        publisher.close()
    assert drain(config.bus_url) == []
    consumer = open_consumer(config.bus_url, name="filewatch", classes=[Class.COMMANDS])
    (got,) = consumer.receive(5, 5.0)
    assert (got.body, got.route) == (body, "commands.r-1")
    consumer.ack([got])
    consumer.close()


def test_the_broker_is_named_without_credentials_in_public_and_with_them_to_who_may_join(serving: Serving) -> None:
    client = serving(public_bus_url="amqp://agent:secret@broker:5672/h", **LOCKED)
    assert client.get("/v1/hello").json()["bus"] == "amqp://broker:5672/h"
    check_error(client.post("/v1/connect", json={"run": "r-1"}), 401)
    check_error(client.post("/v1/connect", json={"run": "r-1"}, headers=bearer(READ)), 401)
    check_error(client.post("/v1/connect", json={"run": "r-1"}, headers=bearer(JOIN + "x")), 401)
    connected = client.post("/v1/connect", json={"run": "r-1"}, headers=bearer(JOIN))
    assert connected.json()["bus"] == "amqp://agent:secret@broker:5672/h"
    assert connected.headers["cache-control"] == "no-store"
    assert SIGNER.check(connected.json()["token"], now=time.time()).run == "r-1"


def test_the_address_that_agents_get_can_be_set(serving: Serving) -> None:
    connected = serving(public_url="https://hub.example:55055/").post("/v1/connect", json={"run": "r"}).json()
    assert connected["bus"] == "https://hub.example:55055"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"run": ""}', b'{"run": 3}', b'{"run": "a/b"}', b'{"run": "a\\u0000b"}', b'{"run": ".."}',
     b'{"run": "' + b"x" * 201 + b'"}', b"[" * 60_000, b"\xff\xfe"],
)  # fmt: skip
def test_a_connect_request_that_is_none_is_refused(serving: Serving, body: bytes) -> None:
    check_error(serving().post("/v1/connect", content=body), 400)


def test_a_huge_connect_request_is_not_read(serving: Serving) -> None:
    check_error(serving().post("/v1/connect", content=b" " * (1 << 20)), 413)


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        ("", 401),
        ("garbage", 401),
        (JOIN, 401),
        (READ, 401),
        (token(lifetime=-1), 401),
        (token(signer=Signer("t" * 32)), 401),
        (token()[:-1], 401),
        (token("r-2"), 403),
        (token(scope="read"), 403),
    ],
    ids=["none", "garbage", "join", "read", "late", "forged", "cut", "another run's", "another scope"],
)
def test_intake_takes_only_this_runs_token(serving: Serving, config: HubConfig, auth: str, status: int) -> None:
    client = serving(**LOCKED)
    error = check_error(post(client, batch("r-1"), auth=auth), status)
    assert not auth or auth not in str(error)
    assert drain(config.bus_url) == []


def test_intake_without_any_token(serving: Serving) -> None:
    answer = serving().post("/v1/intake/control/r-1", content=batch("r-1"))
    check_error(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("body", "cls"),
    [
        (b"", "control"),
        (b"garbage", "control"),
        (b"\x91" * 100_000, "control"),
        (b"\xdd\xff\xff\xff\xff", "control"),
        (batch("r-2"), "control"),
        (batch("r-1"), "states"),
        (batch("r-1"), "nonsense"),
        (batch("r-1")[:-3], "control"),
    ],
)
def test_what_can_never_be_taken_says_so(serving: Serving, config: HubConfig, body: bytes, cls: str) -> None:
    check_error(post(serving(), body, cls=cls), 400)
    assert drain(config.bus_url) == []


def test_too_large_is_refused_by_its_head_and_while_reading(serving: Serving, config: HubConfig) -> None:
    client = serving(max_body=10_000)
    body = batch("r-1", records=20_000)
    check_error(post(client, body), 413)
    chunked = client.post(
        "/v1/intake/control/r-1",
        content=(body[n : n + 1000] for n in range(0, len(body), 1000)),
        headers=bearer(token()),
    )
    check_error(chunked, 413)
    assert post(client, batch("r-1")).status_code == 204
    assert drain(config.bus_url) == [batch("r-1")]


def test_compressed_bodies_are_not_unpacked(serving: Serving) -> None:
    answer = serving().post(
        "/v1/intake/control/r-1", content=b"x", headers={**bearer(token()), "content-encoding": "gzip"}
    )
    check_error(answer, 415)


def test_more_than_the_hub_may_hold_at_once_has_to_wait(config: HubConfig) -> None:
    """One sender stalls in the middle of a large body; another is told to come again, and gets in afterwards."""
    settings = replace(config, max_in_flight=500_000)
    big = batch("r-1", records=20_000)
    assert 300_000 < len(big) < 500_000, len(big)
    with server(settings) as client:
        url = httpx.URL(client.base_url)
        head = raw_head(url, len(big))
        with socket.create_connection((url.host, url.port)) as stalled:  # type: ignore[arg-type]
            stalled.sendall(head + big[:250_000])
            time.sleep(0.3)
            answer = post(client, big)
            check_error(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
            stalled.sendall(big[250_000:])
            assert stalled.recv(100).startswith(b"HTTP/1.1 204")
        assert post(client, big).status_code == 204
    assert drain(config.bus_url) == [big, big]


def test_a_sender_that_stops_sending_does_not_hold_its_place(config: HubConfig) -> None:
    with server(replace(config, read_timeout=0.3)) as client:
        url = httpx.URL(client.base_url)
        head = raw_head(url, 100)
        with socket.create_connection((url.host, url.port)) as slow:  # type: ignore[arg-type]
            slow.sendall(head + b"abc")
            assert b" 408 " in slow.recv(100)


def test_a_bus_that_is_away_is_503_and_what_was_refused_can_come_again(serving: Serving, config: HubConfig) -> None:
    """The spool's folder cannot be made: a file stands in its place."""
    spool = Path(config.bus_url.removeprefix("spool:"))
    spool.write_text("in the way")
    client = serving()
    answer = post(client, batch("r-1", 1))
    check_error(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    assert not client.get("/readyz").json()["bus"]["ok"]
    spool.unlink()
    ends = time.monotonic() + 15
    while post(client, batch("r-1", 1)).status_code != 204:
        assert time.monotonic() < ends
        time.sleep(0.2)
    assert drain(config.bus_url) == [batch("r-1", 1)]


def test_run_ids_of_any_shape_come_through(config: HubConfig) -> None:
    runs = ["run with space", "ü-run", "a%2Fb", "x" * 200, "a+b", "a?b#c"]
    with server(config) as client:
        for run in runs:
            given = client.post("/v1/connect", json={"run": run}).json()["token"]
            answer = client.post(
                f"/v1/intake/states/{quote(run, safe='')}", content=batch(run, cls=Class.STATES), headers=bearer(given)
            )
            assert answer.status_code == 204, answer.text
    assert sorted(drain(config.bus_url)) == sorted(batch(run, cls=Class.STATES) for run in runs)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "a b"])
def test_a_foreign_host_name_is_refused_on_loopback(serving: Serving, host: str) -> None:
    check_error(serving().get("/v1/hello", headers={"host": host}), 421)


def test_a_web_page_may_not_post(serving: Serving) -> None:
    client = serving()
    check_error(client.post("/v1/connect", json={"run": "r"}, headers={"origin": "http://evil.example"}), 403)


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/v1/intake/control/r-1"])
def test_every_answer_carries_the_security_headers(serving: Serving, path: str) -> None:
    headers = serving().get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_errors_of_the_framework_have_the_same_shape(serving: Serving) -> None:
    client = serving()
    check_error(client.get("/nothing"), 404)
    check_error(client.put("/v1/hello"), 405)
    check_error(client.get("/v1/hello?" + "x" * 10_000), 414)


def test_alive_and_ready(serving: Serving) -> None:
    client = serving(**LOCKED)
    assert client.get("/healthz").json()["status"] == "ok"
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "store": {"ok": True, "reason": ""}, "bus": {"ok": True, "reason": ""}}


def test_not_ready_without_a_schema_and_ready_after_the_migration(
    serving: Serving, config: HubConfig, empty_database: Path
) -> None:
    path = Path(config.database_url.removeprefix("sqlite:///"))
    path.unlink()
    client = serving()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "heliograph migrate" in answer.json()["store"]["reason"]
    assert str(path) not in answer.text
    assert client.get("/healthz").status_code == 200
    shutil.copy(empty_database, path)
    assert client.get("/readyz").status_code == 200


def test_no_secret_reaches_a_log(serving: Serving, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    blocked = tmp_path / "file"
    blocked.write_text("")
    client = serving(
        bus_url=f"spool:{blocked}/x",
        database_url="postgresql://user:db-password@127.0.0.1:1/db",
        public_bus_url="amqp://agent:bus-password@broker/h",
        **LOCKED,
    )
    given = client.post("/v1/connect", json={"run": "r-1"}, headers=bearer(JOIN)).json()["token"]
    assert post(client, batch("r-1"), auth=given).status_code == 503
    answers = [client.get(path, headers=bearer(READ)) for path in ("/", "/v1/runs", "/readyz", "/metrics")]
    assert [a.status_code for a in answers] == [200, 503, 503, 200]
    said = caplog.text + "".join(a.text for a in answers)
    for secret in (given, JOIN, READ, "db-password", "bus-password", "s" * 32):
        assert secret not in said


def test_a_signing_secret_that_others_can_read_stops_the_hub(config: HubConfig, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x" * 64)
    secret.chmod(0o644)
    with pytest.raises(BadConfig, match="0600"):
        create_app(replace(config, signing_secret=None, signing_secret_file=secret))


def test_tokens_outlive_a_restart_with_a_secret_file(config: HubConfig, tmp_path: Path) -> None:
    kept = replace(config, signing_secret=None, signing_secret_file=tmp_path / "state" / "secret")
    with server(kept) as client:
        given = client.post("/v1/connect", json={"run": "r-1"}).json()["token"]
    with server(kept) as client:
        assert post(client, batch("r-1"), auth=given).status_code == 204
    with server(replace(config, signing_secret=None)) as client:
        assert post(client, batch("r-1"), auth=given).status_code == 401


def test_stopping_leaves_no_publisher_thread(config: HubConfig) -> None:
    with server(config) as client:
        client.post("/v1/connect", json={"run": "r"})
    assert not [t for t in threading.enumerate() if t.name.startswith("publisher-")]
