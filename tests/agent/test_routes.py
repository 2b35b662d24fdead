"""Where records go: environment, route file, hub, and the run directory's spool when nothing else works."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from heliograph.agent.forward import Forwarder, announce
from heliograph.agent.routes import NoRoute, Resolver, Target, ask_hub
from heliograph.route import Route, RouteFile, read_route, route_path, spool_path, write_route


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HELIOGRAPH_BUS", "HELIOGRAPH_BUS_FILE", "HELIOGRAPH_TOKEN", "HELIOGRAPH_JOIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def silent(_: Route) -> Target:
    raise OSError("nobody answers")


def test_the_environment_comes_first_then_the_file_then_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = Route(run="r", run_dir=str(tmp_path), hub="hub:1")
    by_hub = Target(bus="http://hub:1", token="t")
    assert Resolver(route, ask=lambda _: by_hub).target() == by_hub
    write_route(tmp_path, RouteFile(bus="spool:/file", token="f"))
    assert Resolver(route, ask=lambda _: by_hub).target().bus == "spool:/file"
    (tmp_path / "secret").write_text("spool:/environment\n")
    monkeypatch.setenv("HELIOGRAPH_BUS_FILE", str(tmp_path / "secret"))
    assert Resolver(route, ask=lambda _: by_hub).target().bus == "spool:/environment"


def test_a_route_file_that_comes_late_is_found_soon(tmp_path: Path) -> None:
    clock = Clock()
    resolver = Resolver(Route(run="r", run_dir=str(tmp_path)), clock=clock)
    with pytest.raises(NoRoute):
        resolver.target()
    write_route(tmp_path, RouteFile(bus="spool:/late"))
    clock.time = 1.5
    assert resolver.target().bus == "spool:/late"


def test_without_a_route_the_spool_is_used_after_a_grace_and_left_when_one_comes(tmp_path: Path) -> None:
    clock = Clock()
    resolver = Resolver(Route(run="r", run_dir=str(tmp_path), hub="hub:1"), ask=silent, clock=clock)
    with pytest.raises(NoRoute):
        resolver.target()
    clock.time = 29.0
    with pytest.raises(NoRoute):
        resolver.target()
    clock.time = 31.0
    assert resolver.target() == Target(bus=f"spool:{spool_path(tmp_path)}", fallback=True)
    write_route(tmp_path, RouteFile(bus="amqp://u:p@broker/"))
    clock.time = 60.0
    found = resolver.target()
    assert not found.fallback
    assert "u:p" not in repr(found)


def test_a_bus_out_of_reach_means_the_spool_but_not_on_the_submitting_node(tmp_path: Path) -> None:
    write_route(tmp_path, RouteFile(bus="amqp://broker/"))
    for owner in (False, True):
        clock = Clock()
        resolver = Resolver(Route(run="r", run_dir=str(tmp_path), owner=owner), clock=clock)
        for clock.time in (0.0, 10.0, 20.0, 31.0):
            target = resolver.target()
            resolver.failed(target)
        assert target.fallback != owner
        resolver.try_again()
        assert resolver.target().bus == "amqp://broker/"


def test_without_anything_visible_nothing_is_made_up(tmp_path: Path) -> None:
    clock = Clock()
    resolver = Resolver(Route(run="r", run_dir=str(tmp_path / "not here")), clock=clock)
    for clock.time in (0.0, 100.0):
        with pytest.raises(NoRoute):
            resolver.target()


def test_a_run_directory_that_cannot_be_looked_at_is_none(tmp_path: Path) -> None:
    """As with an expired ticket or a stale handle; a name that no file can have is refused to root as well."""
    route = Route(run="r", run_dir=str(tmp_path / ("x" * 300)))
    clock = Clock()
    resolver = Resolver(route, clock=clock)
    resolver.failed(None)
    clock.time = 60.0
    assert resolver.until_fallback() == float("inf")
    with pytest.raises(NoRoute):
        resolver.target()
    announce(route.run_dir)
    assert not Forwarder(route, "agent").expects(clock.time)


def test_a_route_file_of_others_or_broken_is_not_used(tmp_path: Path) -> None:
    path = write_route(tmp_path, RouteFile(bus="spool:/x", token="secret"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_route(tmp_path) == RouteFile(bus="spool:/x", token="secret")
    assert "secret" not in repr(read_route(tmp_path))
    path.chmod(0o644)
    assert read_route(tmp_path) is None
    path.chmod(0o600)
    for broken in ("", "[]", "{}", '{"bus": 3}', "\xff"):
        path.write_text(broken, encoding="latin-1")
        assert read_route(tmp_path) is None
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert read_route(tmp_path) is None
    assert read_route("") is None
    assert route_path(tmp_path) == path


class Hub(BaseHTTPRequestHandler):
    answer: tuple[int, object] = (200, {})
    asked: ClassVar[list[tuple[str, object, str | None]]] = []

    def do_GET(self) -> None:
        self._say(200, {"service": "heliograph", "version": 1, "bus": None, "intake": "/v1/intake"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Hub.asked.append((self.path, body, self.headers.get("Authorization")))
        self._say(*Hub.answer)

    def _say(self, status: int, answer: object) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Hub.asked = []
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_is_asked_with_the_join_token(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_JOIN_TOKEN", "let-me-in")
    Hub.answer = (200, {"bus": "http://hub:55055", "token": "publish", "time": 1})
    answer = ask_hub(Route(run="r", run_dir="/d", hub=hub))
    assert answer == Target(bus="http://hub:55055", token="publish")
    assert Hub.asked == [("/v1/connect", {"run": "r", "run_dir": "/d"}, "Bearer let-me-in")]


@pytest.mark.parametrize("answer", [(401, {}), (200, []), (200, {"bus": None}), (503, {"bus": "amqp://x"})])
def test_an_answer_that_is_no_route_is_none(hub: str, answer: tuple[int, object]) -> None:
    Hub.answer = answer
    with pytest.raises(NoRoute):
        Resolver(Route(run="r", hub=hub)).target()


def test_a_hubs_clock_is_compared_with_ours(hub: str) -> None:
    slow = 90_000_000
    Hub.answer = (200, {"bus": "http://hub:55055", "time": time.time_ns() // 1000 - slow})
    resolver = Resolver(Route(run="r", hub=hub))
    assert resolver.clock_offset is None
    resolver.target()
    assert resolver.clock_offset is not None
    assert 0 <= resolver.clock_offset - slow < 30_000_000
    for wrong in (None, "now", -1, 1e300):
        Hub.answer = (200, {"bus": "http://hub:55055", "time": wrong})
        assert ask_hub(Route(run="r", hub=hub)).clock_offset is None
