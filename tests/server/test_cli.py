"""The commands, as a person types them: what they do, and one clear line when they cannot."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from heliograph.bus import open_publisher
from heliograph.messages import decode_batch
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.server.ingest import batches
from tests.store.parsl_run import recorded_by_parsl

TOKEN = "t0ken-of-the-tests-0123456789"


def heliograph(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")}
    environment |= {f"HELIOGRAPH_{name.upper()}": value for name, value in variables.items()}
    command = [sys.executable, "-m", "heliograph.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def refused(done: subprocess.CompletedProcess[str], told: str) -> None:
    """Exit status 2 and one line that says what is wrong."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("heliograph: ")]
    assert len(lines) == 1, done.stderr
    assert re.search(told, lines[0]), lines[0]
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database with one run of 20 tasks."""
    url = f"sqlite:///{tmp_path}/heliograph.db"
    migrate(url)
    with closing(connect(url)) as store:
        Writer(store).write([decode_batch(outgoing.body) for _, outgoing in batches("run-one", 20)])
    return url


def newer(url: str) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize("role", ["writer", "hub", "dashboard", "filewatch", "migrate"])
def test_roles_refuse_what_cannot_work(role: str, tmp_path: Path, database: str) -> None:
    given = {"bus": f"spool:{tmp_path}/spool", "data": str(tmp_path)}
    given |= {"health_port": "0", "hub_port": "0", "dashboard_port": "0"}
    missing = f"{tmp_path}/secrets/database"
    refused(heliograph(role, **given), "no database is named: give --database URL or set HELIOGRAPH_DATABASE")
    refused(heliograph(role, database_file=missing, **given), f"HELIOGRAPH_DATABASE_FILE names {missing}, which cannot")
    refused(heliograph(role, database=f"mysql://u:{TOKEN}@h/d", **given), "database URL of unknown kind")
    newer(database)
    refused(heliograph(role, database=database, **given), "newer Heliograph")


@pytest.mark.parametrize("role", ["writer", "hub", "filewatch"])
def test_roles_refuse_a_wrong_bus(role: str, database: str) -> None:
    refused(heliograph(role, database=database), "no bus is named")
    refused(heliograph(role, "--bus", f"ampq://u:{TOKEN}@h/", database=database), "has no known scheme")


def test_a_writer_cannot_consume_from_a_hub(database: str) -> None:
    refused(heliograph("writer", "--bus", "http://127.0.0.1:55055", database=database), "amqp:// or spool:")


def test_a_database_of_something_else_is_not_touched(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE workflow (run_id TEXT)")
    before = other.read_bytes()
    refused(heliograph("migrate", "--database", f"sqlite:///{other}"), "not touched")
    assert other.read_bytes() == before


@pytest.mark.parametrize("command", ["up", "hub"])
def test_a_port_in_use_is_told(command: str, tmp_path: Path, database: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = heliograph(
            command, "--port", str(port), data=str(tmp_path), database=database, bus=f"spool:{tmp_path}/s"
        )
    refused(done, f"port {port} on 127.0.0.1 is in use")


@pytest.mark.parametrize("command", ["up", "hub"])
def test_others_can_reach_it_only_with_tokens_and_tls(command: str, tmp_path: Path, database: str) -> None:
    known = {"data": str(tmp_path), "database": database, "bus": f"spool:{tmp_path}/s"}
    refused(heliograph(command, "--host", "0.0.0.0", "--port", "0", **known), "without join_token and read_token")
    tokens = {"join_token": TOKEN, "read_token": TOKEN}
    refused(heliograph(command, "--host", "0.0.0.0", "--port", "0", **known, **tokens), "without TLS")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(heliograph("up", "--data", f"{tmp_path}/file/data", "--port", "0"), "Not a directory")


def test_runs_are_listed_shown_tagged_and_deleted(database: str) -> None:
    assert "run-one" in heliograph("runs", "list", database=database).stdout
    shown = heliograph("runs", "show", "run-o", "--database", database)
    assert "20 exec_done" in shown.stdout
    assert heliograph("runs", "tag", "run-one", "who=me", "x=1", database=database).returncode == 0
    assert heliograph("runs", "tag", "run-one", "x=", database=database).returncode == 0
    listed = heliograph("runs", "list", database=database).stdout
    assert "who=me" in listed
    assert "x=1" not in listed
    assert heliograph("runs", "tag", "run-one", "t=a\x1b]0;b\x9b", database=database).returncode == 0
    assert "t=a\ufffd]0;b\ufffd" in heliograph("runs", "list", database=database).stdout, "terminals obey these"
    refused(heliograph("runs", "show", "nothing", database=database), "there is no run nothing")
    refused(heliograph("runs", "tag", "run-one", "who", database=database), "KEY=VALUE")
    refused(heliograph("runs", "delete", "run-one", database=database), "--yes")
    assert heliograph("runs", "delete", "run-one", "--yes", database=database).returncode == 0
    assert heliograph("runs", "list", database=database).stdout == "no runs\n"


def workflows(url: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return connection.execute("SELECT run_id, tasks_completed_count, tasks_failed_count FROM workflow").fetchall()


@pytest.mark.slow
def test_an_old_database_is_imported_directly_and_through_the_bus(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = recorded_by_parsl(tmp_path_factory)
    before = workflows(f"sqlite:///{old}")
    direct, piped = (f"sqlite:///{tmp_path}/{name}.db" for name in ("direct", "piped"))
    for _ in range(2):
        done = heliograph("import", str(old), "--database", direct)
        assert done.returncode == 0, done.stderr
    assert workflows(direct) == before

    bus = f"spool:{tmp_path}/spool"
    assert heliograph("import", str(old), "--bus", bus).returncode == 0
    migrate(piped)
    writer = subprocess.Popen(
        [sys.executable, "-m", "heliograph.cli", "writer", "--database", piped, "--bus", bus, "--health-port", "0"]
    )
    try:
        end = time.monotonic() + 30
        while workflows(piped) != before:
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        writer.terminate()
        assert writer.wait(30) == 0


def test_imports_that_cannot_work_say_why(tmp_path: Path, database: str) -> None:
    refused(heliograph("import", f"{tmp_path}/none.db", "--database", database), "no such file")
    refused(heliograph("import", database, "--database", database), "[Pp]arsl")
    refused(heliograph("import", database, "--database", database, "--zone", "Mars/Base"), "not a time zone")


def test_doctor_says_what_works(tmp_path: Path, database: str) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    done = heliograph("doctor", database=database, bus=f"spool:{tmp_path}/spool", state_dir=str(state))
    assert done.returncode == 0, done.stdout
    for part in ("heliograph", "parsl", "state folder", "disk", "agent", "bus", "dead letters", "hub", "database"):
        assert re.search(rf"^(ok  |--  )  {part}", done.stdout, re.MULTILINE), done.stdout


def broken_state(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "state").touch()
    return {"state_dir": str(tmp_path / "state")}


def broken_bus(tmp_path: Path) -> dict[str, str]:
    return {"bus": f"amqp://user:{TOKEN}@127.0.0.1:1/"}


def broken_database(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite:///{tmp_path}/newer.db"
    migrate(url)
    newer(url)
    return {"database": url}


def missing_hub(tmp_path: Path) -> dict[str, str]:
    return {"public_url": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (broken_state, "state folder"),
        (broken_bus, "bus"),
        (broken_database, "database"),
        (missing_hub, "hub"),
    ],
)
def test_doctor_says_what_does_not_and_what_to_do(
    broken: Callable[[Path], dict[str, str]], what: str, tmp_path: Path
) -> None:
    state = tmp_path / "good-state"
    state.mkdir(mode=0o700)
    done = heliograph("doctor", **{"state_dir": str(state), **broken(tmp_path)})
    assert done.returncode == 1, done.stdout
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert any(line[6:].startswith(what) for line in failed), done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_checks_a_route_file(tmp_path: Path) -> None:
    from heliograph.route import RouteFile, write_route

    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    write_route(tmp_path / "run", RouteFile(bus=f"spool:{tmp_path}/spool"))
    done = heliograph("doctor", "--run-dir", f"{tmp_path}/run", state_dir=str(state))
    assert done.returncode == 0, done.stdout
    assert "route's bus" in done.stdout
    (tmp_path / "run" / ".heliograph" / "route.json").chmod(0o644)
    done = heliograph("doctor", "--run-dir", f"{tmp_path}/run", state_dir=str(state))
    assert done.returncode == 1
    assert "mode 0600" in done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from heliograph.cli import build_parser; build_parser();"
        "heavy = ('sqlalchemy', 'fastapi', 'pydantic', 'uvicorn', 'pika', 'psutil', 'alembic');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


def test_logs_can_be_json(tmp_path: Path, database: str) -> None:
    bus = f"spool:{tmp_path}/spool"
    environment = {
        **os.environ,
        "HELIOGRAPH_LOG_FORMAT": "json",
        "HELIOGRAPH_DATABASE": database,
        "HELIOGRAPH_BUS": bus,
        "HELIOGRAPH_HEALTH_PORT": "0",
    }
    with closing(open_publisher(bus, name="test")) as publisher:
        publisher.publish([outgoing for _, outgoing in batches("run", 3)])
    writer = subprocess.Popen(
        [sys.executable, "-m", "heliograph.cli", "writer"], env=environment, stderr=subprocess.PIPE, text=True
    )
    time.sleep(3)
    writer.terminate()
    _, output = writer.communicate(timeout=30)
    assert writer.returncode == 0
    lines = [json.loads(line) for line in output.splitlines()]
    assert {"time", "level", "logger", "message", "pid"} <= lines[0].keys()
    assert any("the bus answers" in line["message"] for line in lines)


def test_a_wrong_token_is_told(tmp_path: Path, database: str) -> None:
    address = tmp_path / "address.json"
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    environment = {**os.environ, "HELIOGRAPH_JOIN_TOKEN": TOKEN}
    command = ["hub", "--database", database, "--bus", f"spool:{tmp_path}/spool", "--port", "0"]
    hub = subprocess.Popen(
        [sys.executable, "-m", "heliograph.cli", *command, "--address-file", str(address)], env=environment
    )
    try:
        end = time.monotonic() + 30
        while not address.exists():
            assert time.monotonic() < end
            time.sleep(0.1)
        at = json.loads(address.read_text())["hub"]
        wrong = heliograph("doctor", "--hub", at, state_dir=str(state), join_token="not-the-token-at-all")
        assert wrong.returncode == 1
        assert "the join token is missing or wrong" in wrong.stdout
        right = heliograph("doctor", "--hub", at, state_dir=str(state), join_token=TOKEN)
        assert right.returncode == 0, right.stdout
        assert TOKEN not in right.stdout + right.stderr
    finally:
        hub.terminate()
        assert hub.wait(30) == 0
    assert not address.exists()
