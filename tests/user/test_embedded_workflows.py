"""Workflows as a user runs them, with nothing set up: what is in the database, when, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from heliograph_store.read.liveness import LEASE, liveness
from heliograph_store.read.runs import Run, list_runs
from heliograph_store.store import connect

LOCAL = """
import os, sys, time, parsl
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor
from heliograph.parsl import MonitoringHub
parsl.load(Config(
    executors=[ThreadPoolExecutor(label="threads", max_threads=2)],
    monitoring=MonitoringHub(hub_address=None, resource_monitoring_interval=1, logging_endpoint=ENDPOINT),
))
@parsl.python_app
def square(x, wait=0.0):
    import time
    time.sleep(wait)
    return x * x
assert sum(future.result() for future in [square(n) for n in range(TASKS)]) == sum(n * n for n in range(TASKS))
"""
HTEX = """
import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.addresses import address_by_hostname
from heliograph.parsl import MonitoringHub
config = Config(
    executors=[HighThroughputExecutor(label="local_htex", max_workers_per_node=4, address=address_by_hostname())],
    monitoring=MonitoringHub(
        hub_address=address_by_hostname(),
        hub_port=PORT,
        monitoring_debug=False,
        resource_monitoring_interval=1,
    ),
    strategy="none",
)
@parsl.python_app
def hold(path):
    import os, time
    while not os.path.exists(path):
        time.sleep(0.05)
    return 7
if __name__ == "__main__":
    with parsl.load(config):
        print([future.result() for future in [hold(GO) for _ in range(4)]])
"""


class Desk:
    """A user's folder, and the programs that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runinfo"
        self._environ = {k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")}
        self._environ["HELIOGRAPH_STATE_DIR"] = str(folder / "state")
        self._started: list[subprocess.Popen[str]] = []

    def start(self, program: str, **names: object) -> subprocess.Popen[str]:
        head = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        script = self.folder / f"workflow_{len(self._started)}.py"
        script.write_text(head + program)
        process = subprocess.Popen(
            [sys.executable, str(script)],
            cwd=self.folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def left(self) -> list[str]:
        """Processes of ours that belong to this folder: agents by their state folder, embedded servers by their run."""
        mine = str(self.folder).encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"heliograph" in command and (mine in environ or mine in command) and b"workflow_" not in command:
                found.append(command.replace(b"\0", b" ").decode())
        return found

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()
    wait_for(lambda: not made.left(), made, 90)


def wait_for(reached: Callable[[], bool], desk: Desk, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not reached():
        logs = "\n".join(path.read_text() for path in desk.runs.glob("*/heliograph.log"))
        assert time.monotonic() < end, f"{desk.left()}\n{logs}"
        time.sleep(0.1)


def rows(database: Path, query: str) -> list[Any]:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def found_runs(url: str) -> list[Run]:
    with closing(connect(url, read_only=True)) as store:
        return list(list_runs(store))


def test_the_documented_example_is_seen_while_it_runs(desk: Desk, unused_port: int) -> None:
    go = desk.folder / "go"
    process = desk.start(HTEX, PORT=unused_port, GO=str(go))
    database = desk.runs / "monitoring.db"
    running = "SELECT COUNT(*) FROM try WHERE task_try_time_running IS NOT NULL AND task_try_time_returned IS NULL"
    wait_for(lambda: rows(database, running) not in ([], [(0,)]), desk, 60)
    wait_for(lambda: rows(database, "SELECT COUNT(*) FROM resource") not in ([], [(0,)]), desk, 20)
    (told,) = desk.runs.glob("*/.heliograph/address.json")
    about = json.loads(told.read_bytes())
    mine = {"Authorization": f"Bearer {about['token']}"}
    with urllib.request.urlopen(urllib.request.Request(f"{about['api']}/v1/runs", headers=mine), timeout=60) as answer:
        (run,) = json.load(answer)["items"]
    assert run["liveness"] == "running"
    go.touch()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "[7, 7, 7, 7]\n"), errors
    wait_for(lambda: not desk.left(), desk, 60)
    assert rows(database, "SELECT tasks_completed_count, time_completed IS NULL FROM workflow") == [(4, 0)]
    assert rows(database, "SELECT DISTINCT block_id, task_executor FROM try") == [("0", "local_htex")]
    assert not told.exists()
    # One file, complete in itself: also somebody who may not write into this folder can read it.
    assert not list(desk.runs.glob("monitoring.db-*"))


def test_workflows_that_end_in_every_way_share_one_database(desk: Desk) -> None:
    ends = {"pass": 3, "raise RuntimeError('mine')": 4, "parsl.dfk().cleanup()": 5, "os.kill(os.getpid(), 9)": 6}
    processes = []
    for end, tasks in ends.items():
        processes.append(desk.start(LOCAL + end, ENDPOINT=None, TASKS=tasks))
        # Two programs that choose the number of their run at once choose the same, and Parsl ends one of them.
        wait_for(lambda: len(list(desk.runs.glob("[0-9]*"))) == len(processes), desk, 60)
    statuses = [process.wait(60) for process in processes]
    assert statuses == [0, 1, 0, -signal.SIGKILL]
    wait_for(lambda: not desk.left(), desk, 90)
    runs = {run.run: run for run in found_runs(f"sqlite:///{desk.runs}/monitoring.db")}
    counts = dict(rows(desk.runs / "monitoring.db", "SELECT run_id, COUNT(*) FROM task GROUP BY run_id"))
    later = time.time_ns() // 1000 + LEASE
    assert sorted((counts[name], liveness(run, later), run.exit) for name, run in runs.items()) == [
        (3, "completed", None),
        (4, "failed", "RuntimeError"),
        (5, "completed", None),
        (6, "lost", None),
    ]
    states = rows(desk.runs / "monitoring.db", "SELECT DISTINCT task_status_name FROM status")
    assert {name for (name,) in states} == {"pending", "launched", "running", "running_ended", "exec_done"}


def test_a_database_of_parsls_own_monitoring_is_left_as_it_is(desk: Desk) -> None:
    own = LOCAL.replace("from heliograph.parsl", "from parsl.monitoring").replace(", logging_endpoint=ENDPOINT", "")
    own = own.replace("hub_address=None", "hub_address='127.0.0.1'") + "parsl.dfk().cleanup()"
    own = "if __name__ == '__main__':\n" + textwrap.indent(own, "    ")  # Parsl spawns a process that imports this
    assert desk.start(own, TASKS=2).wait(120) == 0
    before = (desk.runs / "monitoring.db").read_bytes()
    assert desk.start(LOCAL + "parsl.dfk().cleanup()", ENDPOINT=None, TASKS=3).wait(60) == 0
    wait_for(lambda: not desk.left(), desk, 60)
    assert (desk.runs / "monitoring.db").read_bytes() == before
    assert rows(desk.runs / "heliograph.db", "SELECT COUNT(*) FROM task") == [(3,)]
    log = (desk.runs / "001" / "heliograph.log").read_text()
    assert log.count("was made by Parsl and is left as it is") == 1


def test_the_endpoint_may_be_postgresql(desk: Desk, postgres_url: str) -> None:
    endpoint = postgres_url.replace("://heliograph", "://heliograph:hunter2", 1)
    assert "hunter2" in endpoint
    assert desk.start(LOCAL + "parsl.dfk().cleanup()", ENDPOINT=endpoint, TASKS=4).wait(60) == 0
    wait_for(lambda: not desk.left(), desk, 60)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT tasks_completed_count, time_completed IS NULL FROM workflow").fetchall()
    assert found == [(4, False)]
    told = [path for path in desk.runs.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert told == []
