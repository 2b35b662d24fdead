"""What all benchmarks share: a figure next to its goal, the machine it was taken on, a table, a file.

In: figures. Out: a table 'goal | figure | met' and JSON. A benchmark is a module with `figures(quick)`; `report` is
what its `main` does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`goal` is its number in docs/performance.md; a figure without `asked` is told for comparison."""

    goal: int
    name: str
    value: float
    unit: str
    asked: str = ""
    met: bool | None = None
    note: str = ""


def at_least(goal: int, name: str, value: float, unit: str, bound: float, note: str = "") -> Figure:  # noqa: PLR0917
    """A figure that is to reach `bound`."""
    asked = f"at least {bound:,g}"
    return Figure(goal=goal, name=name, value=value, unit=unit, asked=asked, met=value >= bound, note=note)


def at_most(goal: int, name: str, value: float, unit: str, bound: float, note: str = "") -> Figure:  # noqa: PLR0917
    """A figure that is to stay within `bound`."""
    asked = f"at most {bound:,g}"
    return Figure(goal=goal, name=name, value=value, unit=unit, asked=asked, met=value <= bound, note=note)


def told(goal: int, name: str, value: float, unit: str, note: str = "") -> Figure:
    """A figure without a goal of its own."""
    return Figure(goal=goal, name=name, value=value, unit=unit, note=note)


def table(figures: Sequence[Figure]) -> str:
    """One line a figure: number and name of the goal, what is asked, the figure, whether it is met."""
    answers = {True: "met", False: "NOT MET", None: ""}
    lines = [
        f"{f.goal}  {f.name:58} {f'{f.value:,.4g}' if abs(f.value) < 1000 else f'{f.value:,.0f}':>12} {f.unit:14} "
        f"{f.asked:20} {answers[f.met]}" + (f"  ({f.note})" if f.note else "")
        for f in figures
    ]
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "processor": _first(Path("/proc/cpuinfo"), "model name"),
        "memory": _first(Path("/proc/meminfo"), "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in ("parsl", "msgspec", "pika", "psycopg", "SQLAlchemy", "psutil")},
        "load": os.getloadavg(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _first(path: Path, key: str) -> str:
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "unknown")


def saved(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    return [asdict(figure) for figure in figures]


PROGRESS = "… "
"""Begins a line on stderr that `run` hands on: what a benchmark is doing."""


def progress(text: str) -> None:
    print(f"{PROGRESS}{text}", file=sys.stderr, flush=True)


def report(figures: Callable[[bool], list[Figure]], about: str | None, argv: Sequence[str] | None = None) -> int:
    """The `main` of a benchmark: take the figures, print them, write them where asked."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the short form")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(argv)
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]
    show(figures(chosen.quick), chosen.json)
    return 0


def show(found: Sequence[Figure], path: Path | None) -> None:
    """Print the figures, and write them where asked."""
    print(table(found))
    if path:
        path.write_text(json.dumps({"machine": machine(), "figures": saved(found)}, indent=1) + "\n")
