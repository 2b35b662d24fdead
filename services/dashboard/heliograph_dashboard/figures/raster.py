"""The timeline as an image: workers by time, in every pixel the app that kept its workers busy the longest.

In: tries of a window and their lanes. Out: a grid of small numbers: 0 where nothing ran, else for the app with number n
2n+1 where the workers of the pixel were busy for half of its time or more, and 2n+2 where less. Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Tries as arrays: the lane and the app (a number below `apps`) of each, its beginning and its end."""

    lane: Ints
    app: Ints
    began: Reals
    ended: Reals


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`cells` by row and column; a row holds `lanes_a_row` lanes, the last one fewer perhaps."""

    cells: NDArray[np.uint8]
    lanes_a_row: int


def rasterise(spans: Spans, *, lanes: int, apps: int, since: float, until: float, rows: int, columns: int) -> Grid:
    """At most `rows` by exactly `columns` pixels of the window from `since` to `until`."""
    a_row = max(1, -(-lanes // rows))
    height = max(1, -(-lanes // a_row))
    scale = columns / (until - since)
    begin = np.clip((spans.began - since) * scale, 0, columns)
    end = np.clip((spans.ended - since) * scale, 0, columns)
    # The shortest try still shows, as a trace of itself; whatever lies outside of the window does not.
    seen = (end > begin) | ((spans.began == spans.ended) & (spans.began >= since) & (spans.began < until))
    most, best, share = (np.zeros((height, columns)) for _ in range(3))
    for app in range(apps):  # one by one: all together they are more than a processor's cache holds
        mine = seen & (spans.app == app)
        if mine.any():
            busy = _busy(spans.lane[mine] // a_row, begin[mine], end[mine], (height, columns))
            most[busy > best] = app
            np.maximum(best, busy, out=best)
            share += busy
    full = np.minimum(a_row, lanes - np.arange(height) * a_row)[:, None]
    cells = np.where(share <= 0, 0, 2 * most + np.where(share >= full / 2, 1, 2))
    return Grid(cells=cells.astype(np.uint8), lanes_a_row=a_row)


def _busy(row: Ints, begin: Reals, end: Reals, shape: tuple[int, int]) -> Reals:
    """By row and column: how many of the pixel's widths tries from `begin` to `end` (in pixels) take, together."""
    height, columns = shape
    end = np.maximum(end, begin + 1e-6)
    first = np.minimum(begin.astype(np.int64), columns - 1)
    last = np.minimum(end.astype(np.int64), columns - 1)
    width = columns + 1
    at, to = row * width + first, row * width + last
    longer = first != last
    # The pixels in which a try begins and ends count by the part that it fills, those between as whole.
    edges = np.concatenate((np.where(longer, first + 1 - begin, end - begin), (end - last)[longer]))
    parts = np.bincount(np.concatenate((at, to[longer])), edges, height * width)
    begins, ends = at[longer] + 1, to[longer]
    steps = np.repeat((1.0, -1.0), (len(begins), len(ends)))
    between = np.bincount(np.concatenate((begins, ends)), steps, height * width)
    total: Reals = between.reshape(height, width).cumsum(axis=1, dtype=np.float64)
    total += parts.reshape(height, width)
    return total[:, :columns]
