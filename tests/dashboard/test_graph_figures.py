"""Figures of graphs: every task and app is there, told apart, and its texts stay texts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from heliograph_dashboard.figures.app_graph import MOST, Link, app_figure, condensed
from heliograph_dashboard.figures.graph import Colour, task_figure
from heliograph_dashboard.figures.graph_canvas import canvas_data, legend
from heliograph_dashboard.figures.packed import unpacked
from heliograph_store.read.app_graph import AppEdge
from heliograph_store.read.graph import TaskGraph, TaskNode
from heliograph_store.read.runs import AppCounts

HOSTILE = "<b>x</b> %{y} $a$ & \n🔥"
APPS = ["a", HOSTILE, None]


def node(task: int, app: str | None, state: str | None = "exec_done") -> TaskNode:
    return TaskNode(task=task, app=app, state=state, seconds=None if state == "running" else 1.5)


GRAPH = TaskGraph(
    nodes=[node(0, "a"), node(1, HOSTILE), node(2, HOSTILE, "running"), node(3, None, None)],
    edges=[(0, 1, False), (0, 2, False), (1, 3, True)],
    hidden={1: (0, 7)},
)


def points(figure: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """By task: (colour, text of the hover's names) of every node."""
    found = {}
    for trace in figure["data"]:
        for identity in trace.get("customdata", ()):
            found[identity[0]] = (trace["marker"]["color"], trace["meta"])
    return found


@pytest.mark.parametrize("colour", ["app", "state"])
def test_every_task_is_drawn_with_the_colour_that_was_asked_for(colour: Colour) -> None:
    found = points(task_figure(GRAPH, apps=APPS, colour=colour, theme="light"))
    assert set(found) == {"0", "1", "2", "3"}
    same_app, same_state = found["1"][0] == found["2"][0], found["0"][0] == found["1"][0]
    assert (same_app, same_state) == ((True, False) if colour == "app" else (False, True))


def test_texts_of_a_workflow_are_escaped_and_never_part_of_a_template() -> None:
    figure = task_figure(GRAPH, apps=APPS, colour="app", theme="dark", focus=1)
    name = points(figure)["1"][1][0]
    assert name.startswith("&lt;b&gt;x&lt;/b&gt; %{y} $a$ &amp;")
    assert "\n" not in name
    assert all("%{y}" not in trace.get("hovertemplate", "") for trace in figure["data"])
    assert all("<b>x" not in note["text"] for note in figure["layout"]["annotations"])


def test_joins_are_lines_of_their_own_and_hidden_neighbours_are_counted() -> None:
    figure = task_figure(GRAPH, apps=APPS, colour="app", theme="light", focus=1)
    lines = {trace["name"]: trace for trace in figure["data"] if trace["mode"] == "lines+markers"}
    assert len(lines["waits for"]["x"]) == 3 * 2
    assert len(lines["joins"]["x"]) == 3
    assert any("7 more" in text for trace in figure["data"] if trace["mode"] == "text" for text in trace["text"])


@pytest.mark.parametrize("colour", ["app", "state"])
def test_the_canvas_gets_every_task_and_edge_in_numbers(colour: Colour) -> None:
    data = canvas_data(GRAPH, apps=APPS, colour=colour, theme="light")
    assert unpacked(data["task"]).tolist() == [0, 1, 2, 3]
    assert np.isnan(unpacked(data["seconds"])[2])
    names = [data["apps"][at] for at in unpacked(data["app"])]
    assert names[0] == "a"
    assert names[1].startswith("<b>x</b>"), "set as text in the browser, so it is not escaped here"
    edges = unpacked(data["edges"]).reshape(-1, 2).tolist()
    assert edges[-data["joins"] :] == [[1, 3]], "joins come last"
    assert sorted(edges) == [[0, 1], [0, 2], [1, 3]]
    assert len(legend(data)) == 3


def test_twenty_thousand_tasks_fit_into_a_megabyte() -> None:
    random = np.random.default_rng(1)
    many = 20_000
    nodes = [node(i, f"app_{i % 12}") for i in range(many)]
    edges = [(int(a * b), b, False) for b, a in zip(range(1, many), random.random(many - 1), strict=True)] * 2
    data = canvas_data(TaskGraph(nodes=nodes, edges=edges), apps=["x"], colour="app", theme="light")
    assert sum(len(value["bdata"]) for value in data.values() if isinstance(value, dict)) < 1_000_000


def test_cards_say_how_many_tasks_an_app_has_and_links_how_often_they_wait() -> None:
    counts = [AppCounts(app="a", states={"exec_done": 3, "failed": 1}), AppCounts(app=HOSTILE, states={"pending": 2})]
    edges = [
        AppEdge(start="a", end=HOSTILE, dependencies=5, joins=1),
        AppEdge(start="a", end="a", dependencies=2, joins=0),
        AppEdge(start=HOSTILE, end="a", dependencies=0, joins=4, about=True),
    ]
    made = app_figure(counts, edges, colour="state", theme="light")
    texts = [note["text"] for note in made.figure["layout"]["annotations"]]
    assert "4 tasks · 1 failed" in texts
    assert {"6 (1 joins)", "2", "≈ 4 joins"} <= set(texts)
    assert all("<b>x</b>" not in text for text in texts)
    cards = made.figure["data"][-1]
    assert set(cards["customdata"]) == {"a", HOSTILE}


def test_what_cards_say_fits_into_them() -> None:
    def said(columns: int) -> list[str]:
        names = [f"an_app_with_a_rather_long_name_{i}" for i in range(columns)]
        counts = [AppCounts(app=name, states={"exec_done": 24_000, "failed": 154}) for name in names]
        edges = [AppEdge(start=a, end=b, dependencies=1, joins=0) for a, b in pairwise(names)]
        made = app_figure(counts, edges, colour="app", theme="light")
        return [note["text"] for note in made.figure["layout"]["annotations"]]

    assert {"<b>an_app_with_a_rather_long_name_0</b>", "24,154 tasks · 154 failed"} <= set(said(1))
    assert {"<b>an_app_with_a…</b>", "24,154 · 154 failed"} <= set(said(7))


def test_small_apps_beyond_the_most_share_a_card() -> None:
    counts = [AppCounts(app=f"app_{i}", states={"exec_done": 1000 - i}) for i in range(MOST + 5)]
    edges = [AppEdge(start=f"app_{MOST + i}", end="app_0", dependencies=i, joins=0) for i in range(5)]
    cards, links = condensed(counts, edges)
    assert len(cards) == MOST
    assert cards[-1].others == 6
    assert sum(card.tasks for card in cards) == sum(count.total for count in counts)
    assert list(links.values()) == [Link(10, 0, False)]
