"""Nodes, one node and blocks in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from heliograph.messages import AgentStatus, BlockState, NodeSample, NodeSeen, TaskDescribed, TaskRunning, TaskState
from tests.dashboard.conftest import Recorded
from tests.dashboard.steady import Steady, now

S = 1_000_000


def test_nodes_one_node_and_blocks_of_a_recorded_run(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/nodes")
    page.locator("#nodes-figure .heatmaplayer image").first.wait_for(state="attached")
    row = page.locator("#nodes-table-grid .ag-center-cols-container .ag-row").first
    row.get_by_text("run over").wait_for()
    row.locator("a").first.click()
    page.wait_for_url("**/nodes/*")
    page.locator("#node-cpu .scatterlayer .trace").first.wait_for(state="attached")
    assert "It was there when the run ended." in page.locator("#node-about").inner_text()
    pools = page.locator("#node-pools-grid [col-id=executor]")
    for executor in ("htex", "threads"):
        pools.get_by_text(executor, exact=True).first.wait_for()
    page.locator("#node-agents-grid .ag-center-cols-container .ag-row").first.wait_for()
    page.get_by_role("link", name="Blocks").click()
    page.locator("#blocks-figure .barlayer .point").first.wait_for(state="attached")
    page.locator("#blocks-table-grid [col-id=executor]").get_by_text("htex", exact=True).first.wait_for()


def test_a_node_that_nobody_heard_of(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/nodes/%3Cb%3Enowhere")
    page.get_by_text("Nothing of this run was heard from <b>nowhere").wait_for()
    page.get_by_role("link", name="All nodes").click()
    page.locator("#nodes-table-grid").wait_for()


def test_lost_nodes_are_marked_and_come_back_without_a_reload(
    page: Any, open_dashboard: Callable[..., str], tmp_path: Path
) -> None:
    database, at = tmp_path / "heliograph.db", now()
    with closing(Steady(f"sqlite:///{database}")) as steady:
        steady.start()
        url = open_dashboard(database)
        page.goto(f"{url}/runs/steady/nodes")
        page.get_by_text("No nodes yet").wait_for()
        page.get_by_role("link", name="Blocks").last.click()
        page.get_by_text("No blocks in this run").wait_for()
        head: dict[str, Any] = {"origin": "parsl", "number": 1, "try_": 0}
        steady.write([
            *(NodeSeen(at=at - 600 * S, host=h, pool=f"p-{h}", executor="htex", block="0") for h in ("here", "gone")),
            BlockState(at=at - 700 * S, executor="htex", block="0", status="RUNNING", job_id="<i>4711</i>"),
            AgentStatus(at=at - 300 * S, agent="a1", host="gone", pid=3, dropped_samples=12),
            NodeSample(at=at + 600 * S, host="here", cpu_percent=50.0, cpu_count=4),  # however long the test takes
            TaskDescribed(at=at - 50 * S, origin="parsl", number=1, app="<u>app</u>"),
            TaskState(at=at - 50 * S, state="running", **head),
            TaskRunning(at=at - 50 * S, host="here", pid=9, worker="0", pool="p-here", executor="htex", **head),
        ])  # fmt: skip
        page.locator("#blocks-table-grid [col-id=job]").get_by_text("<i>4711</i>").wait_for()
        page.locator("#run-nav").get_by_role("link", name="Nodes").click()
        gone = page.locator("#nodes-table-grid .ag-row[row-id=gone]")
        gone.get_by_text("lost").wait_for()
        page.locator("#nodes-table-grid .ag-row[row-id=here]").get_by_text("alive").wait_for()
        assert "12" in page.locator("#nodes-numbers").inner_text()
        steady.write([AgentStatus(at=now() + 600 * S, agent="a1", host="gone", pid=3, dropped_samples=12)])
        gone.get_by_text("alive").wait_for()

        page.locator("#nodes-table-grid").get_by_role("link", name="here").click()
        page.locator("#node-running-grid").get_by_text("<u>app</u>").wait_for()
