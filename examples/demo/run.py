"""The demo: starts Heliograph on SQLite and a folder, runs a real Parsl workflow, and shows what arrives while it runs.

In: a folder for everything that it makes, and `--once` to check and stop instead of staying up. Out: progress for each
app, a summary read back from the database, and with `--once` exit status 1 when database and ledger disagree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROLLUP = """
    SELECT apps.name, run_states.state, run_states.tasks FROM run_states
    JOIN runs ON runs.id = run_states.run JOIN apps ON apps.id = run_states.app
    WHERE runs.run = ? AND run_states.tasks > 0"""


@contextlib.contextmanager
def heliograph_up(folder: Path) -> Iterator[dict[str, str]]:
    """`heliograph up` on a free port for as long as the block runs; gives its addresses."""
    address = folder / "address.json"
    command = [sys.executable, "-m", "heliograph.cli", "up", "--data", str(folder), "--port", "0"]
    with (folder / "heliograph-up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(lambda: address.exists(), process, "heliograph up", folder / "heliograph-up.log")
        yield json.loads(address.read_text(encoding="utf-8"))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(ready: object, process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    """Until `ready()`; a process that ended instead is an error that shows its last lines."""
    end = time.monotonic() + 60
    while not ready():  # type: ignore[operator]
        if process.poll() is not None or time.monotonic() > end:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
            raise SystemExit(f"{name} did not start; the end of {log} says:\n{tail}")
        time.sleep(0.1)
