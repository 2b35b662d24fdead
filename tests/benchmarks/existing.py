"""Benchmarks with a form of their own, brought under the frame.

In: the JSON that each writes. Out: figures.
"""

from __future__ import annotations

from typing import Any

from tests.benchmarks.frame import Figure, at_least, told


def overhead(found: Any) -> list[Figure]:
    """`bench_overhead`: rates of no-op tasks."""
    rows = found["summary"]
    figures = [
        told(
            1,
            f"no-op tasks, {name}",
            row["tasks_per_second"],
            "tasks/s",
            f"{row['of_unmonitored']:.2f} of none; {row['processor_us']:,.0f} µs of processor a task",
        )
        for name, row in rows.items()
    ]
    ours = rows.get("heliograph")
    if ours:
        figures.append(at_least(1, "no-op tasks, of the unmonitored rate", ours["of_unmonitored"], "", 0.9))
    return figures


def cost(found: Any) -> list[Figure]:
    """`bench_cost`: what recording takes besides the rate; its figures carry their goals."""
    return [
        Figure(goal=1, name=one["name"], value=one["value"], unit=one["unit"], asked=one["goal"], met=one["met"])
        for one in found
    ]
