"""Numbers for the browser: small, and what they were."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heliograph_dashboard.figures.packed import packed, unpacked


@given(arrays.arrays(np.int64, arrays.array_shapes(max_dims=2), elements=st.integers(-(2**40), 2**40)))
def test_packed_whole_numbers_come_out_as_they_went_in(values: np.ndarray) -> None:
    assert np.array_equal(unpacked(packed(values)), values)


def test_small_numbers_take_one_byte() -> None:
    assert packed(np.arange(200))["dtype"] == "u1"
    assert packed(np.arange(-1, 200))["dtype"] == "i2"
