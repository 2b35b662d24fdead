"""The demo: starts Heliograph on SQLite and a folder, runs a real Parsl workflow, and shows what arrives while it runs.

In: a folder for everything that it makes, and `--once` to check and stop instead of staying up. Out: progress for each
app, a summary read back from the database, and with `--once` exit status 1 when database and ledger disagree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from heliograph.messages import State

STATES = [state.value for state in State]
HERE = Path(__file__).resolve().parent
DEMO_MARK = ".heliograph-demo"
ROLLUP = """
    SELECT apps.name, run_states.state, run_states.tasks FROM run_states
    JOIN runs ON runs.id = run_states.run JOIN apps ON apps.id = run_states.app
    WHERE runs.run = ? AND run_states.tasks > 0"""
AGENTS = """
    SELECT COUNT(*) FROM agents JOIN runs ON runs.id = agents.run
    WHERE runs.run = ? AND NOT COALESCE(agents.ended, 0)"""
AGENT_PATIENCE = 20.0
"""Seconds for agents to say their last word: one that watches over other runs, too, goes on."""


@contextlib.contextmanager
def heliograph_up(folder: Path) -> Iterator[dict[str, str]]:
    """`heliograph up` on a free port for as long as the block runs; gives its addresses."""
    address = folder / "address.json"
    command = [sys.executable, "-m", "heliograph.cli", "up", "--data", str(folder), "--port", "0"]
    with (folder / "heliograph-up.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(address.exists, process, "heliograph up", folder / "heliograph-up.log")
        yield json.loads(address.read_text(encoding="utf-8"))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], name: str, log: Path) -> None:
    """Until `ready()`; a process that ended instead is an error that shows its last lines."""
    end = time.monotonic() + 60
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
            raise SystemExit(f"{name} did not start; the end of {log} says:\n{tail}")
        time.sleep(0.1)


def progress(database: Path, run: str) -> dict[str, dict[str, int]]:
    """Tasks of each app by state, from the rollup that the writer keeps."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
    counts: dict[str, dict[str, int]] = {}
    try:
        for app, rank, tasks in connection.execute(ROLLUP, (run,)):
            counts.setdefault(app, {})[STATES[rank] if rank < len(STATES) else "unknown"] = tasks
    finally:
        connection.close()
    return counts


def lines(counts: dict[str, dict[str, int]], width: int = 28) -> list[str]:
    """A bar for each app: done, failed, running, still to come."""
    shown = []
    for app, states in sorted(counts.items()):
        total = sum(states.values())
        done = states.get("exec_done", 0) + states.get("memo_done", 0)
        failed = states.get("failed", 0) + states.get("dep_fail", 0)
        running = sum(states.get(s, 0) for s in ("running", "running_ended", "joining"))
        bar = "".join(mark * round(width * n / total) for mark, n in (("█", done), ("×", failed), ("▒", running)))
        shown.append(
            f"  {app:<14} {bar[:width]:<{width}} {done:>3}/{total} done"
            + (f", {running} running" if running else "")
            + (f", {failed} failed" if failed else "")
        )
    return shown


def show(shown: list[str], before: int) -> int:
    """Draw over the lines drawn before where the output is a terminal; otherwise one summary line now and then."""
    if sys.stdout.isatty():
        print(f"\x1b[{before}A" * bool(before) + "\n".join(f"\x1b[2K{line}" for line in shown), flush=True)
        return len(shown)
    print("\n".join(shown), flush=True)
    return 0


def watch(workflow: subprocess.Popen[bytes], folder: Path, database: Path) -> None:
    """Progress for each app while the workflow runs."""
    drawn, every = 0, 1.0 if sys.stdout.isatty() else 10.0
    while workflow.poll() is None:
        time.sleep(every)
        run_id = folder / "run-id"
        if not run_id.exists() or not database.exists():
            continue
        with contextlib.suppress(sqlite3.OperationalError):  # the writer has not made its tables yet
            drawn = show(lines(progress(database, run_id.read_text(encoding="utf-8"))), drawn)


def settled(folder: Path, database: Path, seconds: float = 60.0) -> None:
    """Wait until the writer has the run's end, the last samples stopped coming, and the run's agents have ended: one
    that finds nobody to ship to any more would keep what it has and try again for an hour."""
    run, began, before = (folder / "run-id").read_text(encoding="utf-8"), time.monotonic(), -1
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
    try:
        while (waited := time.monotonic() - began) < seconds:
            ended = connection.execute("SELECT time_completed FROM workflow WHERE run_id = ?", (run,)).fetchone()
            samples = connection.execute("SELECT COUNT(*) FROM resource WHERE run_id = ?", (run,)).fetchone()[0]
            agents = connection.execute(AGENTS, (run,)).fetchone()[0]
            if ended and ended[0] and samples == before and (not agents or waited > AGENT_PATIENCE):
                return
            before = samples
            time.sleep(2)
    finally:
        connection.close()
    print("the run's end has not arrived in the database within a minute", file=sys.stderr)


def main() -> int:
    """Run the demo in the folder given; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--once", action="store_true", help="check and stop instead of staying up")
    parser.add_argument("folder", type=Path, help="where everything goes; what an earlier demo left there is removed")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / DEMO_MARK).exists():
        print(f"{folder} holds something that is not an earlier demo; name another folder", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / DEMO_MARK).touch()
    try:
        return demo(folder, once=options.once)
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


def demo(folder: Path, *, once: bool) -> int:
    """Start everything, run the workflow, show it, and check it or stay up."""
    with heliograph_up(folder) as address:
        database = Path(address["database"].removeprefix("sqlite:///"))
        print(f"Look at  {address['dashboard']}\nAPI      {address['hub']}\nQuery    {database}\n", flush=True)
        port = address["hub"].rpartition(":")[2].strip("/")
        log_path = folder / "workflow.log"
        with log_path.open("wb") as log:
            command = [sys.executable, str(HERE / "workflow.py"), str(folder), port]
            # HTEX looks for its own programs on PATH: this environment's come first.
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
            workflow = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, "PATH": path})
            try:
                watch(workflow, folder, database)
            except KeyboardInterrupt:
                workflow.terminate()
                workflow.wait(30)
                raise
        if workflow.returncode != 0:
            print(f"the workflow ended with {workflow.returncode}; see {log_path}", file=sys.stderr)
            return 1
        settled(folder, database)
        print()
        result = subprocess.run(
            [sys.executable, str(HERE / "check.py"), str(folder / "ledger.jsonl"), str(database)], check=False
        ).returncode
        if once:
            return result
        print(f"\nEverything stays up: {address['dashboard']}  (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
