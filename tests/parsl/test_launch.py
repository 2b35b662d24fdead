"""Finding out where a run's records go: the launcher's decisions, and the process that it becomes."""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from heliograph import launch
from heliograph.handshake import NoHub, Refused, connect
from heliograph.route import read_route


def _plan(folder: Path, **more: Any) -> launch.Plan:
    base: dict[str, Any] = {
        "run": "r1",
        "run_dir": str(folder / "runinfo" / "000"),
        "config_run_dir": str(folder / "runinfo"),
        "owner_pid": os.getpid(),
        "owner_start": 5,
    }
    return launch.Plan(**{**base, **more})


class _Hub(ThreadingHTTPServer):
    """What a hub answers, as far as a launcher asks."""

    service = "heliograph"
    token: str | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[Any] = []


class _Answers(BaseHTTPRequestHandler):
    server: _Hub

    def do_GET(self) -> None:
        self._answer(200, {"service": self.server.service, "version": 1, "bus": None, "intake": "/v1/intake"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.token is not None and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._answer(401, {"error": "who?"})
            return
        self.server.asked.append(json.loads(body))
        self._answer(200, {"bus": "amqp://pub:secret@broker/v", "token": "run-token", "time": 1})

    def _answer(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def a_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Hub]:
    for name in ("HELIOGRAPH_BUS", "HELIOGRAPH_TOKEN", "HELIOGRAPH_JOIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    server = _Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _address(server: _Hub) -> str:
    return f"127.0.0.1:{server.server_address[1]}"


def test_a_bus_that_was_given_needs_no_more(tmp_path: Path) -> None:
    plan = _plan(tmp_path, bus="amqp://me:pw@broker/v", hub="nowhere:1", interval=3.0)
    assert launch.carry_out(plan) is None
    route = read_route(plan.run_dir)
    assert route is not None
    assert (route.bus, route.interval) == ("amqp://me:pw@broker/v", 3.0)
    path = Path(plan.run_dir) / ".heliograph" / "route.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_environments_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_BUS", "https://hub:55055")
    monkeypatch.setenv("HELIOGRAPH_TOKEN", "t")
    plan = _plan(tmp_path)
    launch.carry_out(plan)
    route = read_route(plan.run_dir)
    assert route is not None
    assert (route.bus, route.token) == ("https://hub:55055", "t")


def test_a_hub_that_answers(tmp_path: Path, a_hub: _Hub) -> None:
    plan = _plan(tmp_path, hub=_address(a_hub))
    assert launch.carry_out(plan) is None
    route = read_route(plan.run_dir)
    assert route is not None
    assert (route.bus, route.token) == ("amqp://pub:secret@broker/v", "run-token")
    assert a_hub.asked == [{"run": "r1", "run_dir": plan.run_dir}]


def test_the_join_token(a_hub: _Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    a_hub.token = "join me"
    with pytest.raises(Refused, match="join token"):
        connect(_address(a_hub), run="r")
    monkeypatch.setenv("HELIOGRAPH_JOIN_TOKEN", "join me")
    assert connect(_address(a_hub), run="r").token == "run-token"


def test_who_knows_the_hubs_certificate_asks_nobody_without_one(a_hub: _Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of many users anybody can take the port first, and would be given the token and the records."""
    monkeypatch.setenv("HELIOGRAPH_JOIN_TOKEN", "join me")
    monkeypatch.setenv("HELIOGRAPH_TLS_FINGERPRINT", "sha256:" + "0" * 64)
    with pytest.raises(NoHub, match="https: "):
        connect(_address(a_hub), run="r", timeout=1.0)
    assert a_hub.asked == []
    assert connect(f"http://{_address(a_hub)}", run="r").token == "run-token"


def test_an_open_port_is_no_hub(a_hub: _Hub) -> None:
    a_hub.service = "something else"
    with pytest.raises(NoHub, match="not a Heliograph hub"):
        connect(_address(a_hub), run="r")
    assert a_hub.asked == []


def test_a_port_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(NoHub):
            connect(f"127.0.0.1:{silent.getsockname()[1]}", run="r", timeout=0.3)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("address", ["", "host:port", "ftp://x", "host:99999999"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(NoHub):
        connect(address, run="r", timeout=0.2)


def test_the_embedded_writer_where_no_hub_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(launch, "HUB_PATIENCE", 0.0)
    monkeypatch.delenv("HELIOGRAPH_BUS", raising=False)
    plan = _plan(tmp_path, hub="127.0.0.1:1")
    command = launch.carry_out(plan)
    database = tmp_path / "runinfo" / "monitoring.db"
    assert command is not None
    assert command[1:6] == ["-m", "heliograph.cli", "embedded", "--database", f"sqlite:///{database}"]
    assert command[-4:] == ["--owner-pid", str(os.getpid()), "--owner-start", "5"]
    route = read_route(plan.run_dir)
    assert route is not None
    assert route.bus == f"spool:{database}.spool"
    assert "No hub answers" in caplog.text


def test_a_database_of_parsls_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = tmp_path / "monitoring.db"
    with sqlite3.connect(old) as database:
        database.execute("CREATE TABLE workflow (run_id TEXT)")
    database.close()
    before = old.read_bytes()
    with caplog.at_level(logging.WARNING):
        url, spool = launch.database_and_spool(None, tmp_path)
    assert (url, spool) == (f"sqlite:///{tmp_path}/heliograph.db", tmp_path / "heliograph.db.spool")
    assert old.read_bytes() == before
    assert len(caplog.records) == 1


def test_a_database_of_ours_is_used_again(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "monitoring.db") as database:
        database.execute("CREATE TABLE runs (id INTEGER)")
        database.execute("CREATE VIEW workflow AS SELECT id AS run_id FROM runs")
    database.close()
    assert launch.database_and_spool(None, tmp_path)[0] == f"sqlite:///{tmp_path}/monitoring.db"


def test_the_logging_endpoint_is_where_the_database_goes(tmp_path: Path) -> None:
    endpoint = f"sqlite:///{tmp_path}/elsewhere.db"
    assert launch.database_and_spool(endpoint, tmp_path / "runinfo")[0] == endpoint


def test_another_kind_of_database_is_said_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url, _ = launch.database_and_spool("mysql://me:hunter2@db/x", tmp_path)
    assert url == f"sqlite:///{tmp_path}/monitoring.db"
    assert "neither a SQLite file nor PostgreSQL" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_server_has_a_spool_of_its_own_beside_the_runs(tmp_path: Path) -> None:
    url, spool = launch.database_and_spool("postgresql+psycopg2://me:hunter2@db/x", tmp_path)
    assert url == "postgresql://me:hunter2@db/x"
    assert spool.parent == tmp_path
    assert spool != launch.database_and_spool("postgresql://me:hunter2@db/y", tmp_path)[1]


def test_a_folder_that_cannot_be_written_is_said_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    url, _ = launch.database_and_spool(f"sqlite:///{tmp_path}/file/deep/m.db", tmp_path)
    assert url == f"sqlite:///{tmp_path}/monitoring.db"
    assert "Nothing can be written into" in caplog.text


def _children(word: str) -> list[str]:
    """This process's children whose command line holds the word."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True
    )
    return [line for line in listed.stdout.splitlines() if word in line]


def test_the_process_is_detached_and_tells_no_secret_on_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "runinfo" / "000"
    run_dir.mkdir(parents=True)
    seen = tmp_path / "seen"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nps -o args= -p $$ > {seen}.args\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    began = time.monotonic()
    assert launch.start("r1", str(run_dir), bus="amqp://me:hunter2@broker/v")
    assert time.monotonic() - began < 0.2
    _until(lambda: read_route(run_dir) is not None)
    assert "hunter2" not in Path(f"{seen}.args").read_text()
    assert not _children("heliograph.launch")
    log = (run_dir / "heliograph.log").read_text()
    assert "hunter2" not in log
    assert "amqp://broker/v" in log


def test_relative_paths_are_those_of_the_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "runinfo" / "000"
    assert launch.start("r1", str(run_dir), bus="spool:here")
    _until(lambda: read_route(run_dir) is not None)
    route = read_route(run_dir)
    assert route is not None
    assert route.bus == f"spool:{tmp_path}/here"


def test_a_python_that_does_not_start_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    launch.start("r1", str(tmp_path), bus="spool:/x")
    monkeypatch.setattr(sys, "executable", "")
    assert not launch.start("r1", str(tmp_path), bus="spool:/x")


def _until(true: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
