"""Holds what the database says against what the workflow itself wrote down, and says what differs.

In: the ledger (`ledger.jsonl`) and the database. Out: a summary on standard output; exit status 0 when both agree,
1 when they do not. Uses the standard library and Parsl's table names only, as anybody's own SQL would.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import Any

TASKS = """
    SELECT task.task_id, task_func_name, task_depends, task_memoize, task_time_invoked, task_time_returned
    FROM task WHERE task.run_id = ?"""
STATES = "SELECT task_id, try_id, task_status_name FROM status WHERE run_id = ?"
TRIES = """
    SELECT task_id, try_id, hostname, block_id, task_executor, task_joins, task_try_time_launched,
           task_try_time_running, task_try_time_returned FROM try WHERE run_id = ?"""
RESOURCES = """
    SELECT task_id, COUNT(*), MAX(psutil_process_memory_resident),
           MAX(psutil_process_time_user + psutil_process_time_system)
    FROM resource WHERE run_id = ? GROUP BY task_id"""
FINAL = ("exec_done", "memo_done", "failed", "dep_fail")


def differences(ledger: list[dict[str, Any]], database: sqlite3.Connection, run: str) -> list[str]:
    """One line for each thing on which the ledger and the database disagree; empty when they agree."""
    tasks = {row[0]: row for row in database.execute(TASKS, (run,))}
    states: dict[int, set[str]] = {}
    for task, _, state in database.execute(STATES, (run,)):
        states.setdefault(task, set()).add(state)
    tries: dict[int, list[Any]] = {}
    for row in database.execute(TRIES, (run,)):
        tries.setdefault(row[0], []).append(row)
    resources = {row[0]: row[1:] for row in database.execute(RESOURCES, (run,))}
    unknown = sorted(set(tasks) - {entry["task"] for entry in ledger})
    found = [f"task {number} is in the database and not in the ledger" for number in unknown]
    for entry in ledger:
        number = entry["task"]
        if number not in tasks:
            found.append(f"task {number} ({entry['app']}) is missing from the database")
            continue
        rows = (tasks[number], states.get(number, set()), tries.get(number, []), resources.get(number))
        found += [f"task {number} ({entry['app']}): {problem}" for problem in _problems(entry, *rows)]
    return found


def _problems(entry: dict[str, Any], task: Any, states: set[str], tries: list[Any], resources: Any) -> list[str]:
    """What is wrong with one task's rows."""
    final = sorted(states & set(FINAL))
    ran = [t for t in tries if t[7] is not None]
    depends = sorted(int(d) for d in (task[2] or "").split(",") if d)
    checks = [
        (task[1] == entry["app"], f"app is {task[1]!r}, not {entry['app']!r}"),
        (final == [entry["state"]], f"final states are {final}, not {entry['state']}"),
        (depends == entry["depends"], f"depends on {depends}, not {entry['depends']}"),
        (len(ran) == entry["tries"], f"{len(ran)} tries ran, not {entry['tries']}"),
        (task[4] is not None and task[5] is not None, "has no time of invocation or return"),
        (all(t[2] for t in ran), "a try that ran has no host"),
    ]
    if "joins" in entry:
        joins = [j for t in tries for j in (t[5] or "").split(",") if j]
        checks.append((len(joins) == entry["joins"], f"joins {len(joins)} tasks, not {entry['joins']}"))
    if "peak_megabytes" in entry:
        peak = (resources[1] if resources else 0) / (1 << 20)
        checks.append((peak >= entry["peak_megabytes"], f"peak of {peak:.0f} MB is under {entry['peak_megabytes']} MB"))
    if "cpu_seconds" in entry:
        cpu = resources[2] if resources else 0
        checks.append((cpu >= entry["cpu_seconds"], f"{cpu:.2f} s of processor time is under {entry['cpu_seconds']} s"))
    return [text for good, text in checks if not good]


def summary(database: sqlite3.Connection, run: str) -> list[str]:
    """The run as the database tells it: a line an app."""
    apps = dict(database.execute("SELECT task_id, task_func_name FROM task WHERE run_id = ?", (run,)))
    counts: dict[str, Counter[str]] = {}
    for task, _, state in database.execute(STATES, (run,)):
        if state in FINAL:
            counts.setdefault(apps.get(task, "?"), Counter())[state] += 1
    samples = database.execute("SELECT COUNT(*) FROM resource WHERE run_id = ?", (run,)).fetchone()[0]
    nodes = database.execute("SELECT COUNT(DISTINCT hostname) FROM node WHERE run_id = ?", (run,)).fetchone()[0]
    blocks = database.execute("SELECT COUNT(DISTINCT block_id) FROM block WHERE run_id = ?", (run,)).fetchone()[0]
    lines = [
        f"  {app:<14} " + "  ".join(f"{state} {number}" for state, number in sorted(states.items()))
        for app, states in sorted(counts.items())
    ]
    total = sum(sum(c.values()) for c in counts.values())
    return [f"{total} tasks of {len(counts)} apps, {samples} resource samples, {nodes} node, {blocks} block", *lines]


def main() -> int:
    """`check.py LEDGER DATABASE`: print the summary, compare, and tell by the exit status."""
    if len(sys.argv) != 3:
        print("usage: check.py LEDGER DATABASE", file=sys.stderr)
        return 2
    ledger_path, path = Path(sys.argv[1]), Path(sys.argv[2])
    for needed in (ledger_path, path):
        if not needed.exists():
            print(f"{needed} does not exist; run the demo first", file=sys.stderr)
            return 2
    ledger = [json.loads(line) for line in ledger_path.read_text(encoding="utf-8").splitlines()]
    run = (ledger_path.parent / "run-id").read_text(encoding="utf-8").strip()
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)
    try:
        print("\n".join(summary(database, run)))
        found = differences(ledger, database, run)
    finally:
        database.close()
    for line in found:
        print(f"DIFFERENT: {line}", file=sys.stderr)
    print(f"ledger and database {'agree' if not found else 'disagree'} on {len(ledger)} tasks")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
