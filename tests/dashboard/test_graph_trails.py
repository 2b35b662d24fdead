"""Lines of a graph: every edge is drawn once and nothing else is."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from heliograph_dashboard.figures.packed import packed, unpacked
from heliograph_dashboard.figures.trails import GAP, trails


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda e: e[0] != e[1]), max_size=120))
def test_every_edge_once(edges: list[tuple[int, int]]) -> None:
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    walk = trails(31, pairs[:, 0], pairs[:, 1]).tolist()
    drawn = Counter(frozenset(pair) for pair in itertools.pairwise(walk) if GAP not in pair)
    assert drawn == Counter(frozenset(edge) for edge in edges)


def test_a_chain_is_one_line() -> None:
    walk = trails(1000, np.arange(999), np.arange(1, 1000))
    assert len(walk) == 1000


@given(arrays.arrays(np.int64, arrays.array_shapes(max_dims=2), elements=st.integers(-(2**40), 2**40)))
def test_packed_whole_numbers_come_out_as_they_went_in(values: np.ndarray) -> None:
    assert np.array_equal(unpacked(packed(values)), values)


def test_small_numbers_take_one_byte() -> None:
    assert packed(np.arange(200))["dtype"] == "u1"
    assert packed(np.arange(-1, 200))["dtype"] == "i2"
