"""Live updates: what is written shows up without a reload, stays away while paused, and comes without a socket too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.steady import Steady


@pytest.fixture
def steady(tmp_path: Path) -> Iterator[Steady]:
    steady = Steady(f"sqlite:///{tmp_path / 'steady.db'}")
    steady.start()
    yield steady
    steady.close()


def url_of(steady: Steady) -> str:
    return f"sqlite:///{steady.store.path}"


def test_a_running_workflow_advances_without_reload(
    page: Any, steady: Steady, open_dashboard: Callable[..., str]
) -> None:
    first = steady.add(5)
    url = open_dashboard(url_of(steady))
    page.goto(f"{url}/runs/steady")
    head = page.locator("#run-head")
    head.get_by_text("5 running").wait_for()
    page.evaluate("window.notReloaded = true")
    page.locator("#live[data-state=live]").wait_for()
    steady.move(first, "exec_done")
    head.get_by_text("5 done").wait_for()

    page.locator("#pause").click()
    page.locator("#live[data-state=paused]").wait_for()
    second = steady.add(3)
    page.wait_for_timeout(2500)
    assert head.get_by_text("3 running").count() == 0
    page.locator("#pause").click()
    head.get_by_text("3 running").wait_for()

    steady.move(second, "failed")
    steady.end(failed=3)
    head.get_by_text("3 failed").wait_for()
    head.locator(".hg-badge").get_by_text("failed").wait_for()
    assert page.evaluate("window.notReloaded")


def test_new_workflows_appear_in_the_list(page: Any, steady: Steady, open_dashboard: Callable[..., str]) -> None:
    url = open_dashboard(url_of(steady))
    page.goto(url)
    page.get_by_role("link", name="Steady").wait_for()
    page.locator("#live[data-state=live]").wait_for()
    other = Steady(url_of(steady), "second", name="Another one")
    other.start()
    other.close()
    page.get_by_role("link", name="Another one").wait_for()


def test_polling_where_no_socket_opens(
    page: Any, faults: Any, steady: Steady, open_dashboard: Callable[..., str]
) -> None:
    """As behind a proxy that knows no WebSocket."""
    page.add_init_script("window.WebSocket = function () { throw new Error('no sockets here'); }")
    url = open_dashboard(url_of(steady))
    page.goto(f"{url}/runs/steady")
    page.locator("#live[data-state=polling]").wait_for()
    steady.add(4)
    page.locator("#run-head").get_by_text("4 running").wait_for()


def test_a_run_that_is_not_there_yet_comes_by_itself(
    page: Any, steady: Steady, open_dashboard: Callable[..., str]
) -> None:
    url = open_dashboard(url_of(steady))
    page.goto(f"{url}/runs/second/tasks?state=running")
    page.get_by_text("Nothing of a run second has arrived yet").wait_for()
    page.locator("#live[data-state=live]").wait_for()
    page.evaluate("window.notReloaded = true")
    other = Steady(url_of(steady), "second", name="Another one")
    other.start()
    numbers = other.add(3)
    page.locator("#run-head").get_by_text("Another one").wait_for(timeout=60_000)
    page.get_by_text("1–3 of 3 tasks").wait_for(timeout=60_000)
    other.move(numbers, "exec_done")
    page.get_by_text("There are no tasks that match these filters").first.wait_for(timeout=60_000)
    assert page.evaluate("window.notReloaded")
    other.close()
