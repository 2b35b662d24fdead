"""The small workflow of `flow.py`, started as a process with a state folder of its own.

In: a folder, options of the hub (None: unmonitored), variables. Out: what the workflow found; nothing of it is left
running.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = ([2 * i for i in range(20)] + ["as it should"]) * 2
BLOCKED = "raise ImportError('Heliograph is not installed here')\n"


@contextmanager
def flow(folder: Path, hub: dict[str, Any] | None, environment: dict[str, str], **more: Any) -> Iterator[Any]:
    asked = json.dumps({"folder": str(folder), "hub": hub, **more})
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # HTEX looks for its own
    environ = {**os.environ, "PATH": programs, "PYTHONPATH": str(ROOT), "HELIOGRAPH_AGENT": "off", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.parsl.flow", asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"HELIOGRAPH_STATE_DIR": str(folder / "state"), **environ},
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        _end_what_serves(folder)


def _end_what_serves(folder: Path) -> None:
    """Agents and embedded writers of this test, found by its own folder in their arguments or environment."""
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("HELIOGRAPH_STATE_DIR") == str(folder / "state"):
                process.kill()
        except psutil.Error:
            continue


def finished(process: Any) -> dict[str, Any]:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def result(folder: Path, hub: dict[str, Any] | None, environment: dict[str, str], **more: Any) -> dict[str, Any]:
    with flow(folder, hub, environment, **more) as process:
        return finished(process)


def bus(folder: Path) -> dict[str, Any]:
    return {"bus_url": f"spool:{folder / 'spool'}", "resource_monitoring_interval": 1}


def agents(folder: Path, least: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 15
    while True:
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("HELIOGRAPH_STATE_DIR") == str(folder / "state")
                if mine and "heliograph.agent" in process.cmdline() and process.name() != "sh":
                    found.append(process)
            except psutil.Error:
                continue
        if len(found) >= least:
            return found
        assert time.monotonic() < deadline, "no agent was started"
        time.sleep(0.1)
