"""A small Slurm cluster for a test: a head and three compute nodes, each a container, that share /home.

In: a Docker engine with Compose. Out: `Cluster`, on whose machines a user, ada, runs commands; removed with all that is
its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

from tests.deploy.stack import wait_for

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "cluster"
IMAGE = "heliograph-slurm:test"
NODES = ("node1", "node2", "node3")
INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")


class Cluster:
    """Started by `start`. Commands run in a login shell, by default as ada on the head."""

    def __init__(self) -> None:
        self.project = f"heliograph-slurm-{uuid.uuid4().hex[:8]}"

    def start(self) -> None:
        self._compose("up", "-d")
        wait_for(lambda: self.idle() == len(NODES), 120, lambda: self._compose("logs", "--tail=30"))

    def idle(self) -> int:
        """Compute nodes that wait for work."""
        return self.attempt("sinfo -h -N -o %T").stdout.split().count("idle")

    def run(self, command: str, *, on: str = "head", user: str = "ada", given: str | None = None) -> str:
        """What a command prints; AssertionError with all it said when it fails."""
        ran = self.attempt(command, on=on, user=user, given=given)
        assert ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
        return ran.stdout

    def attempt(
        self, command: str, *, on: str = "head", user: str = "ada", given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = ["exec", "-T", "-u", user, "-w", "/home/ada" if user == "ada" else "/", on, "bash", "-c", command]
        return self._attempt(words, given=given)

    def write(self, path: str, text: str, *, on: str = "head", user: str = "ada") -> None:
        self.run(f"mkdir -p $(dirname {path}) && cat > {path}", on=on, user=user, given=text)

    def remove(self) -> None:
        self._attempt(["down", "--volumes", "--timeout", "1"])

    def _compose(self, *words: str) -> str:
        ran = self._attempt(list(words))
        assert ran.returncode == 0, f"docker compose {' '.join(words)}: {ran.stderr[-3000:]}"
        return ran.stdout + ran.stderr

    def _attempt(self, words: list[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", "--progress=plain", "-p", self.project, "-f", str(HERE / "compose.yaml"), *words],
            env={**os.environ, "IMAGE": IMAGE},
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


def build(folder: Path) -> None:
    """The image of all machines, from a folder with nothing but what it is made of."""
    wanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
    for name in ("agents", "services"):
        shutil.copytree(ROOT / name, folder / name, ignore=wanted)
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "requirements" / "demo.txt", folder / "requirements")
    shutil.copytree(HERE, folder / "cluster")
    passed = [word for name in INDEXES if name in os.environ for word in ("--build-arg", name)]
    command = ["docker", "build", "-q", *passed, "-t", IMAGE, "-f", "cluster/Dockerfile", "."]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
