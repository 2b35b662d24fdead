"""One workflow over three ways into two databases ends in the same rows, wherever values are determined."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fixtures.broker import Broker

WORKFLOW = Path(__file__).with_name("workflow_small.py")
QUERIES = {
    "workflow": "SELECT workflow_name, tasks_failed_count, tasks_completed_count FROM workflow WHERE run_id = :run",
    "task": """SELECT task_id, task_func_name, task_depends, task_memoize, task_hashsum, task_inputs, task_outputs,
                      task_stdin, task_fail_count, task_fail_cost FROM task WHERE run_id = :run""",
    "try": """SELECT task_id, try_id, block_id, task_executor, task_joins, task_fail_history,
                     task_try_time_launched IS NULL, task_try_time_running IS NULL, task_try_time_returned IS NULL
              FROM try WHERE run_id = :run""",
    "status": "SELECT task_id, try_id, task_status_name FROM status WHERE run_id = :run",
    # Which statuses of a block are seen depends on when Parsl polls.
    "block": "SELECT DISTINCT executor_label, block_id FROM block WHERE run_id = :run",
    "node": "SELECT DISTINCT block_id, worker_count, python_v FROM node WHERE run_id = :run",
}


@contextlib.contextmanager
def writing(bus: str, database: str, folder: Path) -> Iterator[None]:
    """A writer process from this bus to this database."""
    environment = {**os.environ, "HELIOGRAPH_BUS": bus, "HELIOGRAPH_DATABASE": database}
    subprocess.run([sys.executable, "-m", "heliograph.cli", "migrate"], env=environment, check=True)
    with (folder / "writer.log").open("wb") as log:
        writer = subprocess.Popen(
            [sys.executable, "-m", "heliograph.cli", "writer", "--health-port", "0"],
            env=environment,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            writer.terminate()
            writer.wait(30)


def run_workflow(folder: Path, bus: str) -> str:
    """Run it to its end with a state folder of its own, so that its agent is its own."""
    environment = {**os.environ, "HELIOGRAPH_STATE_DIR": str(folder / "state")}
    subprocess.run(
        [sys.executable, str(WORKFLOW), str(folder), bus], env=environment, cwd=folder, check=True, timeout=120
    )
    return (folder / "run-id").read_text(encoding="utf-8")


def sql_rows(database: str, sql: str, run: str) -> list[Any]:
    """The rows of one query."""
    engine = sa.create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(sql), {"run": run})]
    finally:
        engine.dispose()


def rows(database: str, run: str) -> dict[str, list[list[Any]]]:
    """What the views say of the run, once its end and all final states have arrived."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        ended = sql_rows(database, "SELECT time_completed FROM workflow WHERE run_id = :run", run=run)
        running = sql_rows(
            database, "SELECT COUNT(*) FROM status WHERE run_id = :run AND task_status_name = 'running_ended'", run=run
        )
        if ended and ended[0][0] and running[0][0] >= RAN:
            break
        time.sleep(0.5)
    return {name: sorted(map(determined, sql_rows(database, sql, run=run)), key=str) for name, sql in QUERIES.items()}


def determined(row: Sequence[Any]) -> list[Any]:
    """The row without what differs from process to process (addresses and momentary states inside reprs), and with
    the words that PostgreSQL has for a flag in a text column, which Parsl leaves to the database, too."""
    row = [{"false": "0", "true": "1"}.get(v, v) if isinstance(v, str) else v for v in row]
    return [re.sub(r" at 0x[0-9a-f]+( state=\w+)?", "", v) if isinstance(v, str) else v for v in row]


RAN = 22
"""Tries that ran: 10 squares, 1 total, 2 of flaky, 2 of broken, 1 remembered, 2 of fails, 1 join body, 3 joined."""


@pytest.fixture(scope="module")
def by_spool(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[Any]]]:
    folder = tmp_path_factory.mktemp("spool")
    bus, database = f"spool:{folder / 'bus'}", f"sqlite:///{folder / 'store.db'}"
    with writing(bus, database, folder):
        return rows(database, run_workflow(folder, bus))


def test_the_rows_are_there_and_right(by_spool: dict[str, list[list[Any]]]) -> None:
    assert len(by_spool["task"]) == 21
    states = {(task, try_, state) for task, try_, state in by_spool["status"]}
    assert sum(1 for *_, state in states if state == "exec_done") == 17
    assert sum(1 for *_, state in states if state == "memo_done") == 1
    assert sum(1 for *_, state in states if state == "failed") == 2
    assert sum(1 for *_, state in states if state == "dep_fail") == 1
    assert sum(1 for *_, state in states if state == "fail_retryable") == 3
    assert by_spool["block"]


@pytest.mark.parametrize("target", ["sqlite", "postgres"])
def test_rabbitmq_brings_the_same_rows(
    target: str,
    by_spool: dict[str, list[list[Any]]],
    broker: Broker,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    bus = broker.new_url()
    database = f"sqlite:///{tmp_path / 'store.db'}" if target == "sqlite" else request.getfixturevalue("postgres_url")
    with writing(bus, database, tmp_path):
        found = rows(database, run_workflow(tmp_path, bus))
    for name, expected in by_spool.items():
        assert found[name] == expected, name
