"""Fixtures of the deployment tests: a Docker engine that is there, the image built once, stacks that are removed.

The image has a name of its own in each run, or a run beside this one would put another in its place.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.stack import Stack, clean_copy

TAG = f"test-{uuid.uuid4().hex[:8]}"
IMAGE = f"heliograph:{TAG}"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image, built from a clean copy of this checkout by the engine that is there."""
    checkout = clean_copy(tmp_path_factory.mktemp("image") / "checkout")
    (checkout / ".env").write_text(f"HELIOGRAPH_VERSION={TAG}\n", encoding="utf-8")
    built = subprocess.run(
        ["docker", "compose", "--progress=plain", "build"],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name != "HELIOGRAPH_VERSION"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    yield IMAGE
    subprocess.run(["docker", "image", "rm", "--force", IMAGE], capture_output=True, check=False)


@pytest.fixture(scope="module")
def stacks(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Makes deployments, not yet started; removes them with all that is theirs."""
    assert image == IMAGE
    made: list[Stack] = []

    def make(*profiles: str, **settings: str) -> Stack:
        folder: Path = tmp_path_factory.mktemp("stack")
        made.append(Stack(folder, profiles=profiles, HELIOGRAPH_VERSION=TAG, **settings))
        return made[-1]

    yield make
    for stack in made:
        stack.remove()
