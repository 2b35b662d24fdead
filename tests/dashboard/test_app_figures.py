"""Histograms over orders of magnitude, and the estimate of when the known tasks are done."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import log10
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_dashboard import eta as estimate
from heliograph_dashboard.figures.histogram import MOST_BARS, Bar, bars, figure, ticks
from heliograph_store.read.progress import Ended

SECOND = 1_000_000
MINUTE = 60 * SECOND


@dataclass(frozen=True, kw_only=True)
class Bin:
    low: int
    high: int
    tries: int


def bounds() -> list[int]:
    found = [0]
    while found[-1] < 10**12:
        found.append(found[-1] + max(1, found[-1] // 10))
    return found


BOUNDS = bounds()
some_bins = st.dictionaries(st.integers(0, len(BOUNDS) - 2), st.integers(1, 1000), max_size=40).map(
    lambda counts: [Bin(low=BOUNDS[i], high=BOUNDS[i + 1], tries=n) for i, n in counts.items()]
)


@given(some_bins)
def test_bars_keep_every_try_and_never_overlap(bins: list[Bin]) -> None:
    found = bars(bins)
    assert sum(bar.tries for bar in found) == sum(b.tries for b in bins)
    assert len(found) <= MOST_BARS + 1
    positive = [bar for bar in found if bar.high > 0]
    assert all(before.high <= after.low for before, after in pairwise(positive))
    assert all(any(bar.low <= b.low and b.high <= bar.high for bar in positive) for b in bins if b.low > 0)
    drawn: dict[str, Any] = figure(found, unit="duration", title="t", colour="#000000", theme="dark")
    go.Figure(drawn)


def test_few_bins_stay_as_they_are_and_zero_stands_apart() -> None:
    bins = [Bin(low=0, high=1, tries=4), Bin(low=100, high=110, tries=2), Bin(low=110, high=121, tries=3)]
    assert bars(bins) == [
        Bar(low=0, high=0, tries=4),
        Bar(low=100, high=110, tries=2),
        Bar(low=110, high=121, tries=3),
    ]
    drawn = figure(bars(bins), unit="bytes", title="t", colour="#000000", theme=None, marks=[("median", 110.0)])
    (trace,) = drawn["data"]
    assert trace["customdata"] == ["0", "100 B to 110 B", "110 B to 121 B"]
    assert trace["x"][1] - trace["width"][1] / 2 == pytest.approx(log10(100))
    assert trace["x"][0] + trace["width"][0] / 2 < log10(100)
    assert drawn["layout"]["xaxis"]["ticktext"][0] == "0"
    assert drawn["layout"]["annotations"][0]["text"] == "median 110 B"


def test_nothing_measured_is_an_empty_figure() -> None:
    assert figure(bars([]), unit="bytes", title="t", colour="#000000", theme=None)["data"] == []


def test_ticks_are_values_that_people_know() -> None:
    assert ticks(0.9 * SECOND, 3700 * SECOND, "duration", most=4) == [
        1 * SECOND,
        20 * SECOND,
        5 * MINUTE,
        60 * MINUTE,
    ]
    assert ticks(1, 3 * 10**9, "bytes", most=30)[-1] == 2 * 10**9
    assert ticks(0.295 * SECOND, 0.72 * SECOND, "duration") == [n * SECOND / 10 for n in (3, 4, 5, 6, 7)]
    assert ticks(5_920, 12_000, "duration") == [6_000, 7_000, 8_000, 9_000, 10_000]
    assert ticks(310, 320, "bytes") == [310, 320]
    assert ticks(3 * SECOND, 4 * SECOND, "duration") == [3 * SECOND, 4 * SECOND]


def estimated(left: int, ended: int, *, first: int, since: int, now: int) -> estimate.Eta | None:
    return estimate.eta({"pending": left, "exec_done": 99}, Ended(tasks=ended, first=first), since=since, now=now)


def test_what_is_left_ends_at_the_speed_of_the_last_minutes() -> None:
    found = estimated(50, 100, first=0, since=20 * MINUTE, now=30 * MINUTE)
    assert found == estimate.Eta(left=50, per_minute=10, micros=5 * MINUTE)


def test_the_speed_is_that_since_the_first_task_ended() -> None:
    found = estimated(50, 100, first=25 * MINUTE, since=20 * MINUTE, now=30 * MINUTE)
    assert found == estimate.Eta(left=50, per_minute=20, micros=150 * SECOND)


def test_nobody_can_say_without_tasks_left_or_with_too_few_that_ended() -> None:
    assert estimated(0, 100, first=0, since=0, now=MINUTE) is None
    assert estimated(5, 2, first=0, since=0, now=MINUTE) is None
    assert estimate.eta({None: 5}, Ended(tasks=0, first=None), since=0, now=MINUTE) is None


def test_one_looks_back_as_far_as_tasks_are_long() -> None:
    now = 10_000 * MINUTE + 1
    assert estimate.look_back(now, None) == 9990 * MINUTE
    assert estimate.look_back(now, 60 * MINUTE) == 9880 * MINUTE
    assert estimate.look_back(5, None) == 0
