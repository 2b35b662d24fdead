"""The benchmark of pages: every case of it is answered on a small run, and it says when something has no case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks.bench_pages import Measured, Turns, ask, measure, misses
from tests.benchmarks.bench_read import Subject, subject
from tests.benchmarks.bigrun import make
from tests.benchmarks.page_cases import Case, Served, all_cases
from tests.benchmarks.page_client import Answer, Callback, Client


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Subject]]:
    url = f"sqlite:///{tmp_path_factory.mktemp('pages') / 'small.db'}"
    make(url, 200, samples=2, small_runs=4)
    client, found = Client(url), subject(url)
    yield client, found
    client.close()
    found.store.close()


def test_every_case_is_answered(small: tuple[Client, Subject]) -> None:
    client, s = small
    cases = all_cases(client, s)
    assert len(cases) > 300
    wrong = []
    # The table of tasks has more than half of them, which differ in filter and order only.
    rare = [case for case in cases if not case.name.startswith("table tasks, ")]
    for case in rare + [case for case in cases if case not in rare][::12]:
        s.random.seed(case.name)
        try:
            ask(client, s, case)
        except (KeyError, RuntimeError) as error:
            wrong.append(f"{case.name}: {error!r}")
    assert not wrong, "\n".join(wrong)


def test_a_callback_without_a_case_is_named(small: tuple[Client, Subject]) -> None:
    client, s = small
    more = Callback(name="moon.phase", output="moon.phase", inputs=("moon.light",), state=())
    client.callbacks[more.name] = more
    try:
        with pytest.raises(LookupError, match=r"moon\.phase"):
            all_cases(client, s)
    finally:
        del client.callbacks[more.name]


class Slow(Client):
    """Answers at once, but for the first of so many times."""

    def __init__(self, times: int) -> None:
        self.slow, self.asked = times, 0

    def forget(self) -> None:
        pass

    def visit(self, pathname: str, search: str = "") -> tuple[dict[str, object], Answer]:
        self.asked += 1
        wall = 0.5 if self.asked <= self.slow else 0.01
        return {}, Answer(status=200, wall=wall, cpu=0.01, sent=1, size=1, encoding="plain")


@pytest.mark.parametrize(
    ("slow", "asked", "missed"), [(0, 3, False), (2, 63, False), (20, 63, True)], ids=["quick", "disturbed", "slow"]
)
def test_what_misses_an_aim_is_asked_again(small: tuple[Client, Subject], slow: int, asked: int, missed: bool) -> None:
    client, case = Slow(slow), Case(name="tasks", page="tasks", served="index")
    (found,) = measure([client], [small[1]], [case], Turns(first=2, again=60), long=False)["tasks"]
    assert client.asked == asked
    assert bool(misses(case, [found], long=False)) is missed


def took(*seconds: float) -> list[Measured]:
    return [Measured(wall=(s, s), cpu=(s, s), sent=1000, size=1000, encoding="gzip") for s in seconds]


@pytest.mark.parametrize(
    ("served", "long", "seconds", "missed"),
    [
        ("index", False, (0.02, 0.025), []),
        ("index", False, (0.02, 0.04), ["ratio 2.00"]),
        ("index", True, (0.02, 0.04, 0.04), ["ratio 2.00"]),
        ("rollup", True, (0.02, 0.04, 0.04), []),
        ("passing", False, (0.02, 0.2), []),
        ("passing", False, (0.02, 0.35), ["p95 350 ms (350 CPU)"]),
        ("nothing", False, (0.001, 0.009), []),
    ],
    ids=["steady", "steep", "steep-by-tasks", "as-long", "passing", "passing-slow", "trifle"],
)
def test_what_misses_the_aim(served: Served, long: bool, seconds: tuple[float, ...], missed: list[str]) -> None:
    case = Case(name="a case", page="tasks", served=served)
    assert misses(case, took(*seconds), long) == missed
