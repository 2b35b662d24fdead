"""The parts of the frame by themselves: paths, times, shared reads and answers, versions, the banner's words."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_dashboard.answers import Answer, Answers, answer_of
from heliograph_dashboard.app import collect_seldom
from heliograph_dashboard.components import banner
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.components.times import duration, local, size, utc
from heliograph_dashboard.config import DashboardConfig
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.colours import PALETTE, app_colours, group_of
from heliograph_dashboard.live import Versions
from heliograph_dashboard.pages import PAGES
from heliograph_dashboard.pipeline import Flow, Pipeline
from heliograph_dashboard.urls import Urls, prefix, query_of, search
from heliograph_store.errors import StoreUnavailable
from heliograph_store.read.pipeline import Losses
from heliograph_store.read.runs import find_run, list_runs
from heliograph_store.store import Store
from tests.apart import apart
from tests.dashboard.steady import Steady

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)


@given(run=TEXT.filter(lambda text: text not in {".", ".."}), task=st.integers(0, 10**12))
def test_links_lead_back_to_what_they_were_made_of(run: str, task: int) -> None:
    urls = Urls(PAGES)
    for under in ("/", "/node/n1/8080/"):
        token = prefix.set(under)
        try:
            link = urls.link("summary", run=run)
            place = urls.find(link)
        finally:
            prefix.reset(token)
        assert link.startswith(under)
        assert place is not None
        assert (place.page.name, place.params["run"]) == ("summary", run)
    assert task >= 0


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_queries_survive_the_url(query: dict[str, str]) -> None:
    assert query_of(search(query)) == query


def test_a_path_that_leads_nowhere() -> None:
    assert Urls(PAGES).find("/nothing/here") is None
    assert Urls(PAGES).find("") is not None


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(0, "0 ms"), (8_400, "8.4 ms"), (1_240_000, "1.24 s"), (59_960_000, "1 min"), (125e6, "2 min 5 s"),
     (3_600e6, "1 h"), (90_000e6, "1 d 1 h"), (-5e6, "−5 s"), (None, "–")],
)  # fmt: skip
def test_durations_have_the_units_that_matter(microseconds: float | None, text: str) -> None:
    assert duration(microseconds) == text


def test_times_and_sizes() -> None:
    assert utc(1_700_000_000_123_456) == "2023-11-14 22:13:20.123 UTC"
    assert "after 1970" in utc(10**20)
    assert [t.hour for t in local([1_700_000_000_000_000, 1_690_000_000_000_000], "Europe/Berlin")] == [23, 6]
    assert local([0], "Nowhere/Atlantis")[0].hour == 0
    assert [size(n) for n in (0, 999, 999_600, 1.5e9)] == ["0 B", "999 B", "1 MB", "1.5 GB"]


def test_texts_are_cut_and_have_no_control_characters() -> None:
    assert cut("a\x00b\nc", 10) == "a b c"
    assert cut("x" * 1_000_000, 5) == "xxxx…"
    assert cut_middle("/very/long/path/to/file.txt", 15) == "/very…/file.txt"


def test_colours_of_apps_are_the_same_whatever_the_order_and_mostly_stay() -> None:
    names = [f"app_{n}" for n in range(12)]
    colours = app_colours(names)
    assert app_colours(reversed(names)) == colours
    assert len({colours[name] for name in names}) == len(names)
    more = app_colours([*names, "another"])
    assert sum(more[name] != colours[name] for name in names) <= 3
    assert set(app_colours(f"app {n}" for n in range(100)).values()) <= {*PALETTE, colours[None]}
    assert group_of(None) == "waiting"


class Slow:
    """A read that takes as long as the test wants, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = threading.Event()

    def __call__(self, store: Store, run_id: int) -> list[int]:
        del store
        self.calls += 1
        self.go.wait(10)
        return [run_id]


def fixed(version: list[int]) -> Versions:
    class Fixed(Versions):
        def of(self, run: int | None) -> int:
            return version[0]

    return Fixed(lambda: None, every=1.0)  # type: ignore[arg-type, return-value]


def data_of(version: list[int]) -> Data:
    return Data(lambda: None, fixed(version), DashboardConfig(database_url="sqlite:///x"))  # type: ignore[arg-type, return-value]


def test_many_who_ask_the_same_cost_one_read() -> None:
    version, slow = [1], Slow()
    data = data_of(version)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(data.read, slow, 7) for _ in range(200)]
        slow.go.set()
        assert all(answer.result(10) == [7] for answer in answers)
    assert slow.calls == 1
    data.read(slow, 8)
    version[0] = 2
    data.read(slow, 7)
    assert slow.calls == 3
    assert (data.given, data.asked) == (202, 3)


@pytest.mark.parametrize(("takes", "lasts"), [(0.1, 10), (0.4, 20)], ids=["quick", "slow"])
def test_what_is_read_seldom_takes_a_fiftieth_of_the_time_at_most(takes: float, lasts: float) -> None:
    version, now, asked = [1], [100.0], [0]
    config = DashboardConfig(database_url="sqlite:///x")
    data = Data(lambda: None, fixed(version), config, clock=lambda: now[0])  # type: ignore[arg-type, return-value]

    def search(store: Store, run_id: int) -> int:
        del store, run_id
        asked[0] += 1
        now[0] += takes
        return version[0]

    for version[0], later, answer in ((1, 0.0, 1), (2, lasts - 0.5, 1), (3, lasts + 0.5, 3)):
        now[0] = 100.0 + later
        assert data.read_seldom(10, search, 7) == answer
    assert asked[0] == 2
    version[0] = 4
    assert data.read(search, 7) == 4


def test_the_collector_does_not_go_through_the_rows_of_an_answer() -> None:
    begun, before = [0], gc.get_threshold()

    def count(phase: str, _info: dict[str, int]) -> None:
        begun[0] += phase == "start"

    collect_seldom()
    gc.callbacks.append(count)
    try:
        rows = [[number] for number in range(50_000)]
        assert (len(rows), begun[0]) == (50_000, 0)
        more = [[number] for number in range(100_000)]
        assert more
        assert begun[0] > 0
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*before)
        gc.unfreeze()


def test_a_read_that_failed_is_asked_again() -> None:
    data, calls = data_of([1]), [0]

    def fails_once(store: Store, run_id: int) -> int:
        calls[0] += 1
        if calls[0] == 1:
            raise StoreUnavailable("away")
        return run_id

    with pytest.raises(StoreUnavailable):
        data.read(fails_once, 3)
    assert data.read(fails_once, 3) == 3


def test_answers_are_made_once_and_those_of_an_error_are_not_kept() -> None:
    async def scenario() -> None:
        now, made = [0.0], [0]
        answers = Answers(clock=lambda: now[0])

        async def make(status: int = 200) -> Answer:
            made[0] += 1
            await asyncio.sleep(0.01)
            return answer_of(b"x" * 5000, status)

        found = await asyncio.gather(*(answers.get("a", make) for _ in range(50)))
        assert made[0] == 1
        assert {answer.body for answer in found} == {b"x" * 5000}
        assert found[0].packed is not None
        now[0] += 3
        await answers.get("a", make)
        assert made[0] == 2
        for _ in range(2):
            await answers.get("bad", lambda: make(503))
        assert made[0] == 4

        async def breaks() -> Answer:
            raise RuntimeError("no")

        for _ in range(2):
            with pytest.raises(RuntimeError):
                await answers.get("broken", breaks)

    apart(scenario())


def test_versions_grow_with_changes_and_cost_one_question_a_period(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'steady.db'}"
    one, other = Steady(url, "one"), Steady(url, "other")
    one.start()
    other.start()
    now = [1000.0]
    from heliograph_store.store import connect

    store = connect(url, read_only=True)
    versions = Versions(lambda: store, every=1.0, clock=lambda: now[0])
    ids = [run.id for name in ("one", "other") if (run := find_run(store, name)) is not None]
    first = [versions.of(run) for run in ids]
    for _ in range(500):
        assert [versions.of(run) for run in ids] == first
    assert versions.looks == 1
    one.add(3)
    assert [versions.of(run) for run in ids] == first, "it was asked within this second"
    now[0] += 1
    second = [versions.of(run) for run in ids]
    assert second[0] > first[0]
    assert second[1] == first[1]
    assert versions.of(None) > max(first)
    assert versions.looks == 2
    versions.close()
    store.close()
    one.close()
    other.close()


def test_versions_outlive_a_database_that_is_away(tmp_path: Path) -> None:
    away: list[bool] = [False]
    steady = Steady(f"sqlite:///{tmp_path / 'steady.db'}")
    steady.start()

    def get() -> Store:
        if away[0]:
            raise StoreUnavailable("gone fishing")
        return steady.store

    now = [0.0]
    versions = Versions(get, every=1.0, clock=lambda: now[0])
    (run,) = list_runs(steady.store)
    before = versions.of(run.id)
    away[0] = True
    now[0] += 2
    assert versions.of(run.id) == before
    assert "fishing" in versions.trouble
    away[0] = False
    now[0] += 2
    versions.of(run.id)
    assert versions.trouble == ""
    versions.close()
    steady.close()


def text_of(lines: list[Any]) -> str:
    return " | ".join(str(line.to_plotly_json()) for line in lines)


def test_the_banner_says_what_is_wrong_and_is_silent_otherwise() -> None:
    assert banner.of_flow(Flow(bus="ok")) == []
    assert banner.of_flow(Flow(bus="ok", waiting=3, lag=2_000_000)) == []
    assert "45 s behind: 1,200 batches" in text_of(banner.of_flow(Flow(bus="ok", waiting=1200, lag=45_000_000)))
    assert "broker does not answer" in text_of(banner.of_flow(Flow(bus="away")))
    none = Losses(dropped_samples=0, dropped_states=0, dropped_control=0, torn=0, unclean=2, aside=0)
    assert banner.missing_text(none) == ""
    some = Losses(dropped_samples=1200, dropped_states=1, dropped_control=0, torn=0, unclean=0, aside=2)
    words = "1 record of a task or the run was dropped, 1,200 samples were dropped, 2 records could not be used"
    assert banner.missing_text(some) == words


@pytest.mark.parametrize(
    ("waiting", "bus", "behind"), [(lambda: 0, "ok", False), (lambda: 9, "ok", True), (lambda: None, "away", True)]
)
def test_the_lag_is_how_old_the_newest_is_while_something_waits(
    waiting: Callable[[], int | None], bus: str, behind: bool
) -> None:
    now = [0.0]
    flow = Pipeline(waiting, lambda: 1, clock=lambda: now[0]).flow()
    assert (flow.bus, flow.lag > 0) == (bus, behind)
    assert Pipeline(None, lambda: 1).flow() == Flow()
