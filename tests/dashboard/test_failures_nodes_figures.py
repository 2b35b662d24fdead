"""Figures of failures, nodes and blocks: what is drawn, and when a node is suspected, without a browser."""

from __future__ import annotations

from typing import Any

import pytest

from heliograph_dashboard.components.table import Asked
from heliograph_dashboard.figures import blocks, failures, nodes
from heliograph_dashboard.figures.packed import unpacked
from heliograph_dashboard.pages.links import cursor, part
from heliograph_store.read.nodes import Block, BlockChange
from heliograph_store.read.progress import Entered

AT = 1_790_000_000_000_000
S = 1_000_000
UTC: dict[str, Any] = {"theme": "light", "zone": "UTC"}


@pytest.mark.parametrize(
    ("hosts", "tries", "of_all", "named"),
    [
        ([("n1", 9), ("n2", 1)], 10, {"n1": 0.1, "n2": 0.9}, "n1"),
        ([("n1", 8), ("n2", 2)], 10, {"n1": 0.1}, "n1"),  # just enough
        ([("n1", 7), ("n2", 3)], 10, {"n1": 0.1}, None),  # too few of them
        ([("n1", 4)], 4, {"n1": 0.1}, None),  # too few to tell
        ([("n1", 10)], 10, {"n1": 1.0}, None),  # everything ran there
        ([("n1", 10)], 10, {"n1": 0.7}, None),  # most of it did
        ([("n1", 10)], 10, {"n1": 0.5}, "n1"),
        ([(None, 10)], 10, {}, None),  # nobody knows where
        ([("n1", 10)], 10, {}, "n1"),  # nobody knows where the others ran
        ([], 10, {}, None),
    ],
)
def test_when_failures_point_to_a_node(
    hosts: list[tuple[str | None, int]], tries: int, of_all: dict[str | None, float], named: str | None
) -> None:
    found = failures.suspect(hosts, tries, of_all)
    assert (found.host if found else None) == named
    if found is not None:
        assert (found.share, found.of_all) == (hosts[0][1] / tries, of_all.get(named))


def test_failures_over_time_are_stacked_by_kind() -> None:
    told = [(0, "failed", 2), (60, "failed", 1), (0, "fail_retryable", 3), (0, "exec_done", 99)]
    rows = [Entered(at=AT + second * S, state=state, entered=n) for second, state, n in told]
    found = failures.over_time(rows, width=60 * S, **UTC)
    assert [(trace["name"], trace["y"]) for trace in found["data"]] == [("failed", [2, 1]), ("failed, will retry", [3])]
    assert {trace["width"] for trace in found["data"]} == {60_000.0}
    assert failures.over_time([], width=60 * S, **UTC)["data"] == []


def test_nodes_are_as_dark_as_their_workers_are_busy() -> None:
    load = nodes.Load(at=[AT, AT + 10 * S], width=10 * S, busy={"b<i>": [1.0, 2.0], "a": [0.0, 3.0], "c": [0.0, 0.0]})
    found = nodes.picture(load, {"a": 4, "b<i>": None, "c": None}, **UTC)
    (heat,) = found["data"]
    assert heat["y"] == ["a", "b&lt;i&gt;", "c"]
    assert unpacked(heat["z"]).tolist() == [[0, 0.75], [0.5, 1.0], [0, 0]]
    empty = nodes.picture(nodes.Load(at=[], width=0, busy={}), {}, **UTC)
    assert empty["data"][0]["z"] == []


def block(name: str, *history: tuple[int, str], job: str | None = "7") -> Block:
    changes = [BlockChange(at=AT + second * S, status=status, job_id=job) for second, status in history]
    return Block(executor="htex", block=name, history=changes)


def test_blocks_have_a_bar_for_each_status_and_a_mark_where_they_ended() -> None:
    found = blocks.figure(
        [block("0", (0, "PENDING"), (10, "RUNNING"), (40, "COMPLETED")), block("1", (5, "PENDING"))],
        until=AT + 60 * S, **UTC,
    )  # fmt: skip
    bars = {trace["name"]: trace for trace in found["data"] if trace["type"] == "bar"}
    assert bars["PENDING"]["y"] == ["htex 0", "htex 1"]
    assert bars["PENDING"]["x"] == [10_000, 55_000]  # milliseconds; one that did not end reaches to the last sign
    assert bars["RUNNING"]["x"] == [30_000]
    (mark,) = [trace for trace in found["data"] if trace["type"] == "scatter"]
    assert (mark["name"], mark["y"]) == ("COMPLETED", ["htex 0"])
    assert bars["RUNNING"]["customdata"][0][2] == "7"


def test_texts_of_blocks_are_no_templates() -> None:
    found = blocks.figure([block("%{x}<b>", (0, "%{y}<i>"), job="<u>")], until=AT + S, **UTC)
    (bar,) = found["data"]
    assert "%{y}<i>" not in bar["hovertemplate"]
    assert bar["customdata"][0][2] == "&lt;u&gt;"
    assert "<b>" not in bar["y"][0]


def test_only_the_latest_of_very_many_blocks_are_drawn() -> None:
    many = [block(str(i), (i, "PENDING")) for i in range(blocks.MOST + 5)]
    shown = blocks.figure(many, until=AT + 999 * S, **UTC)["data"][0]["y"]
    assert len(shown) == blocks.MOST
    assert shown[-1] == f"htex {blocks.MOST + 4}"


def test_short_lists_are_paged_and_sorted_with_the_unknown_last() -> None:
    rows = [{"n": n, "v": v} for n, v in enumerate([3, None, 1, 2])]
    first = part(rows, Asked(sort="v", limit=2))
    assert [row["v"] for row in first.rows] == [1, 2]
    assert first.total == 4
    rest = part(rows, Asked(sort="v", limit=2, after=tuple(first.next)))
    assert [row["v"] for row in rest.rows] == [3, None]
    assert rest.next is None
    assert [row["v"] for row in part(rows, Asked(sort="v", descending=True)).rows] == [3, 2, 1, None]
    assert [row["n"] for row in part(rows, Asked(after=("nonsense",))).rows] == [0, 1, 2, 3]


def test_a_cursor_of_something_else_is_none() -> None:
    assert cursor([1, "a"], int, str) == (1, "a")
    for wrong in (None, 5, [1], [1, 2], ["a", 1], [True, "a"], {"0": 1}):
        assert cursor(wrong, int, str) is None
