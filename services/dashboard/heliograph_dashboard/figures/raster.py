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
    busy = _busy(spans, a_row, (apps, height, columns), since, until)
    most = busy.argmax(axis=0)
    share = busy.sum(axis=0)
    full = np.minimum(a_row, lanes - np.arange(height) * a_row)[:, None]
    cells = np.where(share <= 0, 0, 2 * most + np.where(share >= full / 2, 1, 2))
    return Grid(cells=cells.astype(np.uint8), lanes_a_row=a_row)


def _busy(spans: Spans, a_row: int, shape: tuple[int, int, int], since: float, until: float) -> Reals:
    """By app, row and column: how many of the pixel's widths its lanes were busy, all together."""
    apps, height, columns = shape
    scale = columns / (until - since)
    begin = np.clip((spans.began - since) * scale, 0, columns)
    end = np.clip((spans.ended - since) * scale, 0, columns)
    # The shortest try still shows, as a trace of itself; whatever lies outside of the window does not.
    seen = (end > begin) | ((spans.began == spans.ended) & (spans.began >= since) & (spans.began < until))
    begin, end = begin[seen], np.maximum(end[seen], begin[seen] + 1e-6)
    row = spans.app[seen] * height + spans.lane[seen] // a_row
    first = np.minimum(begin.astype(np.int64), columns - 1)
    last = np.minimum(end.astype(np.int64), columns - 1)
    width = columns + 1
    size = apps * height * width
    alone = first == last
    # The pixels in which a try begins and ends count by the part that it fills, those between as whole.
    parts = np.bincount(row * width + first, np.where(alone, end - begin, first + 1 - begin), size)
    parts += np.bincount((row * width + last)[~alone], (end - last)[~alone], size)
    between = np.bincount((row * width + first + 1)[~alone], minlength=size).astype(np.float64)
    between -= np.bincount((row * width + last)[~alone], minlength=size)
    total: Reals = parts.reshape(apps, height, width) + between.reshape(apps, height, width).cumsum(axis=2)
    return total[:, :, :columns]
