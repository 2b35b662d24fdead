"""Backup and restore of a deployment by compose, with the commands of docs/howto/upgrade-backup.md."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest

from tests.deploy.host import Workflow, arrived
from tests.deploy.stack import ROOT, Stack

pytestmark = [pytest.mark.compose, pytest.mark.slow]
PAGE = (ROOT / "docs" / "howto" / "upgrade-backup.md").read_text(encoding="utf-8")


def documented(stack: Stack, told: str) -> None:
    """Run the block of the page that holds this, in the deployment's folder."""
    (block,) = [b for b in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if told in b]
    lines = [line for line in block.splitlines() if ("pg_dump" in line) == ("pg_dump" in told)]
    script = "set -e\n" + "\n".join(lines).replace("docker compose", f"docker compose -p {stack.project}")
    ran = subprocess.run(["sh", "-c", script], cwd=stack.checkout, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_sqlite_is_saved_and_put_back(stacks: Callable[..., Stack]) -> None:
    stack = stacks()
    stack.up()
    workflow = Workflow(stack, "kept")
    try:
        workflow.at_work()
        workflow.finish()
        arrived(stack, workflow)
        documented(stack, "writer heliograph backup /var/lib/heliograph/backup.db")
        assert (stack.checkout / "backup.db").read_bytes()[:15] == b"SQLite format 3"
        stack.run_in("hub", "heliograph", "runs", "delete", "--yes", workflow.run)
        assert stack.rows("SELECT COUNT(*) FROM runs") == [[0]]
        documented(stack, "restore /var/lib/heliograph/backup.db --replace")
        arrived(stack, workflow)
        second = Workflow(stack, "after")
        try:
            second.at_work()
            second.finish()
            arrived(stack, second)
        finally:
            second.stop()
    finally:
        workflow.stop()
