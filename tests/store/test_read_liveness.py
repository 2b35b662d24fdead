"""Whether a run is alive, from the signs in its row alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph_store.read.liveness import LEASE, alive_until, liveness

NOW = 1_790_000_000_000_000
SECOND = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Signs:
    ended: int | None = None
    failed: int | None = None
    exit: str | None = None
    first_seen: int | None = NOW - 3600 * SECOND
    last_seen: int | None = NOW - 3600 * SECOND
    lease_until: int | None = None


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        (Signs(ended=NOW), "completed"),
        (Signs(ended=NOW, failed=0, exit="0"), "completed"),
        (Signs(ended=NOW, failed=1), "failed"),
        (Signs(ended=NOW, exit="KeyError"), "failed"),
        (Signs(lease_until=NOW), "running"),
        (Signs(lease_until=NOW - 1), "lost"),
        (Signs(last_seen=NOW - LEASE), "running"),
        (Signs(last_seen=NOW - LEASE - 1), "lost"),
        # The nodes outlived the workflow and go on sampling: that does not make it alive.
        (Signs(lease_until=NOW - 1, last_seen=NOW), "lost"),
        # Idle for an hour, its lease renewed: alive.
        (Signs(lease_until=NOW + 1), "running"),
    ],
)
def test_what_the_signs_say(signs: Signs, expected: str) -> None:
    assert liveness(signs, NOW) == expected


def test_a_lagging_pipeline_makes_dead_unknown_and_nothing_else() -> None:
    dead, alive, done = Signs(lease_until=NOW - 1), Signs(lease_until=NOW), Signs(ended=NOW)
    assert [liveness(s, NOW, LEASE + 1) for s in (dead, alive, done)] == ["unknown", "running", "completed"]
    assert liveness(dead, NOW, LEASE) == "lost"


def test_whatever_comes_back_is_alive_again() -> None:
    lost = Signs(lease_until=NOW - 1)
    assert liveness(lost, NOW) == "lost"
    assert liveness(replace(lost, lease_until=NOW + LEASE), NOW) == "running"


@given(st.integers(0, 2**50), st.integers(-(2**40), 2**40), st.booleans())
def test_a_run_is_lost_exactly_when_its_signs_have_run_out(seen: int, passed: int, leased: bool) -> None:
    signs = Signs(first_seen=seen, last_seen=seen, lease_until=seen + LEASE if leased else None)
    assert (liveness(signs, seen + passed) == "lost") == (passed > LEASE)
    assert alive_until(signs) == seen + LEASE
