"""From a watch to the Files page: a real workflow on HTEX whose tasks write files over time, looked at in a real
browser while it runs. One of its apps is the very example that the page shows to those who watch nothing yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heliograph_dashboard.pages.files import EXAMPLE
from tests.filewatch.conftest import Place, place, wait_for
from tests.filewatch.test_parsl import ROOT, rows

__all__ = ["place"]

GAP = "sleep_dur=10))\ndef simulate(steps):\n    ... "
"""What is left for the reader in the example."""
FILLED = "sleep_dur=0.5))\ndef simulate(steps):\n    from tests.filewatch.results import write; return write(steps) "
WORKFLOW = """
import sys
import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from heliograph.parsl import MonitoringHub

folder = sys.argv[1]

EXAMPLE

@parsl.python_app
def advance(number, folder):
    # A block in a task, in a folder of the task's own. `status.json` is rewritten once it was found.
    import os, time
    from heliograph import FileMonitor
    from tests.filewatch.callbacks import fails, names, tells

    mine = f"{folder}/task-{number}"
    os.makedirs(mine)
    again = FileMonitor(tells, r"status[.]json$", working_dir=mine, sleep_dur=0.3, on_change=True)
    pairs = [(names, r"step-[0-9][.]dat$"), (fails, r"[.]log$"), (None, "step-0")]
    with FileMonitor(pairs, working_dir=mine, sleep_dur=0.3), again:
        for step in range(3):
            with open(f"{mine}/step-{step}.dat", "w") as file:
                file.write("x" * (100 + step))
            with open(f"{mine}/status.json", "w") as file:
                file.write("0" * (step + 1))
            seen, end = f"{folder}/../notes/{number}-{step + 1}", time.monotonic() + 90
            while not os.path.exists(seen) and time.monotonic() < end:
                time.sleep(0.05)
        with open(f"{mine}/step-0.dat", "w") as file:
            file.write("another text")
        with open(f"{mine}/last.log", "w") as file:
            file.write("a line")
    return number

if __name__ == "__main__":
    executor = HighThroughputExecutor(label="htex", max_workers_per_node=3, address="127.0.0.1", encrypted=False,
                                      cores_per_worker=0.1)
    config = Config(executors=[executor], monitoring=MonitoringHub(resource_monitoring_interval=1), strategy="none")
    with parsl.load(config):
        futures = [simulate(4)] + [advance(number, folder) for number in range(2)]
        print([future.result() for future in futures])
"""


def test_what_tasks_write_stands_on_the_files_page_while_they_run(
    place: Place, page: Any, open_dashboard: Callable[..., str]
) -> None:
    database = place.state.parent / "runinfo" / "monitoring.db"
    workflow = start(place)
    try:
        wait_for(lambda: database.exists() and rows(database, "SELECT 1 FROM files"), 90)
        run = rows(database, "SELECT run FROM runs")[0]["run"]
        page.goto(f"{open_dashboard(database)}/runs/{run}/files")
        printed, complaints = workflow.communicate(timeout=180)
    finally:
        workflow.kill()
        workflow.wait()
    assert workflow.returncode == 0, complaints
    assert printed.strip().endswith("[4, 0, 1]"), complaints

    expected = _expected(place)
    everything = page.locator("#files-found-grid .ag-center-cols-container .ag-row")
    wait_for(lambda: _over(database), 90)
    assert Counter(row["path"] for row in rows(database, "SELECT path FROM files")) == expected
    shown = _shown(page, everything, sum(expected.values()))
    assert Counter(row["path"] for row in shown) == expected
    assert {row["repeat"] for row in shown} == {"no"}
    for row in shown:
        number = "0" if "/results/" in row["path"] else str(int(row["path"].partition("/task-")[2][0]) + 1)
        assert row["task"] == number, row
    _look_at_callbacks(page, place)
    watches = page.locator("#files-watches").inner_text()
    assert watches.count("closed") == 5
    assert "not finished" not in watches
    everything.first.locator("a").click()
    page.wait_for_url("**/tasks/*")
    wait_for(lambda: not place.processes(), 60)


def start(place: Place) -> subprocess.Popen[str]:
    assert GAP in EXAMPLE
    script = place.state.parent / "workflow.py"
    script.write_text(WORKFLOW.replace("EXAMPLE", EXAMPLE.replace(GAP, FILLED)))
    environ = {k: v for k, v in os.environ.items() if k != "HELIOGRAPH_AGENT"}
    environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(script), str(place.root)],
        cwd=place.state.parent, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _expected(place: Place) -> Counter[str]:
    """How often each file is to be found: once, and `status.json` each time that it was written."""
    found = Counter({f"{place.state.parent}/results/{step}.h5": 1 for step in range(4)})
    for number in range(2):
        mine = f"{place.root}/task-{number}"
        found.update({f"{mine}/step-{step}.dat": 1 for step in range(3)})
        found.update({f"{mine}/status.json": 3, f"{mine}/last.log": 1})
    return found


def _over(database: Path) -> bool:
    """Every watch has ended, and its records are there."""
    return bool(rows(database, "SELECT COUNT(*) AS n FROM watches WHERE closed IS NOT NULL")[0]["n"] == 5)


def _shown(page: Any, everything: Any, count: int) -> list[dict[str, str]]:
    """The rows of the page, as soon as there are so many: it follows the run by itself."""
    wait_for(lambda: everything.count() >= count, 60)
    read = """rows => rows.map(row => Object.fromEntries(['path', 'task', 'repeat', 'size'].map(
        name => [name, row.querySelector(`[col-id=${name}]`).innerText.trim()])))"""
    found: list[dict[str, str]] = everything.evaluate_all(read)
    return found


def _look_at_callbacks(page: Any, place: Place) -> None:
    calls = page.locator("#files-callbacks-grid .ag-center-cols-container .ag-row")
    # Files that settle together go to one call, so there are as many calls as it took.
    expected = rows(place.state.parent / "runinfo" / "monitoring.db", "SELECT * FROM file_callbacks")
    wait_for(lambda: calls.count() == len(expected), 60)
    called = Counter((_name(row), path) for row in expected for path in json.loads(row["paths"]))
    assert called == {
        ("summarise" if path.endswith(".h5") else _callback(path), path): times
        for path, times in _expected(place).items()
    }
    text = [row.inner_text() for row in calls.all()]
    assert sum("new results" in one for one in text) == sum("summarise" in one for one in text) > 0
    errors = [one for one in text if "ValueError: cannot read 1 files" in one]
    assert len(errors) == 2
    assert all("error" in one and "fails" in one for one in errors)
    assert sum("status.json written" in one for one in text) == 6


def _name(call: dict[str, Any]) -> str:
    return str(call["callback"]).partition(":")[2]


def _callback(path: str) -> str:
    return {"dat": "names", "log": "fails", "json": "tells"}[path.rpartition(".")[2]]
