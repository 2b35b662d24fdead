"""Commands of the documentation, run as they stand there against a deployment of a test.

In: a page, and words that one of its blocks holds. Out: the block, and that it ran, in the deployment's own project.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.deploy.stack import ROOT, Stack


def blocks(page: str) -> list[str]:
    """The shell commands of a how-to page."""
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    return [part.partition("\n```")[0] for part in text.split("```sh\n")[1:]]


def block(page: str, told: str) -> str:
    (found,) = [each for each in blocks(page) if told in each]
    return found


def run(script: str, folder: Path, environment: dict[str, str]) -> str:
    words = ["bash", "-euo", "pipefail", "-c", script]
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, f"{script}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def run_in_project(stack: Stack, script: str) -> str:
    script = script.replace("docker compose", f"docker compose -p {stack.project}")
    return run(script, stack.checkout, stack.environment())
