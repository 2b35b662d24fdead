"""`heliograph view`: which databases it opens, what it says of others, and that one of Parsl's stays as it is."""

from __future__ import annotations

import datetime
import hashlib
import json
import socket
import sqlite3
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from heliograph_server.__main__ import main
from heliograph_store.migrate import migrate


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What `heliograph view` says before it gives up."""
    assert main(["view", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "heliograph.db"
    migrate(f"sqlite:///{path}")
    return path


def test_what_cannot_be_shown_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no runinfo/monitoring.db here" in complaint(capsys, "--port", "0")
    assert "no such file" in complaint(capsys, "nothing.db", "--port", "0")
    assert "is a folder" in complaint(capsys, str(tmp_path), "--port", "0")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be taken for something" * 20)
    assert "not a sound SQLite database" in complaint(capsys, "text.db", "--port", "0")
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    assert "nor is it Parsl's" in complaint(capsys, "other.db", "--port", "0")
    assert "mysql" in complaint(capsys, "mysql://host/db", "--port", "0")


def test_a_newer_database_is_not_guessed_at(capsys: pytest.CaptureFixture[str], ours: Path) -> None:
    with closing(sqlite3.connect(ours)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert "newer Heliograph" in complaint(capsys, str(ours), "--port", "0")


def test_a_port_in_use_and_an_open_address(capsys: pytest.CaptureFixture[str], ours: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "is in use" in complaint(capsys, str(ours), "--port", str(taken.getsockname()[1]))
    said = complaint(capsys, str(ours), "--port", "0", "--listen", "0.0.0.0")
    assert "let everybody in" in said
    assert "HELIOGRAPH_DASHBOARD_PASSWORD_FILE" in said


def parsls(path: Path) -> None:
    """A database as Parsl's own monitoring leaves it."""
    from parsl.monitoring.db_manager import TASK, WORKFLOW, Database

    at = datetime.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as Parsl writes it
    old = Database(f"sqlite:///{path}")
    workflow = {
        "run_id": "old-run", "workflow_name": "From before", "workflow_version": "1", "time_began": at,
        "time_completed": at, "host": "login1", "user": "ada", "rundir": "/runs/000",
        "tasks_failed_count": 0, "tasks_completed_count": 1,
    }  # fmt: skip
    old.insert(table=WORKFLOW, messages=[workflow])
    task = {
        "task_id": 0, "run_id": "old-run", "task_depends": "", "task_func_name": "hello", "task_memoize": "0",
        "task_inputs": "", "task_outputs": "", "task_stdin": "", "task_stdout": "", "task_stderr": "",
        "task_time_invoked": at, "task_time_returned": at, "task_fail_count": 0, "task_fail_cost": 0.0,
    }  # fmt: skip
    old.insert(table=TASK, messages=[task])
    old.eng.dispose()


def test_a_database_of_parsls_is_shown_and_stays_as_it_was(tmp_path: Path, open_dashboard: Callable[..., str]) -> None:
    path = tmp_path / "runinfo" / "monitoring.db"
    path.parent.mkdir()
    parsls(path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    url = open_dashboard(path)
    with urllib.request.urlopen(f"{url}/export/workflows.json") as answer:
        (run,) = json.load(answer)
    assert (run["name"], run["tasks"], run["owner"]) == ("From before", 1, "ada")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["monitoring.db"]


def test_health_and_metrics(ours: Path, open_dashboard: Callable[..., str]) -> None:
    url = open_dashboard(ours)
    answers = {path: urllib.request.urlopen(url + path).read().decode() for path in ("/healthz", "/readyz", "/metrics")}
    assert json.loads(answers["/healthz"])["status"] == "ok"
    assert json.loads(answers["/readyz"]) == {"ready": True, "store": {"ok": True, "reason": ""}}
    assert "heliograph_dashboard_store_up 1.0" in answers["/metrics"]
    assert 'heliograph_dashboard_answers_total{how="shared"} 0.0' in answers["/metrics"]
