"""Continuous integration tests the deployment where an engine can be had, last, and says so where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.stack import ROOT

TOOLS = (
    "bash",
    "env",
    "cat",
    "dirname",
    "grep",
    "id",
    "mktemp",
    "rm",
    "sed",
    "seq",
    "setsid",
    "sleep",
    "sort",
    "timeout",
)
DOCKER = """#!/usr/bin/env bash
[ -e "$STAGE/engine" ]
"""
MAKE = """#!/usr/bin/env bash
echo "$*" >> "$STAGE/made"
[ "$1" != "${FAILING:-}" ]
"""


class Stage:
    """A checkout with its script, and commands that only tell that they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.checkout = folder / "checkout"
        for name in (".ci/run", "tests/tools/docker.sh", "Dockerfile"):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, self.checkout / name)
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.command("docker", DOCKER)
        self.command("make", MAKE)

    def command(self, name: str, text: str) -> Path:
        (self.bin / name).write_text(text, encoding="utf-8")
        (self.bin / name).chmod(0o755)
        return self.bin / name

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "HOME": os.environ.get("HOME", "/"), "STAGE": str(self.folder)}
        return subprocess.run(
            [self.checkout / ".ci" / "run"],
            env=environment | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def made(self) -> list[str]:
        return (self.folder / "made").read_text(encoding="utf-8").splitlines()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_with_an_engine_the_deployment_is_tested_after_all_else(stage: Stage) -> None:
    (stage.folder / "engine").touch()
    ran = stage.run()
    assert ran.returncode == 0, ran.stderr
    assert stage.made() == ["lint", "test", "test-compose QUICK=1"]
    assert "LEFT OUT" not in ran.stdout


def test_without_one_it_is_left_out_and_said_so_in_a_line(stage: Stage) -> None:
    ran = stage.run()
    assert ran.returncode == 0, ran.stderr
    assert stage.made() == ["lint", "test"]
    assert len([line for line in ran.stdout.splitlines() if line.startswith("LEFT OUT")]) == 1


def test_a_command_may_bring_one(stage: Stage) -> None:
    up = stage.command("bring", '#!/usr/bin/env bash\n: > "$STAGE/engine"\n')
    ran = stage.run(HELIOGRAPH_TEST_DOCKER_UP=str(up))
    assert ran.returncode == 0, ran.stderr
    assert stage.made()[-1] == "test-compose QUICK=1"


def test_a_command_that_cannot_bring_one_is_no_failure(stage: Stage) -> None:
    up = stage.command("bring", "#!/usr/bin/env bash\nexit 3\n")
    ran = stage.run(HELIOGRAPH_TEST_DOCKER_UP=str(up))
    assert ran.returncode == 0, ran.stderr
    assert stage.made() == ["lint", "test"]
    assert "LEFT OUT" in ran.stdout


@pytest.mark.parametrize("failing", ["lint", "test", "test-compose"])
def test_what_fails_is_red(stage: Stage, failing: str) -> None:
    (stage.folder / "engine").touch()
    assert stage.run(FAILING=failing).returncode != 0
    assert stage.made()[-1].split()[0] == failing
