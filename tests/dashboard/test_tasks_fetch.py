"""What the table of tasks asks the store for: spans of time as people type them, totals, places from the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from heliograph_dashboard.components.table import REGISTRY, Asked, Column, Rows, Table
from heliograph_dashboard.pages import tasks
from heliograph_dashboard.spans import LONGEST, span
from heliograph_store.read.runs import Run, find_run
from heliograph_store.store import Store, connect
from tests.dashboard.made import SECOND, Made, started, task

MINUTE = 60 * SECOND


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("90", 90 * SECOND),
        ("1.5 s", 1_500_000),
        ("1,5s", 1_500_000),
        ("250ms", 250_000),
        (" 2h 30min ", 150 * MINUTE),
        ("1D", 1440 * MINUTE),
        ("999999999999d", LONGEST),
    ],
)
def test_durations_as_people_type_them(text: str, micros: int) -> None:
    assert span(text) == micros


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-3s", "1.2.3", "s", "1s!"])
def test_what_is_no_duration(text: str) -> None:
    assert span(text) is None


class Straight:
    """Reads without a cache."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def read(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self.store, *args, **kwargs)

    def read_seldom(self, _seconds: float, function: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self.store, *args, **kwargs)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Run]]:
    made = Made(tmp_path_factory.mktemp("tasks"))
    records = [record for number in range(7) for record in task(number, app="a" if number % 2 else "b")]
    made.write("run", [*started(), *records, *task(7, app="a", until="failed"), *task(8, app="a", until="launched")])
    made.close()
    store = connect(f"sqlite:///{made.database}", read_only=True)
    found = find_run(store, "run")
    assert found is not None
    yield Straight(store), found
    store.close()


def asked(limit: int = 3, **known: Any) -> Asked:
    return Asked(limit=limit, **known)


@pytest.mark.parametrize(("sort", "descending"), [("task", False), ("task", True), ("took", True), ("began", False)])
def test_pages_follow_each_other_through_the_browser(run: tuple[Any, Run], sort: str, descending: bool) -> None:
    data, of = run
    seen: list[int] = []
    after: Any = None
    while True:
        page = tasks.fetch(data, of, asked(sort=sort, descending=descending, after=after))
        seen += [row["key"] for row in page.rows]
        assert page.total == 9
        if page.next is None:
            break
        after = tuple(page.next)  # as JSON brings it back
    assert sorted(seen) == list(range(9))
    if sort != "task":
        assert seen[-1] == 8, "a task that has not begun stands last"


def test_the_total_is_known_for_what_is_counted_and_only_for_that(run: tuple[Any, Run]) -> None:
    data, of = run

    def total(**filters: str) -> int | None:
        return tasks.fetch(data, of, asked(filters=filters)).total

    assert total(app="a") == 5
    assert total(app="a", state="failed") == 1
    assert total(state="launched", executor="htex") == 1
    assert total(app="nothing") == 0
    assert total(app="a", min="1s") is None


def test_a_span_that_cannot_be_read_matches_nothing(run: tuple[Any, Run]) -> None:
    data, of = run
    assert len(tasks.fetch(data, of, asked(filters={"min": "3s", "max": "3s"}, limit=50)).rows) == 8
    assert tasks.fetch(data, of, asked(filters={"min": "4s"}, limit=50)).rows == []
    assert tasks.fetch(data, of, asked(filters={"min": "long"}, limit=50)).rows == []


@pytest.mark.parametrize("filters", [{"state": "no-such-state"}, {"host": "nowhere"}, {"text": "nothing has this"}])
def test_what_no_task_has_matches_nothing(run: tuple[Any, Run], filters: dict[str, str]) -> None:
    data, of = run
    assert tasks.fetch(data, of, asked(filters=filters)).rows == []


@pytest.mark.parametrize("after", ["x", ["a", 1], (1,), ("1", 2), {"a": 1}, (None, "x"), 1.5])
def test_a_place_that_is_none_is_the_first_page(run: tuple[Any, Run], after: Any) -> None:
    data, of = run
    assert [row["key"] for row in tasks.fetch(data, of, asked(after=after)).rows] == [0, 1, 2]


def test_a_number_that_was_typed_comes_first(run: tuple[Any, Run]) -> None:
    data, of = run
    rows = tasks.fetch(data, of, asked(filters={"text": "5"}, sort="took", descending=True, limit=50)).rows
    assert rows[0]["task"] == 5
    assert [row["task"] for row in rows].count(5) == 1
    assert not tasks.fetch(data, of, asked(filters={"text": "5", "app": "b"}, limit=50)).rows
    assert not tasks.fetch(data, of, asked(filters={"text": "99999"}, limit=50)).rows


def test_a_search_that_stops_before_the_page_is_full_says_so_and_goes_on() -> None:
    def fetch(_data: Any, _run: Any, asked: Asked) -> Rows:
        if asked.after is None:
            return Rows(rows=[], next=[None, 7, 100], so_far="Looked through about 100 of 200 tasks")
        return Rows(rows=[{"id": 1}], so_far="")

    table = Table(name="search-test", columns=(Column(field="id", title="Id"),), fetch=fetch, key="id", noun="tasks")
    state = {"filters": {"text": "x"}, "sort": "", "limit": 50, "back": [], "after": None}
    first: Any = table._rows(None, None, state)  # type: ignore[arg-type]
    assert first["next"] == [None, 7, 100]
    assert first["status"] == "Nothing found yet. Looked through about 100 of 200 tasks; Next looks on."
    last: Any = table._rows(None, None, {**state, "after": [None, 7, 100]})  # type: ignore[arg-type]
    assert "Next" not in last["status"]
    del REGISTRY[table.name]
