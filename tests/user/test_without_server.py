"""A node where only the small distribution is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDE = """
import sys
sys.modules["heliograph_server"] = None
from heliograph.cli import main
sys.exit(main(sys.argv[1:]))
"""


def heliograph(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    return subprocess.run(
        [sys.executable, "-c", HIDE, *arguments],
        env={**environ, "HELIOGRAPH_STATE_DIR": str(folder / "state"), **more},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_command_of_the_servers_is_told_apart_from_a_typing_error(tmp_path: Path) -> None:
    done = heliograph(tmp_path, "runs", "list")
    assert done.returncode == 2
    assert "come with heliograph-server, which is not installed here" in done.stderr


@pytest.mark.parametrize("by", ["HELIOGRAPH_AGENT", "agent.json"])
def test_doctor_says_that_and_by_what_agents_are_off(tmp_path: Path, by: str) -> None:
    site = tmp_path / "agent.json"
    site.write_text('{"off": true}' if by == "agent.json" else "{}")
    more = {"HELIOGRAPH_AGENT": "off"} if by == "HELIOGRAPH_AGENT" else {}
    done = heliograph(tmp_path, "doctor", HELIOGRAPH_SITE_FILE=str(site), **more)
    (line,) = [line for line in done.stdout.splitlines() if line[6:].startswith("agent ")]
    assert "turned off by" in line
    assert by in line


def test_doctor_looks_at_a_worker_node(tmp_path: Path, unused_port: int) -> None:
    done = heliograph(tmp_path, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line[6:].split("  ")[0]: line[:4].strip() for line in done.stdout.splitlines()}
    assert lines["state folder"] == lines["heliograph"] == "ok"
    named = heliograph(tmp_path, "doctor", "--hub", f"127.0.0.1:{unused_port}", "--run-dir", str(tmp_path))
    assert named.returncode == 1
    failed = [line for line in named.stdout.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed] == ["route", "hub"]
