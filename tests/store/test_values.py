"""What becomes of single values on their way into a column."""

from __future__ import annotations

import math
from random import Random

import pytest

from heliograph_store.values import thousandths


def test_what_agents_measure_is_whole_and_comes_back_exactly() -> None:
    """They round to three digits; SQLite keeps a real number without a fraction in two or three bytes."""
    random = Random(1)
    for percent in [*(n / 1000 for n in range(100_000)), *(round(random.uniform(0, 5000), 3) for _ in range(50_000))]:
        milli = thousandths(percent)
        assert milli is not None
        assert (milli.is_integer(), milli / 1000) == (True, percent)


def test_any_other_number_comes_back_to_its_last_digit() -> None:
    random = Random(2)
    for percent in [*(random.uniform(-1, 1) * 10.0 ** random.randrange(-12, 12) for _ in range(50_000)), 1e-300]:
        milli = thousandths(percent)
        assert milli is not None
        assert abs(milli / 1000 - percent) <= math.ulp(percent)


@pytest.mark.parametrize("percent", [None, math.nan, math.inf, -math.inf, 1.7e308], ids=str)
def test_what_is_no_number_is_unknown(percent: float | None) -> None:
    assert thousandths(percent) is None
