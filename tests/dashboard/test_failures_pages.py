"""The failures page in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from heliograph.messages import Record, TaskDescribed, TaskEnded, TaskRunning, TaskState
from tests.dashboard.conftest import Recorded, until
from tests.dashboard.steady import Steady, now

ROWS = "#failures-groups-grid .ag-center-cols-container .ag-row"


def test_from_a_group_of_failures_to_the_task(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/failures")
    page.locator("#failures-figure .barlayer .point").first.wait_for(state="attached")
    grid = page.locator("#failures-groups-grid")
    grid.get_by_role("link", name="ValueError").click()
    detail = page.locator("#failures-detail")
    detail.wait_for()
    assert "group=" in page.url
    # It stands below the table, and is what was asked for: one must not have to look for it.
    until(page, "document.querySelector('#failures-detail').getBoundingClientRect().top < 300")
    # Texts of the workflow are texts: nothing of them was run, and all of it can be read.
    assert "<script>document.title='broken'</script>" in page.locator("#failures-traceback").inner_text()
    assert page.title() != "broken"
    assert "input #" in page.locator(".hg-message").inner_text()
    tries = page.locator("#failures-tries-grid .ag-center-cols-container .ag-row")
    tries.first.wait_for()
    assert tries.count() == 6  # three tasks, each tried twice
    tries.first.locator("a").first.click()
    page.wait_for_url("**/tasks/*")
    page.get_by_text("Traceback").first.wait_for()


def test_groups_are_filtered_by_what_is_typed(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/failures")
    rows = page.locator(ROWS)
    rows.first.wait_for()
    before = rows.count()
    assert before > 2
    page.locator("#failures-groups-filter-text").fill("first try")
    page.wait_for_url("**text=first*")
    until(
        page,
        "(n) => document.querySelectorAll('#failures-groups-grid .ag-center-cols-container .ag-row').length < n",
        arg=before,
    )
    assert rows.all_inner_texts()[0].split("\n")[1] == "RuntimeError"


def test_the_first_failures_come_by_themselves_and_point_at_their_node(
    page: Any, open_dashboard: Callable[..., str], tmp_path: Path
) -> None:
    database = tmp_path / "heliograph.db"
    with closing(Steady(f"sqlite:///{database}")) as steady:
        steady.start()
        url = open_dashboard(database)
        page.goto(f"{url}/runs/steady/failures")
        page.get_by_text("Nothing has failed in this run").wait_for()
        steady.write([record for number in range(40) for record in task(number)])
        row = page.locator(ROWS).first
        row.locator("[col-id=node]").get_by_text("100% on <b>bad</b>").wait_for()
        row.get_by_role("link", name="OSError").click()
        hint = page.locator(".hg-hint")
        hint.wait_for()
        assert "100% of these come from <b>bad</b>, which ran 25% of all tries." in hint.inner_text()
        hint.get_by_role("link").click()
        page.wait_for_url("**/nodes/**")
        page.get_by_role("heading", name="<b>bad</b>").wait_for()


def task(number: int) -> list[Record]:
    """One in four runs on the node whose disk is full."""
    head: dict[str, Any] = {"origin": "parsl", "number": number, "try_": 0}
    at = now()
    host, bad = ("<b>bad</b>", True) if number % 4 == 0 else (f"good{number % 3}", False)
    error = (
        {"exc_type": "OSError", "exc_message": f"No space left: '/scratch/{number}'", "traceback": "T"} if bad else {}
    )
    return [
        TaskDescribed(at=at, origin="parsl", number=number, app="a"),
        TaskRunning(at=at, host=host, pid=7, worker="0", pool="p", **head),
        TaskEnded(at=at + 5000, host=host, pid=7, ok=not bad, elapsed=5000, **error, **head),
        TaskState(at=at + 6000, state="failed" if bad else "exec_done", **head),
    ]
