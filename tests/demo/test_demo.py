"""The demo as a person runs it, and its check, which must fail when the database has lost something."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that was run once and agreed with its ledger."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    environment = {**os.environ, "HELIOGRAPH_STATE_DIR": str(folder.parent / "state")}
    ran = subprocess.run(
        [sys.executable, str(DEMO / "run.py"), "--once", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "ledger and database agree" in ran.stdout
    return folder


def check(folder: Path, database: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(DEMO / "check.py"), str(folder / "ledger.jsonl"), str(database)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_database_agrees_with_the_ledger(finished: Path) -> None:
    assert check(finished, finished / "heliograph.db").returncode == 0


@pytest.mark.parametrize("table", ["tasks", "tries"])
def test_one_missing_row_is_noticed(finished: Path, tmp_path: Path, table: str) -> None:
    copy = tmp_path / "copy.db"
    shutil.copy(finished / "heliograph.db", copy)
    with sqlite3.connect(copy) as connection:
        one = connection.execute(f"SELECT run, task FROM {table} ORDER BY task LIMIT 1 OFFSET 5").fetchone()
        connection.execute(f"DELETE FROM {table} WHERE run = ? AND task = ?", one)
    connection.close()
    result = check(finished, copy)
    assert result.returncode == 1
    assert f"task {one[1]}" in result.stderr


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    ran = subprocess.run(
        [sys.executable, str(DEMO / "run.py"), "--once", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert (tmp_path / "thesis.tex").exists()
