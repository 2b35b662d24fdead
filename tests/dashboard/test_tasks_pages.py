"""A run's summary, its apps and its tasks in a real browser: from the whole to one task, with filters in the URL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from heliograph_dashboard.components.text import cut, plain
from heliograph_dashboard.pages.task_output import files_in
from tests.dashboard.conftest import Recorded, until, wait_for
from tests.dashboard.made import SECOND, START, Made, ended, started, task

HOSTILE_APP = "<img src=x onerror=alert(1)>"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    database = Made(tmp_path)
    yield database
    database.close()


def numbers(page: Any, name: str) -> dict[str, str]:
    """The large numbers of a page by what they are."""
    shown = page.locator(f"#{name}-numbers")
    shown.locator(".hg-number").first.wait_for()
    labels, values = (shown.locator(f".hg-number-{part}").all_inner_texts() for part in ("label", "value"))
    return dict(zip(labels, values, strict=True))


def column(page: Any, table: str, field: str) -> list[str]:
    """A column's cells from top to bottom."""
    page.locator(f"#{table}-grid .ag-row").first.wait_for()
    rows = page.locator(f"#{table}-grid .ag-row")
    cells = [(int(row.get_attribute("row-index")), row.locator(f"[col-id={field}]").inner_text()) for row in rows.all()]
    return [text.strip() for _, text in sorted(cells)]


def query(page: Any) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(page.url).query).items()}


def wait_for_query(page: Any, **wanted: str) -> None:
    until(
        page,
        "wanted => Object.entries(wanted).every(([k, v]) => new URLSearchParams(location.search).get(k) === v)",
        arg=wanted,
    )


def drawn(page: Any, figure: str) -> Any:
    """A figure's traces and layout, as soon as it has some."""
    until(page, "id => document.querySelector(`#${id} .js-plotly-plot`)?.data?.length > 0", arg=figure)
    return page.evaluate(
        """id => { const {data, layout} = document.querySelector(`#${id} .js-plotly-plot`);
                   return {data: data.map(t => ({name: t.name, y: Array.from(t.y), x: Array.from(t.x)})),
                           colour: layout.template.layout.font.color}; }""",
        figure,
    )


def test_from_the_summary_to_an_app_to_its_slowest_task(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}")
    shown = numbers(page, "summary")
    assert (shown["Tasks"], shown["Done"], shown["Memoized"], shown["Joins"]) == ("32", "26", "1", "1")
    assert (shown["Failed"], shown["Retries"]) == ("4", "5")
    assert set(column(page, "apps", "app")) >= {"prepare", "simulate", HOSTILE_APP}
    assert "memoized" in [trace["name"] for trace in drawn(page, "summary-states")["data"]]

    page.locator("#apps-grid").get_by_role("link", name="simulate").click()
    page.wait_for_url("**/apps/simulate")
    assert numbers(page, "app")["Tasks"] == "6"
    assert sum(drawn(page, "app-run_time")["data"][0]["y"]) == 6
    page.locator("section", has=page.get_by_role("heading", name="Slowest")).locator("td a").first.click()

    page.wait_for_url("**/tasks/*")
    page.get_by_role("heading", name="Task ").wait_for()
    wait_for(lambda: page.title().startswith("Task "))
    assert page.title().split(" · ")[0] == page.locator("h2", has_text="Task ").inner_text()
    names = [trace["name"] for trace in drawn(page, "task-phases")["data"]]
    assert "running" in names
    assert page.locator("#task-tries table").first.locator("tbody tr").count() == 1
    assert any(value > 0 for value in drawn(page, "task-cpu")["data"][0]["y"] if value is not None)
    assert "Waits for" in page.locator("main").inner_text()


def test_a_task_is_reached_by_keys_alone(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks")
    assert column(page, "tasks", "task")[0] == "0"
    page.locator("#tasks-parquet").focus()
    for key, focused in (("Tab", "columnheader"), ("ArrowDown", "gridcell"), ("ArrowDown", "gridcell")):
        page.keyboard.press(key)
        until(page, "role => document.activeElement.getAttribute('role') === role", focused)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/tasks/1$"))


def test_filters_orders_and_pages_stand_in_the_url(page: Any, dashboard: str, recorded: Recorded) -> None:
    tasks = f"{dashboard}/runs/{recorded.run}/tasks"
    page.goto(tasks)
    assert column(page, "tasks", "task")[:3] == ["0", "1", "2"]
    assert page.locator("#tasks-status").inner_text() == "1–32 of 32 tasks"

    page.locator("#tasks-filter-state").click()
    page.get_by_role("option", name="failed", exact=True).click()
    wait_for_query(page, state="failed")
    page.get_by_text("1–4 of 4 tasks").wait_for()
    assert set(column(page, "tasks", "state")) == {"failed"}

    page.locator("#tasks-grid .ag-header-cell[col-id=task]").click()
    wait_for_query(page, state="failed", sort="-task")
    until(page, "document.querySelector('#tasks-grid [row-index=\"0\"] [col-id=task]')?.innerText === '26'")
    shared = page.url

    page.goto(shared)  # as a colleague who was sent the link
    assert column(page, "tasks", "task") == ["26", "21", "20", "19"]
    export = page.locator("#tasks-csv").get_attribute("href")
    assert parse_qs(urlsplit(export).query)["state"] == ["failed"]


def test_pages_of_tasks_go_forth_and_back(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks?rows=25")
    assert column(page, "tasks", "task")[0] == "0"
    page.get_by_role("button", name="Next").click()
    page.get_by_text("26–32 of 32 tasks").wait_for()
    assert column(page, "tasks", "task") == [str(number) for number in range(25, 32)]
    page.get_by_role("button", name="Back").click()
    page.get_by_text("1–25 of 32 tasks").wait_for()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("app=simulate&min=0.1s", 6),
        ("min=whatever", 0),
        ("executor=threads", 1),
    ],
)
def test_a_url_asks_for_what_it_says(page: Any, dashboard: str, recorded: Recorded, asked: str, found: int) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks?{asked}")
    page.locator("#tasks-status").wait_for()
    told = page.locator("#tasks-status").inner_text()
    assert told == f"1–{found} of {found} tasks" if found else told.startswith("There are no tasks")


def test_what_makes_no_sense_in_a_url_is_the_first_page(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks?after=%5B%22x%22%2C1%5D&sort=nonsense&rows=7")
    assert column(page, "tasks", "task")[:2] == ["0", "1"]


def test_a_failure_is_shown_whole_and_as_text(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks/20")
    page.get_by_role("heading", name="How try 1 failed").wait_for()
    traceback = page.locator("#task-traceback-1").inner_text()
    assert traceback.startswith("Traceback (most recent call last):")
    assert "<script>document.title='broken'</script> 'quoted' \"twice\" 🔥" in traceback
    assert page.title() != "broken"
    page.locator("#task-tries").get_by_role("link", name="0", exact=True).click()
    page.get_by_role("heading", name="How try 0 failed").wait_for()
    assert query(page) == {"try": "0"}


def test_every_state_of_every_try_has_its_time(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks/20")
    page.get_by_text("Every state and its time").click()
    rows = page.locator(".hg-more tbody tr")
    rows.first.wait_for()
    shown = [row.locator("td").all_inner_texts()[:2] for row in rows.all()]
    assert [state for number, state in shown if number == "0"][-1] == "failed, will retry"
    assert shown[-1] == ["1", "failed"]
    assert rows.locator("time[title$=UTC]").count() == len(shown)


def test_a_task_that_never_ran_has_no_empty_plots(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks/22")
    page.locator(".hg-badge", has_text="dependency failed").first.wait_for()
    page.locator("#task-used-note").get_by_text("No samples").wait_for()
    page.locator("#task-used").wait_for(state="hidden")


def test_files_among_inputs_are_named() -> None:
    one = "<File at 0x7fd921503d50 url=/data/a b.txt scheme=file netloc= path=/data/a b.txt filename=a b.txt>"
    future = "<parsl.app.futures.DataFuture object at 0x7f1 representing <File at 0x7f2 url=/c.txt scheme=file> done>"
    assert files_in(f"[{one}, {future}, {one}, 'url=/no scheme=']") == ["/data/a b.txt", "/c.txt"]
    assert files_in("<File at 0x1 url=" * 2000) == []


def test_the_end_of_an_output_file(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks/25")
    page.locator("#task-tail-stdout").click()
    page.locator("#task-end-stdout").wait_for()
    assert page.locator("#task-end-stdout").inner_text().strip().endswith("archived 0 <b>bold</b>")
    wait_for_query(page, log="stdout")
    page.reload()
    page.locator("#task-end-stdout").wait_for()


def test_figures_follow_the_theme(page: Any, dashboard: str, recorded: Recorded) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/tasks/12")
    light = drawn(page, "task-phases")["colour"]
    page.locator("#theme-toggle").click()
    until(
        page,
        "light => document.querySelector('#task-phases .js-plotly-plot').layout.template.layout.font.color !== light",
        arg=light,
    )


@pytest.mark.parametrize("path", [f"tasks/{'9' * 40}", "apps/nothing"])
def test_what_is_not_there_says_so(page: Any, dashboard: str, recorded: Recorded, path: str) -> None:
    page.goto(f"{dashboard}/runs/{recorded.run}/{path}")
    page.locator(".hg-empty-title").wait_for()
    assert "There is no" in page.locator(".hg-empty-title").inner_text()


EVIL = "<script>alert(1)</script>\"'&amp;{{7*7}}\u202e\x1b[31m\x07\x9b\u2066\N{FIRE}"


def test_a_hostile_run_is_text_everywhere(page: Any, made: Made, open_dashboard: Callable[..., str]) -> None:
    app, megabyte = f"../{EVIL}?#%2F", (EVIL + " ") * 20_000
    failure = {"exc_type": EVIL, "exc_message": megabyte[:200_000], "traceback": megabyte[:400_000], "exc_place": EVIL}
    described = {"inputs": megabyte[:200_000], "outputs": EVIL, "stdout": EVIL, "stderr": "/" + EVIL, "resources": EVIL}
    run = f"a/b?c#d {EVIL}"
    made.write(
        run,
        [
            *started(name=EVIL * 50, version=EVIL, program=EVIL, python=EVIL, tags={EVIL: EVIL}),
            *task(0, app=app, **described),
            *task(1, app=app, depends=[0], until="failed", failure=failure, **described),
            *ended(START + 60 * SECOND),
        ],
    )
    base = open_dashboard(made.database)
    path = f"{base}/runs/{quote(run, safe='')}"
    page.goto(path)
    assert numbers(page, "summary")["Tasks"] == "2"
    assert cut(EVIL, 200) in page.locator("#summary-about").text_content()
    page.locator("#apps-grid [col-id=app] a").first.click()
    page.get_by_role("heading", name="Slowest").wait_for()
    assert numbers(page, "app")["Tasks"] == "2"
    drawn(page, "app-run_time")
    page.get_by_role("link", name="All its tasks").click()
    page.wait_for_url("**/tasks?app=*")
    assert column(page, "tasks", "task") == ["0", "1"]
    page.locator("#tasks-grid [col-id=task] a").nth(1).click()
    page.get_by_role("heading", name="How try 0 failed").wait_for()
    assert page.locator("#task-traceback-0").inner_text().startswith(plain(EVIL))
    shown = page.evaluate("document.body.textContent + document.title + document.documentElement.outerHTML")
    assert re.findall(".{0,90}[\u202e\x1b\x07\x9b\u2066]", shown) == []
    assert page.locator("main script, main img").count() == 0
    drawn(page, "task-phases")


def test_neighbours_come_in_pages(page: Any, made: Made, open_dashboard: Callable[..., str]) -> None:
    records = [record for number in range(130) for record in task(number, until="pending")]
    made.write("run", [*started(), *records, *task(500, until="pending", depends=range(130)), *ended(START + SECOND)])
    page.goto(f"{open_dashboard(made.database)}/runs/run/tasks/500")
    page.get_by_text("1–60 of 130").wait_for()
    chips = page.locator("#task-beside-depends_on .hg-chip")
    assert chips.count() == 60
    page.locator("#task-more-depends_on").click()
    page.get_by_text("61–120 of 130").wait_for()
    page.locator("#task-more-depends_on").click()
    page.get_by_text("121–130 of 130").wait_for()
    assert chips.all_inner_texts() == [f"{number} work" for number in range(120, 130)]
    page.get_by_role("button", name="Back to the first").click()
    page.get_by_text("1–60 of 130").wait_for()
    chips.first.click()
    page.get_by_role("heading", name="Task 0").wait_for()
    assert re.search(r"Needed by\s+1", page.locator("main").inner_text())


def test_a_task_advances_without_a_reload(page: Any, made: Made, open_dashboard: Callable[..., str]) -> None:
    made.write("run", [*started(), *task(0, until="launched"), *task(1, until="launched")])
    page.goto(f"{open_dashboard(made.database)}/runs/run/tasks/0")
    page.locator("#task-head").get_by_text("launched").wait_for()
    page.evaluate("window.stays = true")
    made.write("run", task(0))
    page.locator("#task-head").get_by_text("done", exact=True).wait_for()
    assert page.locator("#task-tries").get_by_text("100 MB").count() == 1
    until(page, "document.querySelector('#task-memory .js-plotly-plot')?.data?.length > 0")
    assert page.evaluate("window.stays")
