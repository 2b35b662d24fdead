"""A Parsl workflow on HTEX with nothing set up: what its tasks write is found once, their callbacks run, and all of it
stands in the database with run and task."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from heliograph.messages import FileCallback, FileFound, WatchClosed
from tests.filewatch.conftest import Place, wait_for
from tests.parsl.conftest import of, recorded

ROOT = Path(__file__).parents[2]
WORKFLOW = """
import os, sys, time
import parsl, heliograph
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from heliograph import FileMonitor
from heliograph.parsl import MonitoringHub
from tests.filewatch.callbacks import names

folder = sys.argv[1]
steps = FileMonitor(names, r"step-\\d+-\\d+\\.dat$", working_dir=folder, sleep_dur=0.5)
images = FileMonitor(lambda files: len(files), filetype="png", path="images", working_dir=folder, sleep_dur=0.5)
logs = FileMonitor(None, r"\\.log$", working_dir=folder, sleep_dur=0.5, name="logs")

@parsl.python_app
@heliograph.watch(steps)
def simulate(number, folder):
    import os, time
    began = time.monotonic()
    for step in range(4):
        with open(f"{folder}/step-{number}-{step}.dat", "w") as file:
            for part in range(3):
                file.write("x" * 100)
                file.flush()
                time.sleep(0.1)
    return time.monotonic() - began

@heliograph.watch(images)
@parsl.bash_app
def draw(folder, stdout=None):
    return f"mkdir -p {folder}/images; for i in 1 2 3; do echo image > {folder}/images/$i.png; sleep 0.3; done"

@heliograph.watch(images)
@parsl.python_app(cache=True)
def remembered(x):
    return x + 1

def config():
    executor = HighThroughputExecutor(label="htex", max_workers_per_node=2, address="127.0.0.1", encrypted=False,
                                      cores_per_worker=0.1)
    hub = MonitoringHub(resource_monitoring_interval=1, file_monitor=logs, **HUB)
    return Config(executors=[executor], monitoring=hub, strategy="none")

if __name__ == "__main__":
  with parsl.load(config()):
    futures = [simulate(number, folder) for number in range(4)]
    drawn = draw(folder)
    open(f"{folder}/run.log", "w").write("a line")
    print([future.result() for future in futures], drawn.result(), [remembered(1).result() for _ in range(2)])
"""


FILES = [f"step-{n}-{s}.dat" for n in range(4) for s in range(4)] + ["run.log"] + [f"images/{n}.png" for n in (1, 2, 3)]


def test_files_of_a_workflow_are_found_once_and_stand_in_its_database(place: Place) -> None:
    """With agents and the embedded writer, as a user without a server has them."""
    run_workflow(place, {"official_radio": False})
    database = place.state.parent / "runinfo" / "monitoring.db"
    expected = sorted(f"{place.root}/{name}" for name in FILES)
    wait_for(lambda: len(rows(database, "SELECT path FROM files")) >= len(expected), 60)
    called = "SELECT paths, outcome, result FROM file_callbacks"
    wait_for(lambda: sum(len(json.loads(row["paths"])) for row in rows(database, called)) >= len(expected) - 1, 60)
    open_watches = "SELECT COUNT(*) AS n FROM watches WHERE closed IS NULL"
    wait_for(lambda: rows(database, open_watches)[0]["n"] == 0, 60)
    found = rows(database, "SELECT path, repeat FROM files")
    assert sorted(row["path"] for row in found) == expected
    assert not any(row["repeat"] for row in found)
    calls = rows(database, called)
    assert {call["outcome"] for call in calls} == {"ok"}
    called_with = [path for call in calls for path in json.loads(call["paths"])]
    assert sorted(called_with) == [path for path in expected if not path.endswith(".log")]
    watches = rows(database, "SELECT task, files, unfinished, reason FROM watches")
    assert sum(row["files"] for row in watches) == len(expected)
    assert all(row["unfinished"] == 0 and row["reason"] == "ended" for row in watches)
    assert sorted(row["task"] for row in watches if row["task"] is not None) == [0, 1, 2, 3, 4, 5]
    wait_for(lambda: not place.processes(), 60)


def test_beside_parsls_own_wrapper_it_is_the_same(place: Place) -> None:
    """Which samples each task from a process of its own, and does not say in the worker which task it is around."""
    run_workflow(place, {"official_radio": True, "bus_url": f"spool:{place.notes / 'spool'}"}, HELIOGRAPH_AGENT="off")
    wait_for(lambda: len(of(WatchClosed, recorded(place.state))) == 7)
    records = recorded(place.state)
    assert sorted(record.path for record in of(FileFound, records)) == sorted(f"{place.root}/{name}" for name in FILES)
    calls = of(FileCallback, records)
    assert {call.outcome for call in calls} == {"ok"}
    assert sorted(Path(path).name for call in calls for path in call.paths) == sorted(
        Path(name).name for name in FILES if not name.endswith(".log")
    )


def run_workflow(place: Place, hub: dict[str, Any], **more: str) -> None:
    script = place.state.parent / "workflow.py"
    script.write_text(f"HUB = {hub}\n{WORKFLOW}")
    environ = {k: v for k, v in os.environ.items() if k != "HELIOGRAPH_AGENT"} | more
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    ran = subprocess.run(
        [sys.executable, str(script), str(place.root)],
        cwd=place.state.parent, env=environ, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().endswith("0 [2, 2]")


def rows(database: Path, sql: str) -> list[dict[str, Any]]:
    end = time.monotonic() + 30
    while True:
        try:
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
                connection.row_factory = sqlite3.Row
                return [dict(row) for row in connection.execute(sql)]
        except sqlite3.OperationalError:  # not made yet
            assert time.monotonic() < end
            time.sleep(0.3)
