"""The workflow on the host, and whether what it did stands in the deployment's database: everything, once.

In: a stack. Out: a running workflow; `differences`, one line for each thing that the ledger and the database tell
differently.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

from tests.deploy.stack import ROOT, Stack, wait_for

RAN = ("pending", "launched", "running", "running_ended")


class Workflow:
    """A Parsl run on this machine which knows of the deployment only the hub's port and the join token's file."""

    def __init__(self, stack: Stack, name: str, **more: str) -> None:
        """`more` goes into its environment."""
        self.folder = stack.folder / name
        self.folder.mkdir()
        token = self.folder / "join-token"
        # The documented way: `docker compose exec -T hub cat /secrets/join-token`, into a file of the user's own.
        with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write(stack.secret("join-token"))
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")},
            "HELIOGRAPH_JOIN_TOKEN_FILE": str(token),
            "HELIOGRAPH_STATE_DIR": str(self.folder / "state"),
            **more,
        }
        command = [sys.executable, "-m", "tests.deploy.workflow", str(self.folder), stack.settings["HUB_PORT"]]
        with open(self.folder / "output", "wb") as output:
            self._process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=output)

    @property
    def run(self) -> str:
        return (self.folder / "run-id").read_text(encoding="utf-8")

    def ledger(self) -> list[dict[str, Any]]:
        path = self.folder / "ledger.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def at_work(self, more: int = 40) -> None:
        """Return when it finished some more tasks: it goes on whatever happened to the deployment."""
        before = len(self.ledger())
        wait_for(lambda: len(self.ledger()) >= before + more, 120, lambda: f"stands still: {self.output()}")

    def finish(self) -> None:
        """Let it end; its results must be right, whatever happened to the deployment."""
        (self.folder / "stop").touch()
        assert self._process.wait(120) == 0, self.output()

    def ended(self) -> bool:
        return self._process.poll() is not None

    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8", errors="replace")[-3000:]

    def left(self) -> list[str]:
        """Journals that are not shipped yet."""
        return [str(path) for path in (self.folder / "state").glob("*/journals/*")]

    def route(self) -> dict[str, Any]:
        (path,) = self.folder.glob("runinfo/*/.heliograph/route.json")
        assert path.stat().st_mode & 0o077 == 0
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def arrived(stack: Stack, workflow: Workflow) -> None:
    """Wait until all is in the database, and hold it against the ledger."""
    wait_for(lambda: not workflow.left(), 240, lambda: f"not shipped: {workflow.left()}")
    found: list[str] = []

    def agree() -> bool:
        found[:] = differences(stack, workflow)
        return not found

    wait_for(agree, 180, lambda: "\n".join(found[:20]))


def differences(stack: Stack, workflow: Workflow) -> list[str]:
    of_run, key = f"WHERE run_id = '{workflow.run}'", f"(SELECT id FROM runs WHERE run = '{workflow.run}')"
    zero = {
        "aside": f"SELECT COUNT(*) FROM aside WHERE run = {key}",
        "dropped by agents": f"SELECT COALESCE(SUM(dropped_samples + dropped_states), 0) FROM agents WHERE run = {key}",
        "dropped by journals": f"SELECT COALESCE(SUM(samples + states + control), 0) FROM journals WHERE run = {key}",
        "no end": f"SELECT COUNT(*) FROM runs WHERE id = {key} AND ended IS NULL",
    }
    tasks, status, rollup, fresh, *nothing = stack.ask(
        f"SELECT task_id, task_func_name FROM task {of_run}",
        f"SELECT task_id, task_status_name FROM status {of_run}",
        f"SELECT app, state, tasks FROM run_states WHERE tasks <> 0 AND run = {key}",
        f"SELECT app, progress & 15, COUNT(*) FROM tasks WHERE run = {key} GROUP BY app, progress & 15",
        *zero.values(),
    )
    found = _unlike(workflow.ledger(), dict(map(tuple, tasks)), Counter(map(tuple, status)))
    if sorted(rollup) != sorted(fresh):
        found.append(f"rollups {rollup} are not {fresh}")
    return found + [f"{what}: {rows[0][0]}" for what, rows in zip(zero, nothing, strict=True) if rows[0][0] != 0]


def _unlike(ledger: list[dict[str, Any]], tasks: dict[int, str], states: Counter[Any]) -> list[str]:
    """Tasks, and the states that each went through: those of the ledger, each once, and no others."""
    numbers = {entry["task"] for entry in ledger}
    found = [f"task {number} is in one of them only" for number in sorted(tasks.keys() ^ numbers)]
    for entry in ledger:
        number = entry["task"]
        for state in (*RAN, entry["state"]):
            if states.pop((number, state), 0) != 1:
                found.append(f"task {number}: not once {state}")
        if tasks.get(number) != entry["app"]:
            found.append(f"task {number} is {tasks.get(number)}, not {entry['app']}")
    return found + [f"more than there was: {extra}" for extra in states]
