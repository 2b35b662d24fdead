"""CPU, memory, disk and network over time: a line of means inside a band from the lowest to the highest value.

In: the points of `heliograph_store.read.resources` and `taskuse`. Out: plotly figures as dicts. Points that are further
apart than a series' gap are not connected: where nothing was measured nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from heliograph_dashboard.components.times import local
from heliograph_dashboard.figures.axes import bytes_axis, time_axis
from heliograph_dashboard.figures.colours import PALETTE, template
from heliograph_store.read.grid import Series

BLUE, ORANGE = PALETTE[0], "#e8590c"
HEIGHT: Final = 240


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is drawn of each point: the mean, and where it is known the lowest and highest value."""

    name: str
    mean: Callable[[Any], float | None]
    low: Callable[[Any], float | None] | None = None
    high: Callable[[Any], float | None] | None = None
    colour: str = BLUE
    dash: str = "solid"
    hover: str = "%{y}"


def _attribute(name: str) -> Callable[[Any], float | None]:
    return lambda point: getattr(point, name)


def _part(of: str, whole: str) -> Callable[[Any], float | None]:
    def share(point: Any) -> float | None:
        value, total = getattr(point, of), getattr(point, whole)
        return value / total if value is not None and total else None

    return share


_CPU: Final = Line(name="CPU", mean=_part("cpu", "cores"), low=_attribute("cpu_low"), high=_attribute("cpu_high"),
                   hover="%{y:.0%} of all cores")  # fmt: skip
_MEMORY: Final = Line(name="memory", mean=_part("memory", "memory_total"), low=_attribute("memory_low"),
                      high=_attribute("memory_high"), hover="%{y:.0%} of all memory")  # fmt: skip


def _rate(name: str, title: str, colour: str) -> Line:
    low, high = _attribute(f"{name}_low"), _attribute(f"{name}_high")
    return Line(name=title, mean=_attribute(name), low=low, high=high, colour=colour, hover="%{y:.3~s}B/s")


def node_cpu(series: Series, *, theme: str | None, zone: str) -> dict[str, Any]:
    """Cores busy as a share of those that there are; the band is the lowest and highest sample of any node."""
    return chart(series, [_CPU], theme=theme, zone=zone, axis={"tickformat": ".0%", "range": [0, 1.02]}, name="cpu")


def node_memory(series: Series, *, theme: str | None, zone: str) -> dict[str, Any]:
    """Memory used as a share of what there is; the band is the lowest and highest sample of any node."""
    axis = {"tickformat": ".0%", "range": [0, 1.02]}
    return chart(series, [_MEMORY], theme=theme, zone=zone, axis=axis, name="memory")


def node_disk(series: Series, *, theme: str | None, zone: str) -> dict[str, Any]:
    lines = [_rate("disk_read", "read", BLUE), _rate("disk_write", "written", ORANGE)]
    return chart(series, lines, theme=theme, zone=zone, axis=_BYTES_A_SECOND, name="disk")


def node_network(series: Series, *, theme: str | None, zone: str) -> dict[str, Any]:
    lines = [_rate("net_received", "received", BLUE), _rate("net_sent", "sent", ORANGE)]
    return chart(series, lines, theme=theme, zone=zone, axis=_BYTES_A_SECOND, name="network")


def use_cpu(series: Series, *, theme: str | None, zone: str) -> dict[str, Any]:
    """Cores that tries kept busy."""
    lines = [Line(name="cores busy", mean=_attribute("cpu"), hover="%{y:.3~g} cores")]
    return chart(series, lines, theme=theme, zone=zone, axis={"title": {"text": "cores"}}, name="cpu")


def use_memory(series: Series, *, theme: str | None, zone: str) -> dict[str, Any]:
    """Memory of the tries at a time, and of the largest one."""
    hover = "%{y:.4~s}B"
    lines = [
        Line(name="in all", mean=_attribute("memory"), hover=hover),
        Line(name="largest single try", mean=_attribute("memory_high"), colour=ORANGE, dash="dot", hover=hover),
    ]
    return chart(series, lines, theme=theme, zone=zone, axis={"ticksuffix": "B"}, name="memory")


def use_disk(series: Series, *, theme: str | None, zone: str) -> dict[str, Any]:
    """Bytes that the tries' processes read and wrote."""
    lines = [_rate_only("read", "read", BLUE), _rate_only("write", "written", ORANGE)]
    return chart(series, lines, theme=theme, zone=zone, axis=_BYTES_A_SECOND, name="disk")


def _rate_only(name: str, title: str, colour: str) -> Line:
    return Line(name=title, mean=_attribute(name), colour=colour, hover="%{y:.3~s}B/s")


_BYTES_A_SECOND: Final = {"ticksuffix": "B/s"}


def chart(
    series: Series, lines: Sequence[Line], *, theme: str | None, zone: str, axis: dict[str, Any], name: str
) -> dict[str, Any]:
    """A figure of these lines; `name` keeps a zoom when new data comes."""
    runs = unbroken(series)
    data = [trace for line in lines for trace in _traces(runs, line, zone)]
    if "ticksuffix" in axis:
        axis = bytes_axis([trace["y"] for trace in data], axis["ticksuffix"])
    return {
        "data": data,
        "layout": {
            "template": template(theme),
            "height": HEIGHT,
            "margin": {"t": 28 if len(lines) > 1 else 10, "b": 32, "l": 56, "r": 12},
            "hovermode": "x unified",
            "showlegend": len(lines) > 1,
            "xaxis": time_axis((point.at for point in series.points), zone),
            "yaxis": {"rangemode": "tozero", **axis},
            "uirevision": name,
        },
    }


def unbroken(series: Series) -> list[list[Any]]:
    """The points in stretches without a gap."""
    runs: list[list[Any]] = []
    for point in series.points:
        if runs and point.at - runs[-1][-1].at <= series.gap:
            runs[-1].append(point)
        else:
            runs.append([point])
    return runs


def _traces(runs: Sequence[Sequence[Any]], line: Line, zone: str) -> list[dict[str, Any]]:
    x: list[Any] = []
    y: list[float | None] = []
    for points in runs:
        if x:  # a point without a value breaks the line
            x.append(x[-1])
            y.append(None)
        x += local([point.at for point in points], zone)
        y += [_short(line.mean(point)) for point in points]
    traces = [] if line.low is None or line.high is None else [_band(runs, line, zone)]
    lonely = sum(len(points) == 1 for points in runs)
    return [
        *traces,
        {
            "type": "scatter",
            "mode": "lines+markers" if lonely or len(y) < 3 else "lines",
            "name": line.name,
            "x": x,
            "y": y,
            "connectgaps": False,
            "line": {"color": line.colour, "width": 1.6, "dash": line.dash},
            "marker": {"size": 4},
            "hovertemplate": line.hover + (_RANGE if line.high is not None else ""),
            "customdata": _customdata(runs, line) if line.high is not None else None,
        },
    ]


_RANGE: Final = "<br>%{customdata}"


def _customdata(runs: Sequence[Sequence[Any]], line: Line) -> list[str]:
    told: list[str] = []
    for points in runs:
        told += [""] if told else []
        told += [_between(line, point) for point in points]
    return told


def _between(line: Line, point: Any) -> str:
    if line.low is None or line.high is None:
        return ""
    low, high = line.low(point), line.high(point)
    if low is None or high is None or low == high:
        return ""
    return f"lowest {_told(low, line)}, highest {_told(high, line)}"


def _told(value: float, line: Line) -> str:
    if "%}" in line.hover:
        return f"{value:.0%}"
    unit = 0
    while value >= 999.5 and unit < 5:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {'kMGTP'[unit - 1] if unit else ''}B/s"


def _band(runs: Sequence[Sequence[Any]], line: Line, zone: str) -> dict[str, Any]:
    """One outline a stretch: there along the highest values, back along the lowest."""
    x: list[Any] = []
    y: list[float | None] = []
    for points in runs:
        known = [(p.at, line.low(p), line.high(p)) for p in points]  # type: ignore[misc]
        known = [k for k in known if k[1] is not None and k[2] is not None]
        if not known:
            continue
        if x:
            x.append(None)
            y.append(None)
        times = local([at for at, _, _ in known], zone)
        x += [*times, *reversed(times)]
        y += [*(_short(high) for _, _, high in known), *(_short(low) for _, low, _ in reversed(known))]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "fill": "toself",
        "fillcolor": _faint(line.colour),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.22)"


def _short(value: float | None) -> float | None:
    """Four digits: what a screen can show, and a third of the bytes."""
    return None if value is None else float(f"{value:.4g}")
