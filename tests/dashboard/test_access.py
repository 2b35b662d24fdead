"""Who may look: closed settings, login, tokens, proxies, foreign names and origins, prefixes, headers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from heliograph_dashboard.app import create_app
from heliograph_dashboard.config import BadConfig, DashboardConfig
from heliograph_dashboard.login import _inside
from heliograph_dashboard.sessions import Guesses, Sessions
from heliograph_store.migrate import migrate

HTML = {"accept": "text/html"}
SECRET = "correct horse battery"
Open = Callable[..., TestClient]


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    migrate(url)
    return url


@pytest.fixture
def open_(database: str) -> Open:
    def make(client: str = "10.1.2.3", host: str = "127.0.0.1:8080", **settings: Any) -> TestClient:
        app = create_app(DashboardConfig(database_url=database, **settings))
        return TestClient(app, base_url=f"http://{host}", client=(client, 50000), follow_redirects=False)

    return make


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"host": "0.0.0.0"}, "let everybody in"),
        ({"host": "0.0.0.0", "password": "short", "plain_http": True}, "shorter"),
        ({"host": "0.0.0.0", "password": SECRET}, "without TLS"),
        ({"host": "node1.cluster"}, "let everybody in"),
        ({"user_header": "X-User"}, "trusted_proxies"),
        ({"trusted_proxies": ("everywhere",)}, "trusted_proxies"),
        ({"prefix": "no-slash"}, "begin with a slash"),
        ({"prefix": '/"><script>'}, "holds what"),
        ({"password": ""}, "not empty"),
        ({"token": "two words"}, "spaces"),
        ({"poll": 0.0}, "more than 0"),
    ],
)
def test_settings_that_would_open_a_door_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadConfig, match=re.escape(says)):
        DashboardConfig(database_url="sqlite:///x", **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "::1"},
        {"host": "0.0.0.0", "open": True},
        {"host": "0.0.0.0", "password": SECRET, "plain_http": True},
        {"host": "0.0.0.0", "user_header": "X-User", "trusted_proxies": ("10.0.0.0/8",)},
    ],
)
def test_settings_that_are_meant(settings: dict[str, Any]) -> None:
    config = DashboardConfig(database_url="postgresql://u:secret@h/d", **settings)
    assert "secret" not in repr(config)
    assert SECRET not in repr(config)


def test_an_open_dashboard_answers_to_no_foreign_name(open_: Open) -> None:
    client = open_()
    for host in ("127.0.0.1:8080", "localhost:9999", "[::1]:8080"):
        assert client.get("/", headers={"host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert client.get("/", headers={"host": host}).status_code == 421
    assert open_(allowed_hosts=("head1",)).get("/", headers={"host": "head1:8080"}).status_code == 200


def test_nobody_sees_anything_without_the_password(open_: Open) -> None:
    client = open_(password=SECRET)
    for path in ("/_dash-layout", "/_dash-dependencies", "/live", "/export/workflows.csv", "/metrics"):
        assert client.get(path).status_code == 401, path
    assert client.post("/_dash-update-component", json={}).status_code == 401
    answer = client.get("/runs/abc?x=1", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?to=%2Fruns%2Fabc%3Fx%3D1")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live"):
        pass
    assert client.get("/healthz").status_code == 200


def test_login_gives_a_cookie_that_only_the_browser_can_read(open_: Open) -> None:
    client = open_(password=SECRET, token="a-token-that-is-long")
    assert "password" in client.get("/login").text
    assert client.post("/login", data={"secret": "wrong"}).status_code == 403
    answer = client.post("/login", data={"secret": SECRET, "to": "/runs/abc?x=1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/abc?x=1")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert client.get("/", headers=HTML).status_code == 200
    assert client.post("/logout").status_code == 303
    assert client.get("/", headers=HTML).status_code == 303


def test_a_token_once_in_the_url_becomes_a_cookie(open_: Open) -> None:
    client = open_(token="a-token-that-is-long")
    answer = client.get("/runs/a%20b?token=a-token-that-is-long&state=failed", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/a%20b?state=failed")
    assert client.get("/").status_code == 200
    other = open_(token="a-token-that-is-long")
    assert other.get("/", headers={"authorization": "Bearer a-token-that-is-long"}).status_code == 200
    assert other.get("/", headers={"authorization": "Bearer a-token"}).status_code == 401
    assert other.get("/?token=wrong").status_code == 401


def test_the_password_does_not_work_from_the_url(open_: Open) -> None:
    assert open_(password=SECRET).get("/", params={"token": SECRET}).status_code == 401


def test_guessing_gets_slow(open_: Open) -> None:
    client = open_(password=SECRET)
    codes = [client.post("/login", data={"secret": f"guess {n}"}).status_code for n in range(8)]
    assert codes == [403] * 5 + [429] * 3
    assert client.post("/login", data={"secret": SECRET}).status_code == 429
    assert client.get("/", headers={"authorization": "Bearer nope"}).status_code == 429


@pytest.mark.parametrize(("token", "comes_in"), [("t0ken-" + "made-by-a-machine", True), ("short-and-sad", False)])
def test_a_right_token_that_nobody_can_guess_never_waits(open_: Open, token: str, comes_in: bool) -> None:
    client = open_(token=token)
    wrong = {"authorization": f"Bearer {token[:-1]}x"}
    assert [client.get("/", headers=wrong).status_code for _ in range(7)] == [401] * 5 + [429] * 2
    codes = [client.get("/", headers={"authorization": f"Bearer {token}"}).status_code for _ in range(3)]
    assert codes == [200 if comes_in else 429] * 3
    assert client.get("/", headers=wrong).status_code == 429


def test_a_form_that_is_none_is_refused(open_: Open) -> None:
    fields = "&".join(f"field{n}=x" for n in range(20))
    assert open_(password=SECRET).post("/login", content=fields).status_code == 400


def test_guesses_fade_and_are_counted_for_all_addresses_together() -> None:
    now = [0.0]
    guesses = Guesses(clock=lambda: now[0])
    for _ in range(5):
        guesses.wrong("a")
    assert guesses.wait("a") > 0
    assert guesses.wait("b") == 0
    now[0] += 15
    assert guesses.wait("a") == 0
    for n in range(40):
        guesses.wrong(f"address {n}")
    assert guesses.wait("new") > 0


def test_cookies_end_and_cannot_be_made_up() -> None:
    now = [1000.0]
    config = DashboardConfig(database_url="sqlite:///x", password=SECRET, session_lifetime=60)
    sessions = Sessions(config, clock=lambda: now[0])
    cookie = sessions.cookie()
    assert sessions.valid(cookie)
    assert not sessions.valid("9" + cookie)
    assert not sessions.valid("2000.")
    assert not sessions.valid("²000.é")
    assert not Sessions(config, clock=lambda: now[0]).valid(cookie)
    now[0] += 61
    assert not sessions.valid(cookie)


def test_a_proxys_user_header_counts_from_that_proxy_only(open_: Open) -> None:
    settings: dict[str, Any] = {"user_header": "X-Remote-User", "trusted_proxies": ("10.1.0.0/16",)}
    user = {"x-remote-user": "ada", "host": "hub.example"}
    assert open_(client="10.1.2.3", **settings).get("/", headers=user).status_code == 200
    assert open_(client="10.1.2.3", **settings).get("/", headers={"x-remote-user": " "}).status_code == 401
    assert open_(client="10.2.2.3", **settings).get("/", headers=user).status_code == 401
    assert open_(client="::ffff:10.1.2.3", **settings).get("/", headers=user).status_code == 200


@pytest.mark.parametrize("more", [{}, {"user_header": "X-Remote-User"}, {"user_header": "X-Remote-User", "token": "t"}])
def test_behind_a_proxy_on_this_machine_foreign_names_lead_nowhere(open_: Open, more: dict[str, Any]) -> None:
    """A page whose name was bound to 127.0.0.1 comes from where the proxy does, with whatever headers it likes."""
    settings: dict[str, Any] = {"trusted_proxies": ("127.0.0.1",), "allowed_hosts": ("site.example",), **more}
    client = open_(client="127.0.0.1", **settings)
    for host, status in (("evil.example", 421), ("site.example", 200), ("127.0.0.1:8080", 200)):
        headers = {"x-remote-user": "ada", "x-forwarded-host": "site.example", "host": host}
        assert client.get("/export/workflows.csv", headers=headers).status_code == status


def test_requests_from_other_pages_change_nothing(open_: Open) -> None:
    client = open_()
    here = {"host": "127.0.0.1:8080"}  # the test client's sockets have another one
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        assert client.post("/_dash-update-component", headers={"origin": origin}, json={}).status_code == 403
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/live", headers={"origin": origin, **here}):
            pass
    assert client.post("/_dash-update-component", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post("/_dash-update-component", headers={"origin": "http://127.0.0.1:8080"}).status_code == 400
    with client.websocket_connect("/live", headers={"origin": "http://127.0.0.1:8080", **here}) as socket:
        socket.send_json({"run": None})


def test_prefixes_of_proxies(open_: Open) -> None:
    """Set, or told by a trusted proxy; taken away on the way or not."""
    client = open_(prefix="/node/n1/8080/")
    for path in ("/", "/node/n1/8080/", "/node/n1/8080/runs/x"):
        answer = client.get(path)
        assert 'src="/node/n1/8080/_dash-component-suites/' in answer.text, path
        assert '"requests_pathname_prefix":"\\u002fnode\\u002fn1\\u002f8080\\u002f"' in answer.text
    assert client.get("/node/n1/8080/assets/logo.svg").status_code == 200
    told = {"x-forwarded-prefix": "/user/ada/proxy"}
    assert 'src="/user/ada/proxy/_dash' in open_(trusted_proxies=("10.1.2.3",)).get("/", headers=told).text
    assert "/user/ada" not in open_().get("/", headers=told).text
    hostile = {"x-forwarded-prefix": '/"><script>alert(1)</script>'}
    assert "alert(1)" not in open_(trusted_proxies=("10.1.2.3",)).get("/", headers=hostile).text


def test_every_answer_carries_the_headers_that_browsers_heed(open_: Open) -> None:
    client = open_()
    for path in ("/", "/login", "/assets/logo.svg", "/nowhere/at/all", "/_dash-component-suites/dash/none.js"):
        headers = client.get(path).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert "unsafe" not in policy["script-src"]
        assert policy["default-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"


def test_what_is_no_callback_gets_an_answer_without_insides(open_: Open) -> None:
    client = open_()
    for body in (b"", b"{", b"[]", b'{"output": "nothing.children", "inputs": []}', b'{"output": 7}'):
        answer = client.post("/_dash-update-component", content=body)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert client.post("/_dash-update-component", content=b"x" * (5 << 20)).status_code == 413
    assert client.get("/", params={"x": "y" * 9000}).status_code == 414


def test_a_body_that_never_ends_is_not_read_to_its_end(open_: Open) -> None:
    given = 0

    def endless() -> Iterator[bytes]:
        nonlocal given
        while given < 100 << 20:
            given += 1 << 20
            yield b"x" * (1 << 20)

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": next(parts), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    parts = endless()
    headers = [(b"host", b"127.0.0.1:8080")]
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/_dash-update-component"}
    scope |= {
        "headers": headers,
        "query_string": b"",
        "client": ("127.0.0.1", 5),
        "scheme": "http",
        "http_version": "1.1",
    }
    app: Any = open_().app  # without the test client, which gathers a body before it sends it
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413
    assert given < 8 << 20


@pytest.mark.parametrize("run", ["\\ud800", "a\\u0000b"])
def test_a_viewer_of_what_cannot_be_a_run_does_not_silence_the_others(open_: Open, run: str) -> None:
    """What no database can look up ended the one round of questions that is for all."""
    with open_(poll=0.1) as client:
        here = {"host": "127.0.0.1:8080"}
        with (
            client.websocket_connect("/live", headers=here) as bad,
            client.websocket_connect("/live", headers=here) as good,
        ):
            bad.send_text(f'{{"run": "{run}"}}')
            for _ in range(3):
                good.send_json({"run": None})
                assert "version" in good.receive_json()
        assert client.get("/live", params={"run": "a\0b"}).status_code == 200


def test_nobody_is_sent_elsewhere_after_logging_in() -> None:
    for to in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nx: y",
        "//[",
        "",
    ):
        assert _inside(to) == "/"
    assert _inside("/runs/a%20b?state=failed") == "/runs/a%20b?state=failed"
