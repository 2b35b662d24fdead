"""How a measure is spread over the tries of apps: a box an app, or the histogram of one.

In: histograms as `heliograph_store.read.apps` keeps them. Out: plotly figures. Axes are logarithmic, because run times
and memory differ by orders of magnitude; bins are about a tenth wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heliograph_dashboard.components.times import duration, size
from heliograph_dashboard.figures.colours import template
from heliograph_dashboard.figures.labels import app_label
from heliograph_store.read.apps import Bin, Measure

TITLES: Final[Mapping[Measure, str]] = {
    "run_time": "Run time",
    "waiting": "Waiting time",
    "memory": "Peak memory",
    "cpu": "CPU time",
}
MOST: Final = 40
"""Apps in one figure; those with the most tries."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """Quantiles of a measure: 5, 25, 50, 75 and 95 percent, in microseconds or bytes."""

    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float
    tries: int


def told(measure: Measure, value: float) -> str:
    return size(value) if measure == "memory" else duration(value)


def box(bins: Sequence[Bin]) -> Box | None:
    """Quantiles out of a histogram; inside of a bin values are taken to be spread evenly."""
    tries = sum(b.tries for b in bins)
    if not tries:
        return None
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    low, quarter, median, three, high = (_quantile(bins, share * tries) for share in shares)
    return Box(low=low, quarter=quarter, median=median, three_quarters=three, high=high, tries=tries)


def _quantile(bins: Sequence[Bin], rank: float) -> float:
    seen = 0
    for b in bins:
        if seen + b.tries >= rank:
            if b.tries == 1:
                return float(b.total)
            return b.low + (b.high - b.low) * (rank - seen) / b.tries
        seen += b.tries
    return float(bins[-1].high)


def boxes(
    histograms: Mapping[str | None, Sequence[Bin]],
    measure: Measure,
    colours: Mapping[str | None, str],
    *,
    theme: str | None,
) -> dict[str, Any]:
    """A box an app: the middle half, the median, whiskers from 5 to 95 percent. Apps without values are left out."""
    found = {app: made for app, bins in histograms.items() if (made := box(bins)) is not None}
    shown = sorted(found, key=lambda app: -found[app].tries)[:MOST]
    data = [_box(app, found[app], measure, colours.get(app, "#868e96")) for app in shown]
    return {
        "data": data,
        "layout": {
            "template": template(theme),
            "height": max(160, 64 + 34 * len(data)),
            "margin": {"t": 8, "b": 40, "l": 120, "r": 16},
            "showlegend": False,
            "xaxis": _axis(measure, [b for app in shown for b in (found[app].low, found[app].high)]),
            "yaxis": {"type": "category", "autorange": "reversed"},
            "uirevision": f"boxes-{measure}",
        },
    }


def _box(app: str | None, made: Box, measure: Measure, colour: str) -> dict[str, Any]:
    name = app_label(app, 28)
    hover = (
        f"{made.tries:,} tries<br>median {told(measure, made.median)}<br>half of them {told(measure, made.quarter)} to "
        f"{told(measure, made.three_quarters)}<br>5 % below {told(measure, made.low)}, "
        f"5 % above {told(measure, made.high)}"
    )
    unit = _unit(measure)
    return {
        "type": "box",
        "orientation": "h",
        "name": name,
        "y": [name],
        "q1": [made.quarter / unit],
        "median": [made.median / unit],
        "q3": [made.three_quarters / unit],
        "lowerfence": [made.low / unit],
        "upperfence": [made.high / unit],
        "line": {"color": colour, "width": 1.5},
        "hoverinfo": "text",
        "hovertext": hover,
        "text": hover,
    }


def histogram(bins: Sequence[Bin], measure: Measure, colour: str, *, theme: str | None) -> dict[str, Any]:
    """The tries of one app by what they took or used."""
    unit = _unit(measure)
    shown = [b for b in bins if b.high > 0]
    return {
        "data": [
            {
                "type": "bar",
                "x": [_middle(b) / unit for b in shown],
                "y": [b.tries for b in shown],
                "width": [(b.high - b.low) / unit for b in shown],
                "marker": {"color": colour, "line": {"width": 0}},
                "customdata": [f"{told(measure, b.low)} to {told(measure, b.high)}" for b in shown],
                "hovertemplate": "%{customdata}: %{y:,d} tries<extra></extra>",
            }
        ],
        "layout": {
            "template": template(theme),
            "height": 240,
            "bargap": 0,
            "margin": {"t": 8, "b": 40, "l": 56, "r": 16},
            "xaxis": _axis(measure, [edge for b in shown for edge in (b.low, b.high)]),
            "yaxis": {"tickformat": ",d", "title": {"text": "tries"}},
            "uirevision": f"histogram-{measure}",
        },
    }


def _middle(b: Bin) -> float:
    return (b.low + b.high) / 2


def _unit(measure: Measure) -> float:
    """Axes are in seconds or bytes."""
    return 1.0 if measure == "memory" else 1e6


def _axis(measure: Measure, values: Sequence[float]) -> dict[str, Any]:
    """Logarithmic where that helps: when all values are above nothing and they differ by more than three times."""
    suffix = "B" if measure == "memory" else "s"
    axis: dict[str, Any] = {"tickformat": "~s", "ticksuffix": suffix, "title": {"text": TITLES[measure].lower()}}
    lowest, highest = min(values, default=0), max(values, default=0)
    if lowest <= 0 or highest <= 3 * lowest:
        return axis | {"rangemode": "tozero"}
    # Every power of ten, and 2 and 5 between them while there are few.
    return axis | {"type": "log", "dtick": "D2" if highest < 1000 * lowest else 1}
