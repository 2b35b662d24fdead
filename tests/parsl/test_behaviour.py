"""Results, exceptions and side effects of tasks are those of an unmonitored run, on both routes and both executors."""

from __future__ import annotations

import pytest

from tests.parsl.conftest import Run


def test_every_outcome_is_as_without_monitoring(unmonitored: Run, fast: Run) -> None:
    assert fast.outcomes == unmonitored.outcomes


def test_every_outcome_on_the_official_route(unmonitored: Run, official: Run) -> None:
    assert official.outcomes == unmonitored.outcomes


@pytest.mark.parametrize("label", ["htex", "threads"])
def test_the_workload_does_what_it_says(unmonitored: Run, label: str) -> None:
    """The comparison above is worth something only if these happened at all."""
    outcomes = {name.partition(".")[2]: o for name, o in unmonitored.outcomes.items() if name.startswith(label)}
    assert outcomes["double"].value == 42
    assert outcomes["fail"].error == "ValueError"
    assert outcomes["fail"].frames[-2:] == ("fail", "inner")
    assert outcomes["depends"].error == "DependencyError"
    assert outcomes["flaky"].value == "second"
    assert outcomes["slow"].error == "AppTimeout"
    assert outcomes["sleeps"].error == "AppTimeout"
    assert outcomes["exits"].error == "BashExitFailure"
    assert len(outcomes["large"].value) == 3_000_000
    assert outcomes["out.txt"].value == "hello\n"
    assert "problem" in outcomes["err.txt"].value
    assert unmonitored.outcomes["htex.lost"].error == "WorkerLost"
    assert unmonitored.outcomes["join.many"].value == [2, 3, 4]
    assert unmonitored.outcomes["join.fails"].error == "JoinError"
