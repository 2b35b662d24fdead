"""All benchmarks: `make bench` and `make bench-quick`.

In: `python -m tests.benchmarks.run [--quick] [--only NAME…] [--json FILE]`. Out: a table 'goal | figure | met', and a
file with the figures and the machine they were taken on, from which `plots` makes the tables and plots in docs.
Each benchmark is a process of its own with a time limit: one that fails costs its own figures only. The exit status is
1 when one failed, or, in the short form, when a ratio is out of its bounds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import existing
from tests.benchmarks.frame import PROGRESS, Figure, machine, saved, table


def ours(found: Any) -> list[Figure]:
    """What `frame.report` wrote."""
    return [Figure(**one) for one in found["figures"]]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A module with its arguments, how its JSON becomes figures, and its most seconds."""

    name: str
    arguments: tuple[str, ...] = ()
    read: Callable[[Any], list[Figure]] = ours
    seconds: float = 150


FULL = (
    Bench(name="bench_overhead", arguments=("--rounds", "5", "--tasks", "2000"), read=existing.overhead, seconds=540),
    Bench(name="bench_cost", arguments=("--rounds", "3"), read=existing.cost),
    Bench(name="bench_agent"),
    Bench(name="bench_ingest", seconds=700),
    Bench(name="bench_delay", seconds=240),
    Bench(name="bench_size", seconds=400),
    Bench(name="reading", seconds=1200),
    Bench(name="bench_viewers", arguments=("--bus", "--viewers", "200", "--seconds", "30"), seconds=300),
    Bench(name="load", seconds=300),
)
QUICK = (Bench(name="guard", seconds=150),)


def run(bench: Bench) -> tuple[list[Figure], str]:
    """The figures of one benchmark, and what went wrong."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", f"tests.benchmarks.{bench.name}", "--json", file.name, *bench.arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        last = ["it said nothing"]
        listener = threading.Thread(target=listen, args=(process, last), daemon=True)
        listener.start()
        try:
            process.wait(bench.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)  # so that it ends what it started
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            return [], f"{bench.name} took more than {bench.seconds:.0f} s"
        listener.join(10)  # something that it left behind may hold its stderr
        content = Path(file.name).read_text()
    if not content:
        return [], f"{bench.name} ended with status {process.returncode}: {last[0]}"
    return bench.read(json.loads(content)), ""


def listen(process: subprocess.Popen[str], last: list[str]) -> None:
    """Hand on what a benchmark tells of its progress, and keep the last thing that it said."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(PROGRESS):
            print(line, end="", file=sys.stderr, flush=True)
        if line.strip():
            last[0] = line.strip()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(argv)
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    found: list[Figure] = []
    troubles: list[str] = []
    about = machine()
    for bench in QUICK if chosen.quick else FULL:
        if chosen.only and bench.name not in chosen.only:
            continue
        began = time.monotonic()
        figures, trouble = run(bench)
        found += figures
        troubles += [trouble] if trouble else []
        print(f"{bench.name}: {trouble or 'done'} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    print(table(sorted(found, key=lambda one: one.goal)))
    print("\n".join(troubles))
    if chosen.json:
        content = {"machine": about, "load_after": os.getloadavg(), "figures": saved(found), "troubles": troubles}
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json.dumps(content, indent=1) + "\n")
    wrong = chosen.quick and any(figure.met is False for figure in found)
    return 1 if troubles or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
