"""The files page in a real browser: how to set a watch up, and what watches found."""

from __future__ import annotations

import ast
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from heliograph.messages import FileCallback, FileFound, WatchClosed, WatchOpened
from heliograph_dashboard.pages.files import EXAMPLE
from tests.dashboard.conftest import Recorded, until
from tests.dashboard.steady import Steady, now

ROWS = "#files-found-grid .ag-center-cols-container .ag-row"
PATH = '/data/<img src=x onerror=alert(1)>/"Größe" 🌍.h5'


def test_without_watches_it_says_how_to_set_one_up(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/files")
    page.get_by_text("No files are watched in this run").wait_for()
    assert page.locator("#files-none pre").inner_text().strip() == EXAMPLE.strip()
    ast.parse(EXAMPLE)


def test_what_watches_found_and_callbacks_made_of_it(
    page: Any, open_dashboard: Callable[..., str], tmp_path: Path
) -> None:
    database, at = tmp_path / "heliograph.db", now()
    with closing(Steady(f"sqlite:///{database}")) as steady:
        steady.start()
        steady.add(1)
        steady.write([
            WatchOpened(at=at, watch="w1", root="/data", host="n1", patterns=["*.h5"], origin="parsl", number=0),
            WatchOpened(at=at, watch="w2", root="/other"),
            FileFound(at=at, watch="w1", path=PATH, size=4096, mtime=at, pattern="*.h5", repeat=True),
            *(FileFound(at=at + n, watch="w2", path=f"/other/{n:03}.txt", size=n, mtime=at) for n in range(60)),
            FileCallback(at=at, watch="w1", callback="sum", sequence=1, outcome="ok", paths=[PATH], result="3 rows"),
            FileCallback(at=at, watch="w1", callback="sum", sequence=2, outcome="error", result="OSError: <b>no</b>"),
            WatchClosed(at=at, watch="w2", files=60, unfinished=2, reason="end"),
        ])  # fmt: skip
        page.goto(f"{open_dashboard(database)}/runs/steady/files")
        found = page.locator("#files-found-grid")
        first = page.locator(ROWS).first
        first.wait_for()
        assert PATH in first.inner_text()
        first.locator("[col-id=repeat]").get_by_text("yes").wait_for()
        calls = page.locator("#files-callbacks-grid [col-id=result]")
        calls.get_by_text("3 rows").wait_for()
        calls.get_by_text("OSError: <b>no</b>").wait_for()
        watches = page.locator("#files-watches").inner_text()
        assert "open" in watches
        assert "2 not finished" in watches

        # The next page begins after the last key, also when its link is sent to somebody.
        page.locator("#files-found-more").click()
        found.get_by_text("/other/059.txt").wait_for()
        page.wait_for_url("**after=*")
        page.reload()
        found.get_by_text("/other/059.txt").wait_for()
        page.locator("#files-found-filter-watch").click()
        page.get_by_role("option", name="w1").click()
        found.get_by_text(PATH).wait_for()
        until(
            page, "() => document.querySelectorAll('#files-found-grid .ag-center-cols-container .ag-row').length === 1"
        )

        first.locator("a").click()
        page.wait_for_url("**/tasks/0")
