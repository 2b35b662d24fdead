"""Figures of a benchmark run into the documentation: `make bench-docs`.

In: the JSON of `tests.benchmarks.run`. Out: the tables between the marks in docs/performance.md, plots in docs/images,
and the JSON itself beside them, so that the next run can be compared.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from html import escape
from math import log10
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
GOALS = {
    1: "Overhead on the workflow",
    2: "The agent",
    3: "Ingest",
    4: "Delay",
    5: "Size",
    6: "Reading: the dashboard at a million tasks and ten million samples",
    7: "Scale",
}
WIDTH, BAR, GAP, LABEL = 760, 18, 8, 300
BLUE, GREY, RED = "#3b7dd8", "#9aa5b1", "#c8553d"
STEP = re.compile(r"^(\d+) nodes: (.+)$")


def number(value: float) -> str:
    if value == 0 or abs(value) >= 100:  # more digits are noise
        return f"{value:,.0f}"
    return f"{value:.3g}"


def tables(figures: Sequence[dict[str, Any]]) -> str:
    """One table a goal, in Markdown."""
    parts = []
    for goal, title in GOALS.items():
        rows = [one for one in figures if one["goal"] == goal]
        if not rows:
            continue
        answer = {True: "yes", False: "**no**", None: ""}
        lines = [
            f"| {one['name']} | {number(one['value'])} {one['unit']} | {one['asked']} | {answer[one['met']]} "
            f"| {one['note']} |"
            for one in rows
        ]
        parts.append(
            "\n".join([f"### {goal}. {title}\n", "| what | figure | goal | met | |", "|---|---|---|---|---|", *lines])
        )
    return "\n\n".join(parts)


def about(content: dict[str, Any]) -> str:
    """The machine in one paragraph."""
    of = content["machine"]
    versions = ", ".join(f"{name} {of[name]}" for name in ("python", "sqlite", "parsl", "msgspec", "pika", "psycopg"))
    return (
        f"Taken at {of['at']} on {of['cores']} cores ({of['processor']}), {of['memory']} of memory, Linux "
        f"{of['kernel']}; {versions}. Load: {of['load'][0]:.1f} before, {content['load_after'][0]:.1f} after."
    )


def bars(title: str, rows: Sequence[tuple[str, float, bool | None]], unit: str) -> str:
    """Horizontal bars as SVG: name, value, and whether it is a goal that was met (None: told for comparison)."""
    most = max((value for _, value, _ in rows), default=1) or 1
    height = 34 + len(rows) * (BAR + GAP)
    out = [_head(height), f'<text x="0" y="16" font-weight="bold">{escape(title)}</text>']
    for at, (name, value, met) in enumerate(rows):
        y = 28 + at * (BAR + GAP)
        long = (WIDTH - LABEL - 110) * value / most
        colour = {True: BLUE, False: RED, None: GREY}[met]
        out += [
            f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{max(long, 1):.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LABEL + long + 6:.1f}" y="{y + 13}">{number(value)} {escape(unit)}</text>',
        ]
    return "\n".join([*out, "</svg>\n"])


def lines(title: str, series: dict[str, list[tuple[float, float]]], across: str, up: str) -> str:
    """Lines over a logarithmic axis of numbers of nodes, as SVG."""
    points = [point for some in series.values() for point in some]
    if not points:
        return ""
    right, top = log10(max(x for x, _ in points)) or 1, max(y for _, y in points) or 1
    left, high, wide, deep = 60, 30, WIDTH - 240, 200

    def place(x: float, y: float) -> tuple[float, float]:
        return left + wide * log10(x) / right, high + deep * (1 - y / top)

    out = [_head(high + deep + 46), f'<text x="0" y="16" font-weight="bold">{escape(title)}</text>']
    out.append(f'<path d="M{left} {high}V{high + deep}H{left + wide}" fill="none" stroke="{GREY}"/>')
    out.append(f'<text x="{left - 6}" y="{high + 10}" text-anchor="end">{number(top)}</text>')
    out.append(f'<text x="{left - 6}" y="{high + deep}" text-anchor="end">0</text>')
    for x in sorted({x for x, _ in points}):
        out.append(f'<text x="{place(x, 0)[0]:.0f}" y="{high + deep + 18}" text-anchor="middle">{number(x)}</text>')
    out.append(f'<text x="{left + wide / 2}" y="{high + deep + 38}" text-anchor="middle">{escape(across)}</text>')
    out.append(f'<text x="{left + 6}" y="{high - 4}">{escape(up)}</text>')
    for colour, (name, some) in zip((BLUE, RED, "#4c9f70", GREY), series.items(), strict=False):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in sorted(some)))
        end = place(*max(some))
        out += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{end[0] + 8:.0f}" y="{end[1] + 4:.0f}" fill="{colour}">{escape(name)}</text>',
        ]
    return "\n".join([*out, "</svg>\n"])


def _head(height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    )


def plots(figures: Sequence[dict[str, Any]]) -> dict[str, str]:
    """File name → SVG."""
    found = {}
    for name, goal, unit, title in (
        ("overhead", 1, "tasks/s", "No-op tasks a second"),
        ("ingest", 3, "records/s", "Records a second through each stage"),
        ("way", 4, "s", "From the event to where it is seen"),
        ("size", 5, "bytes a task", "Room that a task takes"),
        ("reading", 6, "ms", "The slowest answers of the dashboard at a million tasks, p95"),
    ):
        rows = [
            (one["name"], one["value"], one["met"]) for one in figures if one["goal"] == goal and one["unit"] == unit
        ]
        if rows:
            found[f"performance-{name}.svg"] = bars(title, rows, unit)
    cpu: dict[str, list[tuple[float, float]]] = {}
    delay: dict[str, list[tuple[float, float]]] = {}
    for one in figures:
        step = STEP.match(one["name"])
        if step and one["unit"] == "% of a core":
            cpu.setdefault(step[2], []).append((float(step[1]), one["value"]))
        elif step and one["unit"] == "s":
            delay.setdefault("p99", []).append((float(step[1]), one["value"]))
    if cpu:
        found["performance-cpu.svg"] = lines("CPU of each service", cpu, "nodes of 128 workers", "% of a core")
        found["performance-delay.svg"] = lines("From shipping to the committed row", delay, "nodes of 128 workers", "s")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    source, *elsewhere = map(Path, sys.argv[1:] if argv is None else argv)
    docs = elsewhere[0] if elsewhere else DOCS
    content = json.loads(source.read_text())
    drawn = plots(content["figures"])
    for name, svg in drawn.items():
        (docs / "images" / name).write_text(svg)
    page = docs / "performance.md"
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    pictures = "\n".join(
        f"![{name.removeprefix('performance-').removesuffix('.svg')}](images/{name})" for name in drawn
    )
    failed = "".join(f"\n* {trouble}" for trouble in content["troubles"])
    missing = f"\n\nWithout figures in this run:\n{failed}" if failed else ""
    middle = f"\n{about(content)}{missing}\n\n{tables(content['figures'])}\n\n{pictures}\n"
    page.write_text(f"{before}{BEGIN}\n{middle}\n{END}{after}")
    (docs / "performance.json").write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
