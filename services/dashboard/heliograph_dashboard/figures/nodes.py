"""How busy nodes are: all of them over time as one picture, or one of them as a small line.

In: busy time by node and stretch of time. Out: plotly figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from heliograph_dashboard.components.times import local
from heliograph_dashboard.figures.colours import STATE, template
from heliograph_dashboard.figures.labels import label
from heliograph_dashboard.figures.packed import packed

MOST: Final = 400
"""Rows that the picture shows; a screen has no more lines to give."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Busy workers of each node in each stretch, on average; `at` are where the stretches begin (microseconds UTC)."""

    at: Sequence[int]
    width: int
    busy: Mapping[str, Sequence[float]]


def picture(load: Load, workers: Mapping[str, int | None], *, theme: str | None, zone: str) -> dict[str, Any]:
    """A row a node, a column a stretch, the darker the busier. A node that told no workers is measured by its busiest
    moment."""
    hosts = sorted(load.busy)[:MOST]
    scale = {host: workers.get(host) or max(load.busy[host], default=0) or 1 for host in hosts}
    shares = np.array([np.asarray(load.busy[host], dtype=np.float32) / scale[host] for host in hosts])
    names = [label(host, 40) for host in hosts]
    ground = "#22272e" if theme == "dark" else "#f1f3f5"
    return {
        "data": [
            {
                "type": "heatmap",
                "x": local([at + load.width // 2 for at in load.at], zone),
                "y": names,
                "z": packed(np.minimum(shares, 1).astype(np.float32)) if hosts else [],
                "zmin": 0,
                "zmax": 1,
                "colorscale": [[0, ground], [1, STATE["running"]]],
                "hovertemplate": "%{y}<br>%{z:.0%} of its workers busy<br>%{x}<extra></extra>",
                "colorbar": {"tickformat": ".0%", "thickness": 10, "outlinewidth": 0},
                "ygap": 1 if len(hosts) <= 100 else 0,
            }
        ],
        "layout": {
            "template": template(theme),
            "height": max(160, min(640, 70 + 14 * len(hosts))),
            "margin": {"t": 10, "b": 32, "l": 120, "r": 12},
            "xaxis": {"type": "date", "showgrid": False},
            "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
            "uirevision": "nodes",
        },
    }
