"""Tasks by state over time: exact from tries, and from rollups as exact as those can tell."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

import plotly.graph_objects as go
from hypothesis import given
from hypothesis import strategies as st

from heliograph_dashboard.figures.states_over_time import (
    LAYERS,
    Levels,
    figure,
    levels_of_steps,
    levels_of_tries,
)
from heliograph_dashboard.progress import patience
from heliograph_store.read.progress import Entered, Times
from heliograph_store.read.runs import Run
from heliograph_store.schema import STATES

SECOND = 1_000_000
AT = 1_790_000_000 * SECOND


def times(**at: int) -> Times:
    return tuple(at[state] * SECOND if state in at else None for state in STATES)


def seen(levels: Levels) -> list[tuple[int, dict[str, int]]]:
    return [
        (at // SECOND, {state: level[i] for state, level in levels.counts.items() if level[i]})
        for i, at in enumerate(levels.at)
    ]


def steps_of(tries: list[Times], width: int) -> list[Entered]:
    found = Counter((at // width * width, STATES[rank]) for t in tries for rank, at in enumerate(t) if at is not None)
    return [Entered(at=at, state=state, entered=n) for (at, state), n in sorted(found.items())]


def test_a_retry_and_a_plain_task_step_by_step() -> None:
    tries = [
        times(pending=0, launched=1, running=2, running_ended=4, exec_done=5),
        times(pending=0, launched=1, running=2, fail_retryable=3),
        times(pending=3, launched=4, running=6, failed=8),
    ]
    assert seen(levels_of_tries(tries, steps=8_000_000)) == [
        (0, {"pending": 2}),
        (1, {"launched": 2}),
        (2, {"running": 2}),
        (3, {"running": 1, "pending": 1}),
        (4, {"running": 1, "launched": 1}),
        (5, {"exec_done": 1, "launched": 1}),
        (6, {"exec_done": 1, "running": 1}),
        (8, {"exec_done": 1, "failed": 1}),
    ]


def test_a_state_that_was_seen_late_does_not_take_a_try_back() -> None:
    (levels,) = [levels_of_tries([times(pending=0, exec_done=5, running=7)], steps=8_000_000)]
    assert seen(levels) == [(0, {"pending": 1}), (5, {"exec_done": 1})]


def test_memoized_tasks_and_joins_are_seen_as_such() -> None:
    tries = [
        times(pending=0, memo_done=1),
        times(pending=0, launched=1, running=2, running_ended=3, joining=3, exec_done=9),
    ]
    found = dict(seen(levels_of_tries(tries, steps=10_000_000)))
    assert found[3] == {"memo_done": 1, "joining": 1}
    assert found[9] == {"memo_done": 1, "exec_done": 1}


def whole_tries() -> st.SearchStrategy[Times]:
    """Tries as Parsl makes them, cut off anywhere."""
    ways = st.sampled_from(
        [
            ("pending", "launched", "running", "running_ended", "exec_done"),
            ("pending", "launched", "running", "running_ended", "failed"),
            ("pending", "launched", "running", "running_ended", "fail_retryable"),
            ("pending", "memo_done"),
            ("pending", "dep_fail"),
        ]
    )

    def timed(way: tuple[str, ...], begin: int, gaps: list[int], until: int) -> Times:
        at, found = begin, {}
        for state, gap in zip(way, gaps, strict=False):
            found[state] = at
            at += gap
        return times(**dict(list(found.items())[: max(1, until)]))

    return st.builds(
        timed, ways, st.integers(0, 50), st.lists(st.integers(0, 30), min_size=5, max_size=5), st.integers(1, 5)
    )


@given(st.lists(whole_tries(), min_size=1, max_size=12))
def test_rollups_tell_the_same_as_the_tries_at_the_end_of_every_step(tries: list[Times]) -> None:
    width = 10 * SECOND
    coarse = levels_of_steps(steps_of(tries, width), width=width)
    for i, at in enumerate(coarse.at[1:], 1):
        before = [tuple(moment if moment is not None and moment < at else None for moment in t) for t in tries]
        exact = levels_of_tries(before, steps=1)
        for state in LAYERS:
            assert coarse.counts[state][i] == exact.counts[state][-1], (state, at)


@given(st.lists(whole_tries(), min_size=1, max_size=12), st.integers(1, 40))
def test_however_few_steps_the_end_is_exact_and_nothing_is_negative(tries: list[Times], steps: int) -> None:
    levels = levels_of_tries(tries, steps=steps)
    assert len(levels.at) <= steps + 2
    assert all(count >= 0 for level in levels.counts.values() for count in level)
    again = sum(1 for t in tries if t[STATES.index("fail_retryable")] is not None)
    assert levels.tasks == len(tries) - again


def test_the_figure_has_steps_and_ends_where_it_is_told() -> None:
    levels = levels_of_tries([times(pending=0, launched=10)], steps=10)
    drawn: dict[str, Any] = figure(levels, theme="dark", until=60 * SECOND)
    go.Figure(drawn)  # plotly accepts every name and value
    assert {trace["name"] for trace in drawn["data"]} == {"pending", "launched"}
    assert all(trace["line"]["shape"] == "hv" for trace in drawn["data"])
    assert all(trace["x"][-1].isoformat() == "1970-01-01T00:01:00" for trace in drawn["data"])
    shifted = figure(levels, theme="dark", zone="Asia/Kolkata", until=60 * SECOND)
    assert all(trace["x"][-1].isoformat() == "1970-01-01T05:31:00" for trace in shifted["data"])


def test_without_tries_there_are_words_and_no_axes_of_another_year() -> None:
    made = figure(levels_of_tries([]), theme="dark")
    assert not made["layout"]["xaxis"]["visible"]
    assert made["layout"]["annotations"][0]["text"] == "No task has changed its state"


def test_without_tries_there_is_an_empty_figure() -> None:
    assert figure(levels_of_tries([]), theme="light", until=5)["data"] == []
    assert figure(levels_of_steps([], width=60 * SECOND), theme=None)["data"] == []


def test_a_long_run_that_goes_on_is_drawn_anew_as_seldom_as_nobody_sees() -> None:
    def run(hours: int, *, ended: bool) -> Run:
        last = AT + hours * 3600 * SECOND
        known = {"id": 1, "run": "r", "started": AT, "last_seen": last, "ended": last if ended else None, "tags": {}}
        return Run(**{**{field.name: None for field in fields(Run)}, **known})

    assert patience(run(1, ended=False)) < 0.1
    assert 25 < patience(run(720, ended=False)) < 27
    assert patience(run(720, ended=True)) == 0
    assert patience(run(99_999, ended=False)) == 30
