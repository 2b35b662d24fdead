"""A task's figures: what each try spent its time on, and what it used; computed by hand here."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_dashboard.figures import phases, task_resources
from heliograph_dashboard.figures.phases import Phase
from heliograph_store.read.samples import TaskPoint
from heliograph_store.read.tries import Try
from heliograph_store.schema import STATES

SECOND = 1_000_000


def a_try(number: int = 0, *, states: dict[str, float], **known: Any) -> Try:
    nothing = dict.fromkeys(Try.__dataclass_fields__)
    in_micros = {state: round(at * SECOND) for state, at in states.items()}
    return Try(**{**nothing, "task": 1, "try_": number, "states": in_micros, **known})


def spans(tries: list[Try]) -> list[tuple[int, str, float, float | None]]:
    return [(p.try_, p.name, p.begin / SECOND, None if p.end is None else p.end / SECOND) for p in phases.phases(tries)]


def test_a_try_that_ended_has_all_its_phases() -> None:
    states = {"pending": 1, "launched": 2, "running": 4, "running_ended": 9, "exec_done": 9.5}
    assert spans([a_try(states=states)]) == [
        (0, "pending", 1, 2),
        (0, "queued", 2, 4),
        (0, "running", 4, 9),
        (0, "on its way back", 9, 9.5),
    ]


def test_what_the_processes_say_is_more_exact_than_when_it_was_heard() -> None:
    states = {"pending": 1, "launched": 2.2, "running": 4.4, "running_ended": 9.9, "exec_done": 10}
    own = {"launched_at": 2 * SECOND, "began": 4 * SECOND, "ended": 9 * SECOND}
    assert spans([a_try(states=states, **own)])[1:3] == [(0, "queued", 2, 4), (0, "running", 4, 9)]


def test_joins_memoized_tasks_and_tries_without_a_worker_of_ours() -> None:
    joining = {"pending": 0, "launched": 1, "running": 2, "running_ended": 3, "joining": 4, "exec_done": 9}
    assert spans([a_try(states=joining)])[2:] == [
        (0, "running", 2, 3),
        (0, "on its way back", 3, 4),
        (0, "joining", 4, 9),
    ]
    assert spans([a_try(states={"pending": 0, "memo_done": 1})]) == [(0, "pending", 0, 1)]
    unseen = a_try(states={"pending": 0, "launched": 1, "exec_done": 5})
    assert spans([unseen]) == [(0, "pending", 0, 1), (0, "queued", 1, 5)]


def test_a_phase_that_lasts_has_no_end_and_one_between_two_clocks_no_length() -> None:
    assert spans([a_try(states={"pending": 0, "launched": 1})])[-1] == (0, "queued", 1, None)
    skewed = phases.phases([a_try(states={"launched": 5, "running": 3, "exec_done": 9})])
    assert skewed[0] == Phase(try_=0, name="queued", begin=5 * SECOND, end=5 * SECOND, skewed=True)
    assert not skewed[1].skewed


@given(st.lists(st.dictionaries(st.sampled_from(STATES), st.integers(0, 1000)), max_size=4), st.integers(0, 2000))
def test_whatever_states_arrived_the_figure_can_be_drawn(states: list[dict[str, float]], until: int) -> None:
    found = phases.phases([a_try(i, states=some) for i, some in enumerate(states)])
    drawn = phases.figure(found, until=until * SECOND, theme="light")
    go.Figure(drawn)
    assert all(length >= 0 for trace in drawn["data"] for length in trace["x"])
    assert all(begin >= 0 for trace in drawn["data"] for begin in trace["base"])


def point(try_: int, at: float, *, cpu: float, rss: int = 100, peak: int = 100, **known: Any) -> TaskPoint:
    nothing = dict.fromkeys(TaskPoint.__dataclass_fields__)
    values = {"try_": try_, "at": round(at * SECOND), "samples": 1, "cpu_user": round(cpu * SECOND), "cpu_system": 0}
    return TaskPoint(**{**nothing, **values, "rss": rss, "rss_peak": peak, **known})


def test_cpu_and_io_are_growth_over_time_from_the_beginning_of_each_try() -> None:
    points = [
        point(0, 12, cpu=1, read_bytes=4000),
        point(0, 14, cpu=5, read_bytes=4000),
        point(1, 22, cpu=0.5, read_bytes=10),
        point(1, 23, cpu=0.5, read_bytes=30),
    ]
    found = task_resources.rates(points, {0: 10 * SECOND})
    # Try 0: one second of CPU in the first two, four in the next two. When try 1 began is not known.
    assert [rate.cpu for rate in found] == [50, 200, None, 0]
    assert [rate.read for rate in found] == [2000, 0, None, 20]
    assert [rate.written for rate in found] == [None] * 4


def test_a_counter_that_falls_and_two_samples_at_one_time_are_no_rate() -> None:
    found = task_resources.rates([point(0, 2, cpu=5), point(0, 4, cpu=3), point(0, 4, cpu=9)], {0: 0})
    assert [rate.cpu for rate in found] == [250, 0, None]


def test_the_highest_memory_is_drawn_beside_the_mean() -> None:
    found = task_resources.rates([point(0, 1, cpu=0, rss=100, peak=900)], {})
    drawn = task_resources.figure("memory", found, zero=0, theme="dark")
    assert {trace["name"]: trace["y"] for trace in drawn["data"]} == {"resident, peak": [900], "resident, mean": [100]}


def test_tries_are_apart_and_shared_processes_are_marked() -> None:
    points = [point(0, 1, cpu=0), point(0, 2, cpu=1), point(1, 9, cpu=0, shared=True)]
    for measure in task_resources.MEASURES:
        drawn = task_resources.figure(measure, task_resources.rates(points, {}), zero=0, theme="light")
        go.Figure(drawn)
        assert {tuple(trace["x"]) for trace in drawn["data"]} == {(1.0, 2.0), (9.0,)}
        for trace in drawn["data"]:
            shared = trace["name"].startswith("try 1")
            assert ("shared" in trace["name"]) == shared
            assert trace["line"]["dash"] == ("dot" if shared else "solid")


def test_without_samples_the_figures_are_empty() -> None:
    for measure in task_resources.MEASURES:
        assert task_resources.figure(measure, [], zero=0, theme=None)["data"] == []
    with pytest.raises(KeyError):
        task_resources.figure("colour", [], zero=0, theme=None)
