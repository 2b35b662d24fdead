"""Blocks over time: one row a block, coloured by the status that it had.

In: blocks with their histories. Out: a plotly figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from heliograph_dashboard.components.times import duration, local
from heliograph_dashboard.figures.colours import RUN, STATE, template
from heliograph_dashboard.figures.labels import label
from heliograph_store.read.nodes import Block
from heliograph_store.read.presence import BLOCK_ENDS

STATUS: Final[Mapping[str, str]] = {
    "PENDING": STATE["pending"],
    "HELD": "#f59f00",
    "RUNNING": STATE["running"],
    "COMPLETED": STATE["exec_done"],
    "SCALED_IN": "#63c9a5",
    "FAILED": STATE["failed"],
    "TIMEOUT": "#f08c00",
    "CANCELLED": "#7950f2",
    "MISSING": STATE["dep_fail"],
}
"""Of a block's status, in Parsl's words."""
MOST: Final = 200
"""Rows that a figure shows; the table has all blocks."""


def status_colour(status: str) -> str:
    return STATUS.get(status.upper(), RUN["unknown"])


def figure(blocks: Sequence[Block], *, until: int, theme: str | None, zone: str) -> dict[str, Any]:
    """The latest blocks; `until` (microseconds UTC) is how far the last status of a block that did not end reaches."""
    shown = sorted(blocks, key=lambda block: block.history[0].at)[-MOST:]
    rows = {(b.executor, b.block): label(f"{b.executor} {b.block}", 32) for b in shown}
    bars: dict[str, list[tuple[str, int, int, str | None]]] = {}
    marks: list[tuple[str, int, str]] = []
    for block in shown:
        row = rows[(block.executor, block.block)]
        for change, after in pairwise(block.history):
            bars.setdefault(change.status, []).append((row, change.at, after.at, block.job_id))
        last = block.history[-1]
        if last.status.upper() in BLOCK_ENDS:
            marks.append((row, last.at, last.status))
        else:
            bars.setdefault(last.status, []).append((row, last.at, max(until, last.at), block.job_id))
    data = [_bars(status, some, zone) for status, some in sorted(bars.items(), key=lambda item: _order(item[0]))]
    return {
        "data": [*data, *_ends(marks, zone)],
        "layout": {
            "template": template(theme),
            "barmode": "overlay",
            "bargap": 0.35,
            "height": 90 + 26 * max(2, len(rows)),
            "margin": {"t": 30, "b": 36, "l": 90, "r": 16},
            "hovermode": "closest",
            "xaxis": {"type": "date"},
            "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": list(rows.values())[::-1]},
            "uirevision": "blocks",
        },
    }


def _order(status: str) -> tuple[int, str]:
    known = list(STATUS)
    return (known.index(status.upper()) if status.upper() in known else len(known)), status


def _bars(status: str, some: Sequence[tuple[str, int, int, str | None]], zone: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": label(status, 24),
        "y": [row for row, *_ in some],
        "base": local([began for _, began, _, _ in some], zone),
        "x": [(ended - began) / 1000 for _, began, ended, _ in some],
        "marker": {"color": status_colour(status)},
        "customdata": [
            [label(status, 24), duration(ended - began), label(job, 60) or "no job id"] for _, began, ended, job in some
        ],
        "hovertemplate": "%{y}: %{customdata[0]} for %{customdata[1]}<br>job %{customdata[2]}<extra></extra>",
    }


def _ends(marks: Sequence[tuple[str, int, str]], zone: str) -> list[dict[str, Any]]:
    """How blocks ended: a mark where they did."""
    by_status: dict[str, list[tuple[str, int]]] = {}
    for row, at, status in marks:
        by_status.setdefault(status, []).append((row, at))
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": label(status, 24),
            "x": local([at for _, at in some], zone),
            "y": [row for row, _ in some],
            "marker": {"color": status_colour(status), "size": 11, "symbol": "diamond"},
            "hovertemplate": "%{y}: " + label(status, 24).replace("%", "") + "<br>%{x}<extra></extra>",
        }
        for status, some in sorted(by_status.items(), key=lambda item: _order(item[0]))
    ]
