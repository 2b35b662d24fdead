"""Fixtures of the deployment tests: a Docker engine that is there, the image built once, stacks that are removed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.stack import Stack, clean_copy

TAG = "test"
IMAGE = f"heliograph:{TAG}"


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, built from a clean copy of this checkout by the engine that is there."""
    checkout = clean_copy(tmp_path_factory.mktemp("image") / "checkout")
    (checkout / ".env").write_text(f"HELIOGRAPH_VERSION={TAG}\n", encoding="utf-8")
    built = subprocess.run(
        ["docker", "compose", "--progress=plain", "build"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return IMAGE


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
