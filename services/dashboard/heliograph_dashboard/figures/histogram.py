"""How often a value of which size came: run times, waiting times, memory, each over the orders of magnitude it has.

In: bins (low, high, how many tries) as rollups keep them, each about a tenth wider than the one before. Out: a plotly
figure on a logarithmic axis with ticks that people know: milliseconds to days, bytes to terabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any, Final, Literal, Protocol

from heliograph_dashboard.components.times import duration, size
from heliograph_dashboard.figures.colours import template

Unit = Literal["duration", "bytes"]
MOST_BARS: Final = 48
MOST_TICKS: Final = 7
_SECOND: Final = 1_000_000
_DURATIONS: Final = (
    *(step * 10**power for power in range(7) for step in (1, 2, 5)),  # µs to 5 s
    *(seconds * _SECOND for seconds in (10, 20, 30)),
    *(minutes * 60 * _SECOND for minutes in (1, 2, 5, 10, 20, 30)),
    *(hours * 3600 * _SECOND for hours in (1, 2, 5, 10)),
    *(days * 86_400 * _SECOND for days in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
)
_SIZES: Final = tuple(step * 10**power for power in range(18) for step in (1, 2, 5))


class Counted(Protocol):
    """A bin: `tries` with a value from `low` on and below `high`."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def tries(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Several bins as one. A value that is zero stands in a bar of its own, with `low` and `high` zero."""

    low: float
    high: float
    tries: int


def bars(bins: Iterable[Counted], *, most: int = MOST_BARS) -> list[Bar]:
    """Bins put together to at most `most` bars of one width on the logarithmic axis; the sum of tries stays."""
    counted = sorted((b for b in bins if b.tries > 0), key=lambda b: b.low)
    positive = [b for b in counted if b.low > 0]
    nothing = sum(b.tries for b in counted if b.low <= 0)
    found = [Bar(low=0, high=0, tries=nothing)] if nothing else []
    if not positive:
        return found
    # Places are counted in steps of the narrowest bin, so that each bin lies in one bar whole.
    step = min(log10(b.high / b.low) for b in positive)
    first, last = log10(positive[0].low), log10(positive[-1].high)
    width = max(1, ceil((last - first) / step / most - 1e-9)) * step
    places: dict[int, tuple[float, float, int]] = {}
    for b in positive:
        place = int((log10(b.low) - first) / width + 1e-6)
        low, high, tries = places.get(place, (b.low, b.high, 0))
        places[place] = (min(low, b.low), max(high, b.high), tries + b.tries)
    return found + [Bar(low=low, high=high, tries=tries) for _, (low, high, tries) in sorted(places.items())]


def ticks(low: float, high: float, unit: Unit, *, most: int = MOST_TICKS) -> list[float]:
    """Values that people know within (and at) these bounds, when there are not two of them, any with one digit; when
    there are not two of those either, the bounds themselves."""
    known = _DURATIONS if unit == "duration" else _SIZES
    inside = [float(value) for value in known if low <= value <= high]
    if len(inside) < 2 and low > 0:
        ten = 10 ** floor(log10(low))
        digits = (step * scale for scale in (ten, 10 * ten) for step in range(1, 10))
        inside = [float(value) for value in digits if low <= value <= high]
    if len(inside) < 2:
        return [low, high] if high > low else [low]
    every = ceil(len(inside) / most)
    return inside[::every]


def figure(
    found: Sequence[Bar],
    *,
    unit: Unit,
    title: str,
    colour: str,
    theme: str | None,
    marks: Sequence[tuple[str, float]] = (),
) -> dict[str, Any]:
    """`marks` are values with names (median, p95) drawn as lines."""
    positive = [bar for bar in found if bar.high > 0]
    shown = duration if unit == "duration" else size
    x, widths = [log10(bar.low * bar.high) / 2 for bar in positive], [log10(bar.high / bar.low) for bar in positive]
    texts = [f"{shown(bar.low)} to {shown(bar.high)}" for bar in positive]
    y = [bar.tries for bar in positive]
    at = ticks(positive[0].low, positive[-1].high, unit) if positive else []
    values, labels = [log10(value) for value in at], [shown(value) for value in at]
    if len(positive) < len(found):  # a bar for zero, at the left of all others
        width = widths[0] if widths else 0.1
        zero = x[0] - widths[0] / 2 - 2 * width if x else 0.0
        x, widths, texts, y = [zero, *x], [width, *widths], ["0", *texts], [found[0].tries, *y]
        values, labels = [zero, *values], ["0", *labels]
    return {
        "data": [
            {
                "type": "bar",
                "x": x,
                "y": y,
                "width": widths,
                "customdata": texts,
                "hovertemplate": "%{customdata}: %{y:,d} tries<extra></extra>",
                "marker": {"color": colour, "line": {"width": 0}},
            }
        ]
        if found
        else [],
        "layout": {
            "template": template(theme),
            "height": 220,
            "margin": {"t": 30, "b": 44, "l": 48, "r": 12},
            "bargap": 0,
            "showlegend": False,
            "xaxis": {"title": {"text": title}, "tickvals": values, "ticktext": labels, "showgrid": False,
                      "ticks": "outside", "ticklen": 3},
            "yaxis": {"tickformat": ",d", "rangemode": "tozero"},
            "shapes": [_line(value) for _, value in marks if value > 0],
            "annotations": [_name(name, value, shown(value), high=i % 2 == 0) for i, (name, value) in enumerate(marks)
                            if value > 0],
            "uirevision": f"histogram-{title}",
        },
    }  # fmt: skip


def _line(value: float) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": log10(value),
        "x1": log10(value),
        "y0": 0,
        "y1": 1,
        "line": {"width": 1, "dash": "dot", "color": "#868e96"},
    }


def _name(name: str, value: float, text: str, *, high: bool) -> dict[str, Any]:
    return {
        "xref": "x",
        "yref": "paper",
        "x": log10(value),
        "y": 1.0 if high else 0.86,
        "yanchor": "bottom" if high else "middle",
        "xanchor": "right" if high else "left",
        "text": f"{name} {text}",
        "showarrow": False,
        "font": {"size": 11},
    }
