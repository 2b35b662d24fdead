"""The benchmark of pages: every case of it is answered on a small run, and it says when something has no case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks.bench_pages import ask
from tests.benchmarks.bench_read import Subject, subject
from tests.benchmarks.bigrun import make
from tests.benchmarks.page_cases import all_cases
from tests.benchmarks.page_client import Callback, Client


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
