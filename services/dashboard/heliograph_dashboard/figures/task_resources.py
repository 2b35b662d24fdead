"""What a task used over time: processor, memory and I/O of each of its tries, peaks kept.

In: the points of `heliograph_store.read.samples.task_series`, with when each try began. Out: three plotly figures on
one scale: seconds since it was submitted.

CPU of a stretch is the growth of the try's CPU time over the time between two points, so 100 % is one core; I/O the
growth of its counters. Tries are never joined by a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

from heliograph_dashboard.figures.axes import bytes_axis
from heliograph_dashboard.figures.colours import PALETTE, template
from heliograph_store.read.samples import TaskPoint

MEASURES: Final = ("cpu", "memory", "io")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a try used in the stretch that ends at `at` (microseconds UTC). None: not known."""

    try_: int
    at: int
    cpu: float | None
    """Per cent of one core."""
    read: float | None
    """Bytes a second."""
    written: float | None
    rss: float | None
    """Bytes: the mean, and in `peak` the highest."""
    peak: int | None
    shared: bool


def rates(points: Sequence[TaskPoint], began: Mapping[int, int]) -> list[Rates]:
    """By try and time. Counters are totals since the try began: its first stretch begins there, where that is known."""
    found: list[Rates] = []
    for try_, of_try in groupby(points, key=lambda point: point.try_):
        these = list(of_try)
        begin = began.get(try_)
        if begin is not None and begin < these[0].at:
            found.append(_rates(None, these[0], begin))
        else:
            found.append(_rates(None, these[0], None))
        found += [_rates(before, point, before.at) for before, point in pairwise(these)]
    return found


def _rates(before: TaskPoint | None, point: TaskPoint, since: int | None) -> Rates:
    elapsed = None if since is None else point.at - since

    def rate(counter: Callable[[TaskPoint], int | None]) -> float | None:
        now, then = counter(point), 0 if before is None else counter(before)
        if now is None or then is None or not elapsed or elapsed < 0:
            return None
        # A counter falls when children end before anybody read them: that is no negative use.
        return max(0, now - then) / elapsed

    cpu, read, written = rate(_cpu), rate(lambda p: p.read_bytes), rate(lambda p: p.write_bytes)
    return Rates(
        try_=point.try_,
        at=point.at,
        cpu=None if cpu is None else 100 * cpu,
        read=None if read is None else read * 1e6,
        written=None if written is None else written * 1e6,
        rss=point.rss,
        peak=point.rss_peak,
        shared=bool(point.shared),
    )


def _cpu(point: TaskPoint) -> int | None:
    if point.cpu_user is None and point.cpu_system is None:
        return None
    return (point.cpu_user or 0) + (point.cpu_system or 0)


def figure(measure: str, found: Sequence[Rates], *, zero: int, theme: str | None) -> dict[str, Any]:
    """One of `MEASURES` over the seconds since `zero` (microseconds UTC), a colour a try. Shared samples are dotted."""
    traces, unit = _TRACES[measure]
    several = len({point.try_ for point in found}) > 1
    data = [
        trace
        for number, (try_, points) in enumerate(_by_try(found))
        for trace in traces(points, zero, PALETTE[number % len(PALETTE)], f"try {try_}: " if several else "")
    ]
    axis: dict[str, Any] = {"title": {"text": unit}, "rangemode": "tozero"}
    if measure != "cpu":
        axis |= bytes_axis([trace["y"] for trace in data])
    return {
        "data": data,
        "layout": {
            "template": template(theme),
            "height": 240,
            "margin": {"t": 36, "b": 40, "l": 56, "r": 16},
            "hovermode": "x",
            "showlegend": bool(data),
            "xaxis": {"title": {"text": "seconds since it was submitted"}, "rangemode": "tozero"},
            "yaxis": axis,
            "uirevision": f"task-{measure}",
        },
    }


def _by_try(found: Sequence[Rates]) -> list[tuple[int, list[Rates]]]:
    return [(try_, list(points)) for try_, points in groupby(found, key=lambda point: point.try_)]


def _cpu_traces(points: Sequence[Rates], zero: int, colour: str, of: str) -> list[dict[str, Any]]:
    # Each value is that of the stretch before its point: vh draws it over that stretch.
    return [_line(points, zero, [p.cpu for p in points], f"{of}CPU", colour, "%{y:.3~g} %", shape="vh")]


def _memory_traces(points: Sequence[Rates], zero: int, colour: str, of: str) -> list[dict[str, Any]]:
    mean, peak = [p.rss for p in points], [p.peak for p in points]
    traces = [_line(points, zero, peak, f"{of}resident, peak", colour, "%{y:.3~s}B")]
    if mean != peak:  # thinned: several samples a point
        traces.append(_line(points, zero, mean, f"{of}resident, mean", colour, "%{y:.3~s}B", faint=True))
    return traces


def _io_traces(points: Sequence[Rates], zero: int, colour: str, of: str) -> list[dict[str, Any]]:
    read = _line(points, zero, [p.read for p in points], f"{of}read", colour, "%{y:.3~s}B/s", shape="vh")
    written = [p.written for p in points]
    return [read, _line(points, zero, written, f"{of}written", colour, "%{y:.3~s}B/s", shape="vh", faint=True)]


_TRACES: Final = {
    "cpu": (_cpu_traces, "CPU, % of a core"),
    "memory": (_memory_traces, "memory"),
    "io": (_io_traces, "I/O a second"),
}


def _line(  # noqa: PLR0917
    points: Sequence[Rates],
    zero: int,
    values: Sequence[float | None],
    name: str,
    colour: str,
    hover: str,
    *,
    shape: str = "linear",
    faint: bool = False,
) -> dict[str, Any]:
    shared = any(point.shared for point in points)
    return {
        "type": "scatter",
        "mode": "lines" if len(points) > 60 else "lines+markers",
        "name": name + (" (process shared with other tasks)" if shared else ""),
        "x": [(point.at - zero) / 1e6 for point in points],
        "y": list(values),
        "line": {"color": colour, "width": 1.5, "shape": shape, "dash": "dot" if shared else "solid"},
        "marker": {"size": 4},
        "opacity": 0.55 if faint else 1,
        "connectgaps": False,
        "hovertemplate": hover,
    }
