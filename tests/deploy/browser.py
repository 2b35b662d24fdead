"""A real browser in front of a deployment: a person who logs in and looks at a run.

In: a stack, a workflow that is over. Out: what the pages say of it; AssertionError when anything in them goes wrong.
"""

from __future__ import annotations

import re
import shutil
from typing import Any

from tests.dashboard.conftest import FLAGS, Faults, watch
from tests.deploy.host import Workflow
from tests.deploy.stack import Stack, docker, wait_for


def look(stack: Stack, workflow: Workflow) -> dict[str, int]:
    """Log in at the first dashboard, find the run, and open its pages; gives the numbers of its summary."""
    from playwright.sync_api import sync_playwright

    path = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    # The port that this copy took of the range.
    address = "http://" + docker("port", f"{stack.project}-dashboard-1", "8080").splitlines()[0]
    faults = Faults()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page()
        watch(page, faults)
        page.goto(f"{address}/")
        page.locator("#secret").fill(stack.secret("dashboard-password"))
        page.get_by_role("button", name="Log in").click()
        page.locator(f"a[href*='/runs/{workflow.run}']").first.click()
        page.wait_for_url(f"**/runs/{workflow.run}**")
        found = numbers(page)
        for name in ("tasks", "timeline", "graph", "resources", "failures", "nodes"):
            page.goto(f"{address}/runs/{workflow.run}/{name}")
            settled(page)
        page.goto(f"{address}/runs/{workflow.run}/tasks")
        page.locator("#tasks-grid .ag-row a").first.click()
        page.wait_for_url("**/tasks/*")
        page.get_by_role("heading", name="Task ").wait_for()
        browser.close()
    assert not faults.left
    return found


def numbers(page: Any) -> dict[str, int]:
    shown = page.locator("#summary-numbers")
    shown.locator(".hg-number").first.wait_for()
    labels, values = (shown.locator(f".hg-number-{part}").all_inner_texts() for part in ("label", "value"))
    digits = (re.sub(r"\D", "", value) for value in values)
    return {label: int(text) for label, text in zip(labels, digits, strict=True) if text}


def settled(page: Any) -> None:
    """Nothing is being fetched any more."""
    page.wait_for_load_state("load")

    def done() -> bool:
        busy = page.locator("[data-dash-is-loading=true]").count()
        return bool(page.title() != "Updating..." and not busy)

    wait_for(done, 60, lambda: f"{page.url} goes on loading")
