"""The timeline in a real browser: it names tries, leads to their tasks, and its window is the user's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from heliograph.messages import TaskEnded, TaskRunning
from tests.dashboard.conftest import Recorded
from tests.dashboard.conftest import wait_for as until
from tests.dashboard.steady import Steady, now

BAR = """task => {
  const plot = document.querySelector('#timeline-figure .js-plotly-plot'), axes = plot && plot._fullLayout;
  if (!axes || !axes.xaxis || !axes.xaxis.d2p) return null;
  for (const trace of plot._fullData) {
    for (let i = 0; i < (trace.customdata || []).length; i++) {
      if (trace.type !== 'bar' || trace.customdata[i] !== task) continue;
      const box = plot.getBoundingClientRect();
      return [box.left + axes.xaxis._offset + axes.xaxis.c2p(axes.xaxis.d2c(trace.base[i]) + trace.x[i] / 2),
              box.top + axes.yaxis._offset + axes.yaxis.l2p(trace.y[i])];
    }
  }
  return null;
}"""
"""The middle of a task's bar, in the window."""
DRAWN = "document.querySelector('#timeline-figure .js-plotly-plot')?._fullLayout?.xaxis?.type === 'date'"
RANGE = "document.querySelector('#timeline-figure .js-plotly-plot')._fullLayout.xaxis.range.map(String)"


def window_of(url: str) -> tuple[datetime, datetime]:
    query = parse_qs(urlsplit(url).query)
    return datetime.fromisoformat(query["from"][0]), datetime.fromisoformat(query["to"][0])


def drawn(page: Any) -> None:
    until(lambda: page.evaluate(DRAWN))


def test_a_bar_names_its_task_and_opens_it(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/timeline")
    until(lambda: page.evaluate(BAR, "12"))
    note = page.locator("#timeline-note").text_content()
    assert re.match(r"\d+ tries on \d+ workers", note)
    x, y = page.evaluate(BAR, "12")  # simulate, 0.4 s: wide enough to be hit
    page.mouse.move(x, y)
    hover = page.locator("#timeline-figure .hovertext")
    hover.wait_for()
    assert "simulate" in hover.text_content()
    assert "task 12" in hover.text_content()
    page.locator("#timeline-figure .legend").get_by_text("<img src=x").wait_for()
    page.mouse.click(x, y)
    page.wait_for_url(re.compile(f"/runs/{recorded.run}/tasks/12$"))


def test_the_window_stands_in_the_url_and_can_be_sent(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/timeline")
    drawn(page)
    whole = page.evaluate(RANGE)
    page.locator("#timeline-closer").click()
    page.wait_for_url(re.compile(r"from=.*&to="))
    until(lambda: page.evaluate(RANGE) != whole)
    until(lambda: page.locator("#timeline-span input[value=frozen]").is_checked())
    closer, url = page.evaluate(RANGE), page.url
    page.goto(url)
    drawn(page)
    assert page.evaluate(RANGE) == closer
    box = page.locator("#timeline-figure .nsewdrag").first.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 100, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, middle, steps=4)
    page.mouse.up()
    until(lambda: page.evaluate(RANGE) != closer)
    page.wait_for_url(lambda now: now != url)
    # The part that was dragged over, in UTC: no zone of the browser has moved it.
    (begin, end), (left, right) = window_of(url), window_of(page.url)
    width = (end - begin).total_seconds()
    assert (left - begin).total_seconds() == pytest.approx(width * 100 / box["width"], abs=width / 50)
    assert (right - begin).total_seconds() == pytest.approx(width * 400 / box["width"], abs=width / 50)
    page.locator("#timeline-span").get_by_text("Whole run").click()
    page.wait_for_url(lambda now: "from=" not in now)
    until(lambda: page.evaluate(RANGE) == whole)


def test_the_axis_shows_the_readers_clock(page: Any, dashboard: str, recorded: Recorded) -> None:
    """The browser of these tests is in New York."""
    page.goto(f"{dashboard}/runs/{recorded.run}/timeline?from=2026-11-20T12:00:00Z&to=2026-11-20T13:00:00Z")
    drawn(page)
    begin, end = (datetime.fromisoformat(at) for at in page.evaluate(RANGE))
    assert (begin, end - begin) == (datetime(2026, 11, 20, 7, 0), timedelta(hours=1))  # noqa: DTZ001
    page.locator("#timeline-figure").get_by_text("time (UTC-05:00)").wait_for()


@pytest.fixture
def steady(tmp_path: Path) -> Iterator[Steady]:
    steady = Steady(f"sqlite:///{tmp_path / 'steady.db'}")
    steady.start()
    yield steady
    steady.close()


def run(steady: Steady, number: int) -> None:
    steady.write([
        TaskRunning(at=now(), origin="parsl", number=number, try_=0, host="n1", pid=number, worker=str(number))
    ])  # fmt: skip


def test_a_live_timeline_follows_and_a_frozen_one_stays(
    page: Any, steady: Steady, open_dashboard: Callable[..., str]
) -> None:
    steady.add(3, states=("pending", "launched"))
    run(steady, 0)
    url = open_dashboard(f"sqlite:///{steady.store.path}")
    page.goto(f"{url}/runs/steady/timeline?last=60")
    note = page.locator("#timeline-note")
    note.get_by_text("1 try on 1 worker").wait_for()
    page.locator("#live[data-state=live]").wait_for()
    drawn(page)
    begun = page.evaluate(RANGE)
    run(steady, 1)
    note.get_by_text("2 tries on 2 workers").wait_for()
    until(lambda: page.evaluate(RANGE) != begun)

    page.locator("#timeline-span").get_by_text("Frozen").click()
    page.wait_for_url(re.compile("from="))
    frozen = page.evaluate(RANGE)
    steady.write([TaskEnded(at=now(), origin="parsl", number=0, try_=0, host="n1", pid=0, ok=False, elapsed=9)])
    page.locator("#timeline-figure .legend").get_by_text("failed").wait_for()
    assert page.evaluate(RANGE) == frozen
