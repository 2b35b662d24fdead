"""How well workers are used over time: busy ones as an area under the line of those that there were.

In: the stretches of `heliograph_store.read.efficiency.over_time`. Out: a plotly figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heliograph_dashboard.components.times import local
from heliograph_dashboard.figures.colours import STATE, template
from heliograph_store.read.efficiency import Occupancy


def workers(moments: Sequence[Occupancy], *, theme: str | None, zone: str) -> dict[str, Any]:
    """Workers busy and available, in steps: each value is the mean of its stretch."""
    x = local([moment.at for moment in moments], zone)
    if len(moments) > 1:  # the last stretch has a length too
        x += local([2 * moments[-1].at - moments[-2].at], zone)
    busy = [round(m.busy, 3) for m in moments]
    available = [round(m.available, 3) for m in moments]
    shares = [f"{m.busy / m.available:.0%} of them" if m.available else "" for m in moments]
    if len(moments) > 1:
        busy, available, shares = [*busy, busy[-1]], [*available, available[-1]], [*shares, shares[-1]]
    grey = "#98a3af" if theme == "dark" else "#5b6672"
    return {
        "data": [
            {
                "type": "scatter", "mode": "lines", "name": "busy workers", "x": x, "y": busy, "fill": "tozeroy",
                "fillcolor": "rgba(28,126,214,0.35)", "line": {"shape": "hv", "width": 1, "color": STATE["running"]},
                "customdata": shares, "hovertemplate": "%{y:,.3~f}, %{customdata}",
            },
            {
                "type": "scatter", "mode": "lines", "name": "workers there", "x": x, "y": available,
                "line": {"shape": "hv", "width": 1.5, "color": grey}, "hovertemplate": "%{y:,.3~f}",
            },
        ],
        "layout": {
            "template": template(theme),
            "height": 240,
            "margin": {"t": 28, "b": 32, "l": 56, "r": 12},
            "hovermode": "x unified",
            "xaxis": {"type": "date"},
            "yaxis": {"rangemode": "tozero"},
            "uirevision": "workers",
        },
    }  # fmt: skip
