"""Stretches of consecutive tasks, evenly over a run: a part of its tasks that stands for all of them.

In: a `Store`, a run, how many tasks in how many stretches. Out: ranges of task keys.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table, and_, func, select

from heliograph_store.read.query import fetch
from heliograph_store.schema import NUMBER_BITS, origins
from heliograph_store.store import Store


def ranges(store: Store, table: Table, run_id: int, *, pieces: int, wanted: int) -> Iterator[tuple[int, int]]:
    """First and last key of about `pieces` stretches which hold about `wanted` of the run's tasks that `table` has.

    Evenly over the numbers of the run's origins (at most `pieces` of them). By the primary keys of `origins` and
    `table`, two steps down an origin.
    """
    t = table.c
    found = [row["idx"] for row in fetch(store, select(origins.c.idx).where(origins.c.run == run_id))]
    spans: list[tuple[int, int]] = []
    for origin in found[:: len(found) // pieces + 1]:
        part = and_(t.run == run_id, t.task >= origin << NUMBER_BITS, t.task < (origin + 1) << NUMBER_BITS)
        # One by one: SQLite reads all rows for the lowest and the highest at once.
        lowest, highest = (select(how(t.task)).where(part).scalar_subquery() for how in (func.min, func.max))
        (span,) = fetch(store, select(lowest.label("first"), highest.label("last")))
        if span["first"] is not None:
            spans.append((span["first"], span["last"] - span["first"] + 1))
    total = sum(size for _, size in spans)
    for first, size in spans:
        share = max(1, round(pieces * size / total))
        each = max(1, wanted * size // total // share)
        for piece in range(share):
            start, end = first + size * piece // share, first + size * (piece + 1) // share
            yield start, min(start + each, end) - 1
