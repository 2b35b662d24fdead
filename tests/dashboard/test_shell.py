"""The frame around all pages and the list of workflows, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.conftest import Faults, Recorded, wait_for
from tests.dashboard.steady import Steady
from tests.dashboard.workflow import NAME


def test_from_all_workflows_to_one_and_back(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(dashboard + "/")
    page.get_by_role("link", name=NAME).first.click()
    page.wait_for_url(f"**/runs/{recorded.run}")
    page.get_by_role("heading", level=1).get_by_text(NAME).wait_for()
    assert NAME in page.title()
    assert page.locator("#run-head .hg-badge").inner_text() == "failed"
    page.locator("#crumbs").get_by_role("link", name="Workflows").click()
    page.locator("#workflows-grid .ag-row").first.wait_for()
    wait_for(lambda: page.title() == "Workflows · Heliograph")
    page.go_back()
    page.locator("#run-nav a").first.wait_for()
    page.goto(f"{dashboard}/runs/nothing-like-it")
    page.get_by_text("Nothing of a run nothing-like-it has arrived yet").wait_for()
    page.goto(f"{dashboard}/no/such/page")
    page.get_by_role("link", name="All workflows").wait_for()


def test_the_theme_is_the_systems_until_one_chooses_and_stays(page: Any, dashboard: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(dashboard + "/")
    page.locator("html[data-theme=dark]").wait_for()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme-toggle").click()
    page.locator("html[data-theme=light]").wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    page.reload()
    page.locator("html[data-theme=light]").wait_for()


def test_times_are_local_with_utc_on_hover(page: Any, dashboard: str) -> None:
    page.goto(dashboard + "/")
    cell = page.locator('#workflows-grid .ag-row [col-id="began"] span[title$="UTC"]').first
    cell.wait_for()
    shown, utc = cell.inner_text(), cell.get_attribute("title")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", shown)
    assert utc.endswith(" UTC")
    hours = (int(utc[11:13]) - int(shown[11:13])) % 24
    assert hours in {4, 5}, "the page is in New York"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty runs of two owners, some of them over."""
    database = tmp_path_factory.mktemp("many") / "many.db"
    for number in range(30):
        steady = Steady(f"sqlite:///{database}", f"run-{number:02}", name=f"Flow {number:02}")
        steady.start()
        if number % 3 == 0:
            steady.end()
        steady.close()
    return database


def names(page: Any) -> list[str]:
    rows = page.locator('#workflows-grid .ag-row [col-id="name"]').all_inner_texts()
    return sorted(name for name in rows if name)


def test_filters_order_and_page_stand_in_the_url(page: Any, many: Path, open_dashboard: Callable[..., str]) -> None:
    url = open_dashboard(many)
    page.goto(f"{url}/?rows=25")
    page.get_by_text("1–25 of 30 workflows").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("26–30 of 30 workflows").wait_for()
    assert "after=" in page.url
    second = names(page)
    page.reload()
    page.get_by_text("5 on this page of 30 workflows").wait_for()
    wait_for(lambda: names(page) == second)
    page.get_by_role("button", name="First").click()
    page.get_by_text("1–25 of 30 workflows").wait_for()

    page.locator("#workflows-grid .ag-header-cell-label").get_by_text("Workflow").click()
    page.wait_for_url("**sort=name**")
    page.locator('#workflows-grid .ag-row[row-index="0"]').get_by_text("Flow 00").wait_for()
    page.locator("#workflows-filter-state").click()
    page.get_by_role("option", name="completed").click()
    page.get_by_text("1–10 of 10 workflows").wait_for()
    page.locator("#workflows-filter-search").fill("flow 1")
    page.get_by_text("of 3 workflows").wait_for()
    assert {"state=completed", "search=flow+1", "sort=name"} <= set(re.split("[?&]", page.url))
    csv = page.locator("#workflows-csv").get_attribute("href")
    assert {"state=completed", "search=flow+1"} <= set(re.split("[?&]", csv))

    shared = page.context.new_page()
    shared.goto(page.url)
    shared.get_by_text("of 3 workflows").wait_for()
    assert names(shared) == names(page) == ["Flow 12", "Flow 15", "Flow 18"]
    page.locator("#workflows-filter-search").fill("no such thing")
    page.locator("#workflows-empty").get_by_text("There are no workflows that match").wait_for()


def test_a_database_that_goes_away_and_comes_back(
    page: Any, faults: Faults, tmp_path: Path, open_dashboard: Callable[..., str]
) -> None:
    steady = Steady(f"sqlite:///{tmp_path / 'one.db'}")
    steady.start()
    steady.close()
    url = open_dashboard(tmp_path / "one.db")
    page.goto(url)
    page.get_by_role("link", name="Steady").wait_for()
    page.locator("#live[data-state=live]").wait_for()
    faults.allow("503")
    (tmp_path / "one.db").rename(tmp_path / "elsewhere.db")
    page.get_by_text("The database cannot be read now").wait_for()
    assert page.get_by_role("link", name="Steady").is_visible(), "what was there stays"
    (tmp_path / "elsewhere.db").rename(tmp_path / "one.db")
    page.get_by_text("The database cannot be read now").wait_for(state="detached")


def test_behind_a_password_and_a_prefix(
    page: Any, faults: Faults, many: Path, open_dashboard: Callable[..., str]
) -> None:
    faults.allow("answer 403")
    faults.allow("403 (Forbidden)")
    url = open_dashboard(many, dashboard_password="correct horse", dashboard_prefix="/node/n1/")
    page.goto(f"{url}/runs/run-07?x=1")
    page.get_by_label("Password or token").fill("wrong horse")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("That is not right").wait_for()
    page.get_by_label("Password or token").fill("correct horse")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/runs/run-07?x=1")
    page.locator("#live[data-state=live]").wait_for()
    page.locator("#crumbs").get_by_role("link", name="Workflows").click()
    page.wait_for_url(f"{url}/")
    page.get_by_role("link", name="Flow 07").click()
    page.wait_for_url(f"{url}/runs/run-07")
