"""The resources page in a real browser, on a real recorded run."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.dashboard.conftest import Recorded, until


def drawn(page: Any, graph: str) -> Any:
    """The first trace of a figure, once it is drawn."""
    trace = page.locator(f"#{graph} .scatterlayer .trace, #{graph} .boxlayer .trace, #{graph} .barlayer .trace").first
    trace.wait_for(state="attached")
    return trace


def query(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_resources_of_a_run_of_an_app_and_back(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/resources")
    for name in ("cpu", "memory", "disk", "network", "workers", "spread"):
        drawn(page, f"resources-{name}")
    assert "lowest to the highest sample" in page.locator("#resources-note").inner_text()
    numbers = page.locator("#resources-efficiency .hg-number-value").all_inner_texts()
    assert len(numbers) == 3
    for number in numbers:
        assert number == "—" or 0 <= float(number.removesuffix("%")) <= 100
    assert numbers[0].endswith("%")
    rows = page.locator("#resources-apps-grid .ag-center-cols-container .ag-row")
    rows.first.wait_for()
    assert "<img src=x onerror=alert(1)>" in page.locator("#resources-apps-grid").inner_text()

    page.locator("#resources-app").click()
    page.get_by_role("option", name="simulate", exact=True).click()
    until(page, "() => document.getElementById('resources-note').innerText.includes('Sum over the tries')")
    assert query(page)["app"] == ["simulate"]
    page.locator("#resources-network-none").get_by_text("not measured").wait_for()
    drawn(page, "resources-memory")
    page.locator("#resources-spread .barlayer .point").first.wait_for(state="attached")
    page.locator("#resources-measure").get_by_text("Peak memory").click()
    page.wait_for_url("**measure=memory**")
    assert query(page) == {"app": ["simulate"], "measure": ["memory"]}

    # What the URL says is what a colleague sees.
    page.reload()
    page.locator("#resources-note").get_by_text("Sum over the tries").wait_for()
    assert page.locator("#resources-app").input_value() == "simulate"
    assert page.locator("#resources-measure input[value=memory]").is_checked()


def test_resources_of_a_node_in_the_dark(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/nodes")
    page.locator("#nodes-table-grid a").first.click()
    page.get_by_role("link", name="disk and network").click()
    page.locator("#resources-note").get_by_text("Measured on the node").wait_for()
    assert query(page)["host"]
    drawn(page, "resources-network")
    colour = "() => getComputedStyle(document.querySelector('#resources-cpu .xtick text')).fill"
    light = page.evaluate(colour)
    page.locator("#theme-toggle").click()
    until(page, f"(light) => ({colour})() !== light", arg=light)
