"""Figures of resources, efficiency and distributions: what is drawn, without a browser."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_dashboard.figures import distribution, efficiency, resources
from heliograph_dashboard.figures.axes import bytes_axis, time_axis
from heliograph_store.read.apps import Bin
from heliograph_store.read.efficiency import Occupancy
from heliograph_store.read.grid import NOTHING, Series
from heliograph_store.read.resources import Level, Rate
from heliograph_store.read.taskuse import Use

AT = 1_790_000_000_000_000
S = 1_000_000
GB = 1 << 30
UTC: dict[str, Any] = {"theme": "light", "zone": "UTC"}


def level(second: int, cpu: float | None = 2.0, **more: Any) -> Level:
    return Level(**{"at": AT + second * S, "nodes": 1, "cpu": cpu, "cores": 4, "cpu_low": 0.25, "cpu_high": 0.75,
                    "memory": GB, "memory_total": 4 * GB, "memory_low": 0.2, "memory_high": 0.3, **more})  # fmt: skip


def rate(second: int, sent: float | None) -> Rate:
    names = ("disk_read", "disk_write", "net_received", "net_sent")
    values = {f"{name}{suffix}": sent for name in names for suffix in ("", "_low", "_high")}
    return Rate(at=AT + second * S, nodes=1, **values)


def series(*points: Any, gap: int = 30) -> Series:
    return Series(width=10 * S, gap=gap * S, points=points)


def line(figure: dict[str, Any], number: int = -1) -> dict[str, Any]:
    found: dict[str, Any] = [trace for trace in figure["data"] if "fill" not in trace][number]
    return found


def test_gaps_in_the_samples_are_gaps_in_the_line() -> None:
    found = resources.node_cpu(series(level(0), level(10), level(50), level(60)), **UTC)
    drawn = line(found)
    assert drawn["y"] == [0.5, 0.5, None, 0.5, 0.5]
    assert drawn["connectgaps"] is False
    assert len(drawn["x"]) == len(drawn["customdata"]) == 5
    band = next(trace for trace in found["data"] if trace.get("fill") == "toself")
    # Two outlines, there along the highest and back along the lowest values.
    assert band["y"] == [0.75, 0.75, 0.25, 0.25, None, 0.75, 0.75, 0.25, 0.25]
    assert band["x"][0] == band["x"][3]


def test_the_band_is_told_in_words_too() -> None:
    drawn = line(resources.node_cpu(series(level(0), level(10, cpu_low=0.5, cpu_high=0.5)), **UTC))
    assert drawn["customdata"] == ["lowest 25%, highest 75%", ""]


def test_unknown_values_break_the_line_and_leave_the_band() -> None:
    found = resources.node_cpu(series(level(0), level(10, cpu=None, cpu_low=None, cpu_high=None), level(20)), **UTC)
    assert line(found)["y"] == [0.5, None, 0.5]
    assert len(found["data"][0]["y"]) == 4


def test_shares_stand_on_a_fixed_axis_and_rates_on_a_free_one() -> None:
    assert resources.node_memory(series(level(0)), **UTC)["layout"]["yaxis"]["range"] == [0, 1.02]
    disk = resources.node_disk(series(rate(0, 5e6)), **UTC)
    assert [line(disk, i)["name"] for i in (0, 1)] == ["read", "written"]
    assert "range" not in disk["layout"]["yaxis"]
    assert [line(resources.node_network(series(rate(0, 5e6)), **UTC), i)["name"] for i in (0, 1)] == [
        "received",
        "sent",
    ]


def test_nothing_is_an_empty_figure_and_no_error() -> None:
    for draw in (resources.node_cpu, resources.node_disk, resources.use_cpu, resources.use_memory, resources.use_disk):
        found = draw(NOTHING, **UTC)
        assert all(trace["x"] == [] for trace in found["data"])


def test_the_time_axis_shows_the_readers_clock() -> None:
    shown = [line(resources.node_cpu(series(level(0)), theme="dark", zone=z))["x"][0] for z in ("UTC", "Asia/Tokyo")]
    assert all(isinstance(x, datetime) for x in shown)
    assert (shown[1] - shown[0]).total_seconds() == 9 * 3600


def test_what_an_app_uses_is_drawn_with_its_largest_try() -> None:
    use = Use(at=AT, samples=4, cpu=1.5, cpu_high=1.0, memory=3.0 * GB, memory_high=2 * GB, read=10.0, write=None)
    found = resources.use_memory(series(use), **UTC)
    assert [line(found, i)["y"] for i in (0, 1)] == [[float(f"{3 * GB:.4g}")], [float(f"{2 * GB:.4g}")]]
    assert line(resources.use_cpu(series(use), **UTC))["y"] == [1.5]
    assert line(resources.use_disk(series(use), **UTC), 1)["y"] == [None]


@given(st.lists(st.integers(0, 10_000), max_size=40, unique=True), st.integers(1, 500))
def test_every_point_is_drawn_once_whatever_the_gaps(seconds: list[int], gap: int) -> None:
    points = [level(second) for second in sorted(seconds)]
    drawn = line(resources.node_cpu(series(*points, gap=gap), **UTC)) if points else {"y": []}
    assert sum(y is not None for y in drawn["y"]) == len(points)


def test_workers_over_time_are_steps_that_reach_the_end() -> None:
    moments = [Occupancy(at=AT, busy=1, available=4), Occupancy(at=AT + 10 * S, busy=3, available=4)]
    busy, there = efficiency.workers(moments, **UTC)["data"]
    assert busy["y"] == [1, 3, 3]
    assert there["y"] == [4, 4, 4]
    assert (busy["x"][2] - busy["x"][1]).total_seconds() == 10
    assert busy["customdata"][0] == "25% of them"
    assert {trace["line"]["shape"] for trace in (busy, there)} == {"hv"}
    assert efficiency.workers([], **UTC)["data"][0]["x"] == []


# -- distributions ---------------------------------------------------------------------------------------------------


def bins(*counts: tuple[int, int, int]) -> list[Bin]:
    return [Bin(low=low, high=high, tries=n, total=n * (low + high) // 2) for low, high, n in counts]


def test_a_box_is_made_of_quantiles() -> None:
    made = distribution.box(bins((0, 100, 50), (100, 200, 50)))
    assert made is not None
    assert (made.low, made.quarter, made.median, made.three_quarters, made.high) == (10, 50, 100, 150, 190)
    assert made.tries == 100
    assert distribution.box([]) is None


def test_one_try_alone_in_its_bin_is_exact() -> None:
    made = distribution.box([Bin(low=90, high=110, tries=1, total=93)])
    assert made is not None
    assert (made.low, made.median, made.high) == (93, 93, 93)


@given(
    st.lists(st.tuples(st.integers(0, 10**11), st.integers(1, 10**11), st.integers(1, 1000)), min_size=1, max_size=30)
)
def test_quantiles_are_in_order_and_inside(found: list[tuple[int, int, int]]) -> None:
    edges, low = [], 0
    for gap, width, n in found:  # bins that do not overlap, as those of a histogram
        edges.append((low + gap, low + gap + width, n))
        low += gap + width
    histogram = bins(*edges)
    made = distribution.box(histogram)
    assert made is not None
    order = [made.low, made.quarter, made.median, made.three_quarters, made.high]
    assert order == pytest.approx(sorted(order))
    assert histogram[0].low <= order[0]
    assert order[-1] <= histogram[-1].high


def test_boxes_of_apps_the_most_used_first_and_their_names_as_text() -> None:
    histograms = {"small": bins((S, 2 * S, 3)), "<b>large</b>": bins((S, 90 * S, 30)), "none": []}
    found = distribution.boxes(histograms, "run_time", {"small": "#112233"}, theme="light")
    assert [trace["name"] for trace in found["data"]] == ["&lt;b&gt;large&lt;/b&gt;", "small"]
    assert found["layout"]["xaxis"]["type"] == "log"
    assert "3 tries" in found["data"][1]["hovertext"]
    assert found["data"][1]["line"]["color"] == "#112233"


def test_a_histogram_has_bars_as_wide_as_its_bins() -> None:
    found = distribution.histogram(bins((GB, 2 * GB, 7), (2 * GB, 3 * GB, 1)), "memory", "#112233", theme="dark")
    (bar,) = found["data"]
    assert bar["y"] == [7, 1]
    assert bar["width"] == [GB, GB]
    assert bar["customdata"][0] == "1.07 GB to 2.15 GB"


@pytest.mark.parametrize(("low", "high", "kind"), [(0, 5, None), (4 * S, 5 * S, None), (S, 50 * S, "log")])
def test_axes_are_logarithmic_only_where_that_helps(low: int, high: int, kind: str | None) -> None:
    found = distribution.histogram(bins((low, high, 1)), "run_time", "#112233", theme="light")
    assert found["layout"]["xaxis"].get("type") == kind


def test_axes_show_no_parts_of_bytes_and_no_milliseconds_around_a_single_sample() -> None:
    assert bytes_axis([[0.0, None], []])["range"] == [0, 1000]
    assert bytes_axis([])["range"] == [0, 1000]
    assert "range" not in bytes_axis([[0.0], [4096.0]])
    axis = time_axis([90 * S, 90 * S], "Asia/Kolkata")
    assert [str(at) for at in axis["range"]] == ["1970-01-01 05:31:00", "1970-01-01 05:32:00"]
    assert "range" not in time_axis([0, S], "UTC")
