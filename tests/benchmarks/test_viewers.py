"""The benchmark of viewers judges itself: who heard what, and which figures that makes."""

from __future__ import annotations

import pytest

from tests.benchmarks.bench_viewers import figures
from tests.benchmarks.viewers import reached


def test_only_the_last_news_may_be_missed() -> None:
    heard = [{1, 2, 3, 4}, {1, 2, 3}, {2, 3, 4}, {1, 2}]
    assert reached(heard) == {"viewers": 4, "news": 4, "heard every one": 3}


def test_a_viewer_who_heard_nothing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="1 of 3 viewers heard nothing"):
        reached([{1}, set(), {1}])


def found(viewers: int, **other: float) -> dict[str, float]:
    usual = {
        "viewers": viewers, "news": 30, "heard every one": viewers, "seconds until shown p50": 0.4,
        "seconds until shown p99": 0.7, "errors": 0, "queries a tick": 7, "records/s": 5000, "newest is old p50": 0.05,
        "newest is old p99": 0.1,
    }  # fmt: skip
    return usual | other


@pytest.mark.parametrize(
    ("other", "missed"),
    [
        ({}, []),
        ({"heard every one": 199}, ["viewers of a live run who heard every news"]),
        ({"errors": 1}, ["wrong answers to 200 viewers"]),
        ({"records/s": 4000}, ["written for 200 viewers"]),
        ({"newest is old p99": 1.1}, ["age of the newest row, 200 viewers, p99"]),
        ({"queries a tick": 9}, ["queries a tick, 200 viewers by one"]),
    ],
    ids=["none", "deaf", "wrong", "starved", "late", "many"],
)
def test_what_misses_a_goal(other: dict[str, float], missed: list[str]) -> None:
    told = figures([found(0), found(1), found(200, **other)], 5000)
    assert [figure.name for figure in told if not figure.met] == missed
