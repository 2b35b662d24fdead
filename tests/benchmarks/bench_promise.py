"""The workflow comes first: what a workflow's time is with each part of Heliograph taken away in turn.

In: how many rounds. Out: a table of the times of one small HTEX workflow, each way next to the unmonitored run of the
same round (median, and the median of the differences in seconds with its bootstrapped 95 % interval); exit status 1
when a result differed. Order changes from round to round.

    python -m tests.benchmarks.bench_promise --rounds 7 --json promise.json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.parsl.flows import BLOCKED, agents, bus, finished, flow

PAUSE = 1.0
"""Seconds that the workflow idles twice, so that what is killed then is looked for by the next record."""
AGENT = {"HELIOGRAPH_AGENT": "on"}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How the workflow is monitored, and what is missing."""

    hub: dict[str, Any] | None
    environment: dict[str, str] = field(default_factory=lambda: dict(AGENT))
    worker_init: str = ""
    kill_agents: bool = False


def ways(folder: Path) -> dict[str, Callable[[], Way]]:
    """Each by its name; made anew for every run, in a folder of its own."""

    def unusable() -> Way:
        (folder / "state").write_text("a file where the folder should be")
        return Way(hub=bus(folder))

    def full() -> Way:
        site = folder / "site.json"
        site.write_text(json.dumps({"process_disk": 6000}))
        return Way(hub=bus(folder), environment={**AGENT, "HELIOGRAPH_SITE_FILE": str(site)})

    def missing() -> Way:
        blocker = folder / "blocker" / "heliograph"
        blocker.mkdir(parents=True)
        (blocker / "__init__.py").write_text(BLOCKED)
        return Way(hub=bus(folder), worker_init=f"export PYTHONPATH={blocker.parent}:$PYTHONPATH")

    hub = {"resource_monitoring_interval": 1}
    return {
        "unmonitored": lambda: Way(hub=None),
        "all there": lambda: Way(hub=bus(folder)),
        "no agent": lambda: Way(hub=bus(folder), environment={"HELIOGRAPH_AGENT": "off"}),
        "agent killed": lambda: Way(hub=bus(folder), kill_agents=True),
        "state folder unusable": unusable,
        "state folder full": full,
        "broker down": lambda: Way(hub={**hub, "bus_url": "amqp://guest:guest@127.0.0.1:9/"}),
        "hub refuses": lambda: Way(hub={**hub, "hub_address": "127.0.0.1", "hub_port": 9}),
        "hub behind a firewall": lambda: Way(hub={**hub, "hub_address": "192.0.2.1"}),
        "not installed on the worker": missing,
    }


def run(name: str) -> dict[str, Any]:
    """One run of the workflow, this way: its seconds and results."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as top:
        folder = Path(top)
        way = ways(folder)[name]()
        with flow(folder, way.hub, way.environment, worker_init=way.worker_init, pause=PAUSE) as process:
            if way.kill_agents:
                threading.Thread(target=_kill, args=[folder], daemon=True).start()
            return finished(process)


def _kill(folder: Path) -> None:
    for agent in agents(folder, 1):
        agent.kill()


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The bootstrapped 95 % interval of a median."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(differences, k=len(differences))) for _ in range(2000))
    return medians[50], medians[-51]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=[], help="ways to run besides the unmonitored one")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    names = [name for name in ways(Path()) if not asked.only or name in {"unmonitored", *asked.only}]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    results = set()
    for number in range(asked.rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            found = run(name)
            seconds[name].append(found["seconds"])
            results.add(json.dumps(found["results"]))
        print(f"round {number + 1} of {asked.rounds}", file=sys.stderr)
    report = {name: _row(times, seconds["unmonitored"]) for name, times in seconds.items()}
    print(f"{'':28}  median s  difference to unmonitored, s (95 %)")
    for name, row in report.items():
        print(f"{name:28}  {row['median']:8.2f}  {row['difference']:+.2f} ({row['low']:+.2f} … {row['high']:+.2f})")
    print(f"results {'are the same in all runs' if len(results) == 1 else 'DIFFER'}; {os.cpu_count()} processors")
    if asked.json:
        asked.json.write_text(json.dumps({"seconds": seconds, "table": report}, indent=2) + "\n")
    return int(len(results) > 1)


def _row(times: Sequence[float], unmonitored: Sequence[float]) -> dict[str, float]:
    differences = [one - base for one, base in zip(times, unmonitored, strict=True)]
    low, high = interval(differences)
    return {
        "median": statistics.median(times),
        "difference": statistics.median(differences),
        "low": low,
        "high": high,
    }


if __name__ == "__main__":
    sys.exit(main())
