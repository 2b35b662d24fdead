"""The frame around all pages: where one is, theme, links, and that nothing comes from elsewhere."""

from __future__ import annotations

from typing import Any

from tests.dashboard.conftest import Recorded
from tests.dashboard.workflow import NAME


def test_from_all_workflows_to_one_and_back(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(dashboard + "/")
    page.get_by_role("link", name=NAME).first.click()
    page.wait_for_url(f"**/runs/{recorded.run}")
    assert NAME in page.get_by_role("heading", level=1).inner_text()
    assert NAME in page.title()
    page.locator("#crumbs").get_by_role("link", name="Workflows").click()
    page.locator("#workflows-grid .ag-row").first.wait_for()
    page.go_back()
    page.locator("#run-nav a").first.wait_for()
