"""Figures of the timeline: every try on its worker's lane for as long as it ran, whichever way it is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heliograph_dashboard.figures.clock import Clock
from heliograph_dashboard.figures.lanes import lanes_of
from heliograph_dashboard.figures.packed import unpacked
from heliograph_dashboard.figures.raster import Spans, rasterise
from heliograph_dashboard.figures.timeline import MOST_BARS, area_figure, tries_figure
from heliograph_dashboard.figures.timeline_scene import Window
from heliograph_dashboard.pages.timeline_window import Asked, from_query, from_store, moved, spanned, zoomed
from heliograph_store.read.busy import Busy
from heliograph_store.read.nodes import Node
from heliograph_store.read.timeline import Ran

SECOND = 1_000_000
START = 1_790_000_000 * SECOND
UTC = Clock(offset=0)


def one(task: int, began: float, ended: float | None, **more: Any) -> Ran:
    """A try; times in seconds after START."""
    known: dict[str, Any] = {
        "try_": 0, "app": "a", "state": "exec_done", "failed": False, "host": "n1", "executor": "htex", "block": "0",
        "pool": "p", "worker": "0", "pid": 7, "thread": None, "shared": False,
    }  # fmt: skip
    end = None if ended is None else START + round(ended * SECOND)
    return Ran(task=task, began=START + round(began * SECOND), ended=end, **{**known, **more})


def pool(**more: Any) -> Node:
    known: dict[str, Any] = {
        "host": "n1", "pool": "p", "executor": "htex", "block": "0", "workers": 3, "cpu_count": 4, "memory_total": None,
        "python": None, "platform": None, "active": True, "pid": 1, "first_seen": START, "last_seen": START,
        "key": (1, 1),
    }  # fmt: skip
    return Node(**{**known, **more})


def window(seconds: float = 100, *, lost: bool = False, clock: Clock = UTC) -> Window:
    last = START + 90 * SECOND
    return Window(since=START, until=START + round(seconds * SECOND), last=last, lost=lost, clock=clock)


def after(shown: str) -> float:
    """Seconds after START of what an axis is given."""
    return ((UTC.read(shown) or 0) - START) / SECOND


def bars(figure: dict[str, Any]) -> dict[str, tuple[float, float, int]]:
    """By task: begin and length in seconds after START, and the lane."""
    found = {}
    for trace in figure["data"]:
        if trace["type"] == "bar":
            parts = (trace["base"], unpacked(trace["x"]), unpacked(trace["y"]))
            for task, base, x, y in zip(trace["customdata"], *parts, strict=True):
                found[task] = (after(base), x / 1000, int(y))
    return found


def test_a_bar_is_as_long_as_its_try_and_lies_on_its_workers_lane() -> None:
    tries = [one(1, 1, 4), one(2, 2, 9.5, worker="10"), one(3, 5, 6, worker="2"), one(4, 0, 1, host="n0")]
    level, made = tries_figure(tries, [], window(), apps=["a"], theme="light")
    assert level == "bars"
    assert bars(made.figure) == {"1": (1, 3, 1), "2": (2, 7.5, 3), "3": (5, 1, 2), "4": (0, 1, 0)}
    assert made.figure["layout"]["yaxis"]["ticktext"] == ["<b>n0</b>  0", "<b>n1</b>  0", "2", "10"]


def test_many_apps_have_room_above_the_lanes() -> None:
    def height(apps: int) -> int:
        tries = [one(i, i, i + 1, app=f"an_app_with_a_name_{i:03}") for i in range(apps)]
        return tries_figure(tries, [], window(), apps=[], theme="light")[1].height

    assert height(2) < height(16) < height(40)
    assert height(400) - height(2) == 9 * 20


def test_a_try_without_an_end_grows_until_now_and_of_a_lost_run_ends_at_its_last_sign() -> None:
    _, alive = tries_figure([one(1, 10, None)], [], window(), apps=["a"], theme="light")
    assert bars(alive.figure)["1"] == (10, 80, 0)
    assert not any("unknown" in trace["name"] for trace in alive.figure["data"])
    _, lost = tries_figure([one(1, 10, None)], [], window(lost=True), apps=["a"], theme="light")
    assert bars(lost.figure)["1"] == (10, 80, 0)
    assert any("end unknown" in trace["name"] for trace in lost.figure["data"])


def test_failed_tries_are_marked_where_they_ended() -> None:
    _, made = tries_figure([one(1, 1, 4, failed=True), one(2, 5, 6)], [], window(), apps=["a"], theme="light")
    (marks,) = [trace for trace in made.figure["data"] if trace["name"] == "failed"]
    assert marks["customdata"] == ["1"]
    assert after(marks["x"][0]) == 4


def test_texts_of_a_workflow_are_escaped() -> None:
    _, made = tries_figure([one(1, 1, 2, app="<b>%{x}</b>", host="<i>n</i>")], [], window(), apps=[], theme="light")
    trace = made.figure["data"][0]
    assert trace["name"] == "&lt;b&gt;%{x}&lt;/b&gt;"
    assert "&lt;i&gt;n&lt;/i&gt;" in trace["text"][0]
    assert "%{x}" not in trace["hovertemplate"]


def test_idle_workers_have_lanes_too() -> None:
    lanes, lane = lanes_of([one(1, 1, 2, worker="1")], [pool()])
    assert [shown.name for shown in lanes] == ["0", "1", "2"]
    assert lane == [1]


def test_threads_of_a_process_are_workers_and_processes_of_one_try_each_share_slots() -> None:
    threads = [one(i, i, i + 1, worker=None, pool=None, shared=True, thread=900 + i % 2) for i in range(4)]
    lanes, lane = lanes_of(threads)
    assert ([shown.name for shown in lanes], lane) == (["thread 1", "thread 2"], [0, 1, 0, 1])
    own = [one(i, i, i + 1.5, worker=None, pool=None, pid=100 + i) for i in range(20)]
    lanes, lane = lanes_of(own)
    assert [shown.name for shown in lanes] == ["slot 1", "slot 2"]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=60))
def test_two_tries_of_one_slot_never_overlap(spans: list[tuple[int, int]]) -> None:
    tries = [one(i, b, b + n, worker=None, pid=None) for i, (b, n) in enumerate(sorted(spans))]
    _, lane = lanes_of(tries)
    for i, first in enumerate(tries):
        for j, second in enumerate(tries[:i]):
            apart = (first.ended or 0) <= second.began or (second.ended or 0) <= first.began
            assert lane[i] != lane[j] or apart


def test_many_tries_become_an_image() -> None:
    tries = [one(i, i / 100, i / 100 + 1, worker=str(i % 7), failed=i == 5) for i in range(MOST_BARS + 1)]
    level, made = tries_figure(tries, [], window(), apps=["a"], theme="light")
    assert level == "raster"
    heat = made.figure["data"][0]
    cells = unpacked(heat["z"])
    assert cells.shape[0] == 7
    assert set(np.unique(cells)) <= {0, 1, 2}
    assert made.names is not None
    assert made.names["apps"][0] == "a"
    assert any(trace.get("name") == "failed" for trace in made.figure["data"])


spans = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 2), st.floats(-20, 120), st.floats(0.001, 150)), min_size=1, max_size=40
)


@given(spans, st.integers(1, 8), st.integers(1, 30))
def test_a_pixel_has_the_app_that_kept_its_workers_busy_longest(
    some: list[tuple[int, int, float, float]], rows: int, columns: int
) -> None:
    lanes, apps, until = 6, 3, 100.0
    lane, app, began, length = (np.asarray(part) for part in zip(*some, strict=True))
    grid = rasterise(
        Spans(lane=lane, app=app, began=began, ended=began + length),
        lanes=lanes, apps=apps, since=0.0, until=until, rows=rows, columns=columns,
    )  # fmt: skip
    busy = np.zeros((apps, grid.cells.shape[0], columns))
    for at, which, begin, spent in some:
        for column in range(columns):
            left, right = column * until / columns, (column + 1) * until / columns
            busy[which, at // grid.lanes_a_row, column] += max(0.0, min(right, begin + spent) - max(left, begin))
    for row, column in np.ndindex(grid.cells.shape):
        here, cell = busy[:, row, column], int(grid.cells[row, column])
        if here.sum() > 1e-4:
            assert cell > 0
            assert here[(cell - 1) // 2] >= here.max() - 1e-3
        elif here.sum() == 0:
            assert cell == 0


def test_the_area_sums_busy_time_and_falls_to_nothing_in_between() -> None:
    minute = 60 * SECOND
    rows = [
        Busy(at=START, width=minute, name="a", busy=2 * minute, running=2),
        Busy(at=START, width=minute, name=None, busy=minute // 2, running=0),
        Busy(at=START + 3 * minute, width=minute, name="a", busy=minute, running=0),
    ]
    made = area_figure(rows, window(300), apps=["a"], theme="dark")
    heights = {trace["name"]: unpacked(trace["y"]).tolist() for trace in made.figure["data"]}
    assert heights == {"a": [2, 0, 1, 0], "not described yet": [0.5, 0, 0, 0]}


def test_a_clock_can_be_read_backwards() -> None:
    berlin = Clock.of(START, "Europe/Berlin")
    assert (berlin.offset, berlin.name) == (2 * 3600 * SECOND, "UTC+02:00")
    (shown,) = berlin.shown([START + 123_456])
    assert shown.endswith(":20.123456")
    assert berlin.read(shown) == START + 123_456
    assert berlin.read((START + 123_000) / 1000 + 2 * 3_600_000) == START + 123_000
    assert berlin.read(shown.replace("T", " ")[:16]) == (START // (60 * SECOND)) * 60 * SECOND
    assert berlin.read("never") is None
    assert Clock.of(START, "No/Where").offset == 0


@given(st.integers(1, 2**50), st.integers(1, 2**50), st.sampled_from([None, "n1", "ü <b>"]))
def test_a_frozen_window_survives_the_url(since: int, width: int, node: str | None) -> None:
    asked = Asked(since=since, until=since + width, node=node)
    assert from_query(asked.query()) == asked
    assert from_store(asked.stored()) == asked


def test_nonsense_in_the_url_follows_the_whole_run() -> None:
    for query in (
        {"from": "x", "to": "y"},
        {"last": "-1"},
        {"last": "1e9"},
        {"from": "2026-01-02", "to": "2026-01-01"},
    ):
        assert from_query(query) == Asked()


def test_moving_and_zooming_freeze_and_the_control_follows_again() -> None:
    drawn = (START, START + 100)
    assert moved(Asked(), drawn, shift=0.5) == Asked(since=START + 50 - 450, until=START + 50 + 550)
    wide = (START, START + 100_000)
    assert moved(Asked(), wide, shift=0.5) == Asked(since=START + 50_000, until=START + 150_000)
    event = dict(zip(("from", "to"), UTC.shown([START, START + 9_000]), strict=True))
    assert zoomed(Asked(last=60), event, UTC) == Asked(since=START, until=START + 9_000)
    assert zoomed(Asked(since=1, until=2), {"all": True}, UTC) == Asked()
    assert spanned(Asked(), "frozen", wide) == Asked(since=wide[0], until=wide[1])
    assert spanned(Asked(since=1, until=2, node="n"), "600", wide) == Asked(last=600, node="n")
