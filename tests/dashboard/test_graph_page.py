"""The graph in a real browser: it names what is under the pointer, leads on, and leaves the view to its user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heliograph.messages import TaskDescribed
from tests.dashboard.conftest import Faults, Recorded
from tests.dashboard.conftest import wait_for as until
from tests.dashboard.steady import Steady, now

MANY = 400
PLACE = """number => {
  const plot = document.querySelector('#graph-figure .js-plotly-plot'), axes = plot && plot._fullLayout;
  if (!axes || !axes.xaxis || !axes.xaxis.l2p) return null;
  for (const trace of plot._fullData) {
    for (let i = 0; i < (trace.customdata || []).length; i++) {
      if (trace.customdata[i][2] !== number) continue;
      const box = plot.getBoundingClientRect();
      return [box.left + axes.xaxis._offset + axes.xaxis.l2p(trace.x[i]),
              box.top + axes.yaxis._offset + axes.yaxis.l2p(trace.y[i])];
    }
  }
  return null;
}"""
"""Where plotly drew a task, in the window."""


def test_the_hover_names_app_and_task_and_a_click_opens_it(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/graph")
    until(lambda: page.evaluate(PLACE, 0))
    x, y = page.evaluate(PLACE, 0)
    page.mouse.move(x, y)
    hover = page.locator("#graph-figure .hovertext")
    hover.wait_for()
    assert "prepare" in hover.text_content()
    assert "task 0" in hover.text_content()
    page.mouse.click(x, y)
    page.wait_for_url(re.compile(f"/runs/{recorded.run}/tasks/0$"))


def test_colour_and_view_stand_in_the_url_and_names_are_text(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/graph")
    page.locator("#graph-colour").get_by_text("state").click()
    page.wait_for_url(re.compile("colour=state"))
    page.locator("#graph-figure .legend").get_by_text("dependency failed").wait_for()
    page.locator("#graph-view").get_by_text("By app").click()
    page.wait_for_url(re.compile("view=apps.*colour=state"))
    page.locator("#graph-figure .annotation-text").get_by_text("<img src=x").first.wait_for()
    page.reload()
    page.locator("#graph-figure .annotation-text").get_by_text("prepare").wait_for()


def test_around_a_task_is_what_it_waits_for_and_what_waits_for_it(
    page: Any, dashboard: str, recorded: Recorded
) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/graph?task=0&depth=1")
    note = page.locator("#graph-note")
    note.get_by_text("1 step before and after task 0: 2 tasks").wait_for()
    page.locator("#graph-depth").fill("5")
    page.wait_for_url(re.compile("depth=5"))
    note.get_by_text("5 steps before and after task 0").wait_for()
    page.locator("#graph-task").fill("99999")
    note.get_by_text("This run has no task 99999").wait_for()


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Steady]:
    """A run of more tasks than plotly draws: pairs, the second waiting for the first."""
    steady = Steady(f"sqlite:///{tmp_path / 'large.db'}")
    steady.start()
    steady.add(MANY)
    steady.write([
        TaskDescribed(at=now(), origin="parsl", number=n, app="app_1", depends=[n - 1]) for n in range(1, MANY, 2)
    ])  # fmt: skip
    yield steady
    steady.close()


def test_a_large_graph_is_drawn_names_its_tasks_and_keeps_the_view(
    page: Any, large: Steady, open_dashboard: Callable[..., str], faults: Faults
) -> None:
    faults.allow("GPU stall")  # Chromium without a graphics card remarks on being looked at
    url = open_dashboard(f"sqlite:///{large.store.path}")
    page.goto(f"{url}/runs/steady/graph")
    page.locator("#graph-note").get_by_text(f"2 apps, {MANY} tasks").wait_for()  # by app, because it is large
    page.locator("#graph-view").get_by_text("Every task").click()
    canvas = page.locator(f"#graph-canvas canvas[data-tasks='{MANY}']")
    canvas.wait_for()
    box = canvas.bounding_box()

    def where(task: int = 7) -> list[float]:
        at: list[float] = page.evaluate("task => dash_clientside.graphCanvas.where(task)", task)
        return at

    page.mouse.move(box["x"] + where()[0], box["y"] + where()[1])
    before = where(11)
    page.mouse.wheel(0, -300)
    until(lambda: where(11) != before)
    closer = where()
    page.mouse.move(box["x"] + closer[0] + 1, box["y"] + closer[1])
    tip = page.locator(".hg-graph-tip")
    tip.get_by_text("task 7", exact=True).wait_for()
    assert "app_1" in tip.text_content()

    page.locator("#live[data-state=live]").wait_for()
    large.move(range(MANY), "exec_done")
    large.end()
    page.locator("#run-head").get_by_text("400 done").wait_for()
    assert where() == pytest.approx(closer), "new data moved the view"
    until(lambda: "done" in _named(page, box, closer, tip))
    page.mouse.click(box["x"] + closer[0], box["y"] + closer[1])
    page.wait_for_url(re.compile("/runs/steady/tasks/7$"))


def _named(page: Any, box: Any, at: list[float], tip: Any) -> str:
    """What the tip says when the pointer comes to a place anew."""
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.move(box["x"] + at[0], box["y"] + at[1])
    return tip.text_content() or ""
