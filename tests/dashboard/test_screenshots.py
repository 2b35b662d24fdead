"""Every page on a run of some size, in light and dark, without a fault; and a picture of each.

`make screenshots` keeps the pictures for the documentation (HELIOGRAPH_SCREENSHOTS names the folder).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.bigrun import make
from tests.dashboard.conftest import viewing, wait_for

RUN = "big-1000"
PAGES = {
    "workflows": "/",
    "summary": f"/runs/{RUN}",
    "app": f"/runs/{RUN}/apps/simulate",
    "tasks": f"/runs/{RUN}/tasks?sort=took&descending=1",
    "task": f"/runs/{RUN}/tasks/TASK",
    "graph": f"/runs/{RUN}/graph",
    "timeline": f"/runs/{RUN}/timeline",
    "resources": f"/runs/{RUN}/resources",
    "failures": f"/runs/{RUN}/failures",
    "nodes": f"/runs/{RUN}/nodes",
    "blocks": f"/runs/{RUN}/blocks",
    "files": f"/runs/{RUN}/files",
}


KEPT = {*PAGES, "graph-dark", "tasks-dark"}
"""The pictures that the documentation shows."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("made") / "run.db"
    make(f"sqlite:///{database}", 1000, samples=10, small_runs=8)
    return database


@pytest.fixture(scope="module")
def site(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with viewing(made, log=tmp_path_factory.mktemp("site") / "view.log") as url:
        yield url


@pytest.fixture(scope="module")
def failed_task(made: Path) -> int:
    with closing(sqlite3.connect(made)) as database:
        (task,) = database.execute(
            "SELECT MIN(task) FROM failures JOIN runs ON runs.id = failures.run WHERE runs.run = ?", (RUN,)
        ).fetchone()
    return int(task)


@pytest.fixture
def path_of(tmp_path: Path) -> Callable[[str], Path]:
    """Where a picture goes: those for the documentation into the folder that is named, if one is."""
    folder = Path(os.environ.get("HELIOGRAPH_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: (folder if name in KEPT else tmp_path) / f"{name}.png"


@pytest.mark.parametrize("name", PAGES)
def test_every_page_can_be_looked_at(
    page: Any, site: str, failed_task: int, path_of: Callable[[str], Path], name: str
) -> None:
    page.goto(site + PAGES[name].replace("TASK", str(failed_task)))
    settled(page)
    light = page.screenshot(path=path_of(name))
    page.locator("#theme-toggle").click()
    page.locator("html[data-theme=dark]").wait_for(state="attached")
    settled(page)
    assert page.screenshot(path=path_of(f"{name}-dark")) != light


def settled(page: Any) -> None:
    """Nothing is being fetched any more, and what is drawn stands still."""
    page.wait_for_load_state("load")
    wait_for(lambda: page.title() != "Updating..." and not page.locator("[data-dash-is-loading=true]").count())
    page.wait_for_timeout(1500)
