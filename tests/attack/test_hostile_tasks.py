"""Whatever a task does to its own process, its result is that of an unmonitored run, and what was not recorded is
counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from heliograph import bus
from heliograph import messages as m
from tests.attack.hostile import steps

KILLED = ("too deep", "leave", "die")
"""Tasks that kill their worker: nobody is left to tell their end."""
ROOT = Path(__file__).parent.parent.parent


def run(folder: Path, monitored: str) -> tuple[dict[str, str], float]:
    folder.mkdir()
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.attack.hostile", str(folder), monitored],
        env={**os.environ, "HELIOGRAPH_STATE_DIR": str(folder / "state"), "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcomes, time.monotonic() - began


def shipped(folder: Path) -> list[m.AnyRecord]:
    """Everything on the bus, once the agent has ended."""
    deadline = time.monotonic() + 30
    while list((folder / "state").glob("*/journals/*")):
        assert time.monotonic() < deadline, "the agent left journals behind"
        time.sleep(0.2)
    consumer = bus.open_consumer(f"spool:{folder}/bus", name="test")
    found: list[m.AnyRecord] = []
    while deliveries := consumer.receive(100, 0.2):
        for delivery in deliveries:
            records, aside = m.decode_records(m.decode_batch(delivery.body))
            assert not aside
            found += records
        consumer.ack(deliveries)
    consumer.close()
    return found


def end_agents(folder: Path) -> None:
    for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
        words = line.replace("-> ", "").split()
        for lock in (folder / "state").glob("*/agent.lock"):
            if words[3] == "WRITE" and int(words[5].rpartition(":")[2]) == lock.stat().st_ino:
                os.kill(int(words[4]), signal.SIGKILL)


@pytest.mark.slow
def test_tasks_that_hurt_their_own_process_end_as_without_monitoring(tmp_path: Path) -> None:
    plain, took_plain = run(tmp_path / "off", "off")
    monitored, took = run(tmp_path / "on", "on")
    try:
        assert monitored == plain
        assert took < took_plain + 8
        for path in (tmp_path / "on").glob("stolen-*"):
            assert path.read_bytes() == b"mine\n"
        assert {path.read_bytes() for path in (tmp_path / "on").glob("own-*")} == {b"mine\n"}
        records = shipped(tmp_path / "on")
    finally:
        end_agents(tmp_path / "on")
    dropped = sum(record.states for record in records if isinstance(record, m.Dropped))
    worker = [record for record in records if isinstance(record, (m.TaskRunning, m.TaskEnded))]
    assert len(worker) + dropped >= 2 * len(steps(tmp_path)) - len(KILLED), (len(worker), dropped)
    assert any(isinstance(record, m.RunEnded) for record in records)
