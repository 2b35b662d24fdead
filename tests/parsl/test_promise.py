"""The workflow comes first: with each part of Heliograph taken away in turn, results are those of an unmonitored run,
nothing takes longer, and what could not be recorded is counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph.messages import Dropped, RunEnded, RunStarted, TaskDescribed, TaskEnded, TaskRunning, TaskState
from tests.parsl.conftest import ROOT, of, recorded
from tests.parsl.flows import BLOCKED, EXPECTED, agents, bus, finished, flow, result


@pytest.fixture(autouse=True)
def _programs(state_dir: Path) -> None:
    """HTEX finds its programs."""


def test_the_state_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    found = result(tmp_path, bus(tmp_path), {})
    assert found["results"] == EXPECTED
    assert found["closing"] < 15
    assert "records of this run could not be written" in _parsl_log(tmp_path)


def test_the_space_for_journals_is_used_up(tmp_path: Path) -> None:
    site = tmp_path / "site.json"
    site.write_text(json.dumps({"process_disk": 6000}))
    found = result(tmp_path, bus(tmp_path), {"HELIOGRAPH_SITE_FILE": str(site)}, pause=4.0, htex=False)
    assert found["results"] == [*EXPECTED[:21], 200]
    records = recorded(tmp_path / "state")
    counted = max(d.states for d in of(Dropped, [one for one in records if one.owner]))
    assert counted == 22 * 4 - len(of(TaskState, records)) - len(of(TaskDescribed, records))
    assert "could not be written" in _parsl_log(tmp_path)


def test_no_agent_can_be_started(tmp_path: Path) -> None:
    """A Python that cannot run: neither agents nor the launcher come up."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    code = f"import sys, runpy; sys.executable = {str(broken)!r}; sys.argv[1:] = sys.argv[1:]; "
    code += "runpy.run_module('tests.parsl.flow', run_name='__main__')"
    asked = json.dumps({"folder": str(tmp_path), "hub": bus(tmp_path), "htex": False})
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "HELIOGRAPH_STATE_DIR": str(tmp_path / "state")}
    environ["HELIOGRAPH_AGENT"] = "on"
    done = subprocess.run(
        [sys.executable, "-c", code, asked], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1])["results"] == EXPECTED[:21]
    records = recorded(tmp_path / "state")
    assert len(of(TaskEnded, records)) == 21
    assert len(of(RunEnded, records)) == 1


@pytest.mark.parametrize("address", ["127.0.0.1:1", "192.0.2.1", "no such host"])
def test_the_hub_does_not_answer(tmp_path: Path, address: str) -> None:
    """Refused, swallowed by a firewall (an address that is for documentation only), and no name at all."""
    found = result(tmp_path, {"hub_address": address, "resource_monitoring_interval": 1}, {}, htex=False)
    assert found["results"] == EXPECTED[:21]
    assert found["seconds"] < 10
    assert len(of(TaskState, recorded(tmp_path / "state"))) == 21 * 3


@pytest.mark.parametrize("official", [False, True])
def test_heliograph_is_missing_on_the_worker(tmp_path: Path, official: bool) -> None:
    blocker = tmp_path / "blocker" / "heliograph"
    blocker.mkdir(parents=True)
    (blocker / "__init__.py").write_text(BLOCKED)
    hub = {**bus(tmp_path), "official_radio": official}
    found = result(tmp_path, hub, {}, worker_init=f"export PYTHONPATH={blocker.parent}:$PYTHONPATH")
    assert found["results"] == EXPECTED
    records = recorded(tmp_path / "state")
    assert len(of(TaskState, records)) >= 42 * 3
    assert {one.executor for one in of(TaskRunning, records)} <= {"threads", None}
    assert len(of(RunEnded, records)) == 1


def test_the_workflow_is_killed(tmp_path: Path) -> None:
    with flow(tmp_path, bus(tmp_path), {}, htex=False, pause=60.0) as process:
        run = json.loads(process.stdout.readline())["run"]
        assert json.loads(process.stdout.readline()) == {"pausing": "threads"}
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        records = recorded(tmp_path / "state", run)
    assert len(of(RunStarted, records)) == 1
    assert len(of(TaskEnded, records)) == 21
    assert sum(s.state in {"exec_done", "failed"} for s in of(TaskState, records)) == 21
    assert of(RunEnded, records) == []


def test_the_agent_is_killed_while_workers_are_idle(tmp_path: Path) -> None:
    """The next record starts another one."""
    with flow(tmp_path, bus(tmp_path), {"HELIOGRAPH_AGENT": "on"}, pause=8.0) as process:
        process.stdout.readline()
        assert json.loads(process.stdout.readline()) == {"pausing": "htex"}
        first = agents(tmp_path, 1)
        for agent in first:
            agent.kill()
        found = finished(process)
        assert found["results"] == [*EXPECTED[:21], 200, *EXPECTED[21:], 200]
        assert {one.pid for one in agents(tmp_path, 1)}.isdisjoint(one.pid for one in first)


def _parsl_log(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.glob("runinfo/*/parsl.log"))
