"""What tries took and used, in histograms whose buckets grow by a tenth: any quantile is known within five percent.

In: a measure in microseconds or bytes. Out: the number of its bucket, and the bounds of a bucket. The bounds are whole
numbers that every machine computes alike; they are stored by their position, so they may never change.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

RUN_TIME, WAITING, MEMORY, CPU = 0, 1, 2, 3
"""`run_measures.measure`; stored: append only."""
LARGEST: Final = (1 << 43) - 1
"""A hundred days, or eight terabytes: what is larger counts as that, so that no sender pushes sums out of 64 bits."""


def _bounds() -> tuple[int, ...]:
    """0, 1, 2, … and from 10 on always about a tenth more."""
    found = [0]
    while found[-1] <= LARGEST:
        found.append(found[-1] + max(1, found[-1] // 10))
    return tuple(found)


BOUNDS: Final = _bounds()
"""Bucket i holds the values from BOUNDS[i] up to, but not including, BOUNDS[i + 1]."""


def bucket_of(value: int) -> int:
    """The bucket of a value between 0 and LARGEST."""
    return bisect_right(BOUNDS, value) - 1


def bounds_of(bucket: int) -> tuple[int, int]:
    """The lowest value of a bucket, and the lowest of the next one."""
    return BOUNDS[bucket], BOUNDS[bucket + 1]
