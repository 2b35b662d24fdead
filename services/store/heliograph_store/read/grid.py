"""Time cut into equal stretches, and rows compared with the row before: what thinning series in the database needs.

In: a table, the rows that are chosen, how many stretches are wanted. Out: expressions for a query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Table, cast, func, select

from heliograph_store.read.query import fetch
from heliograph_store.schema import runs
from heliograph_store.store import Store

MAX_BUCKETS: Final = 2000
SECOND: Final = 1_000_000
IDLE: Final = 45 * SECOND
"""A node on which nothing runs is sampled every 30 s: only a longer silence is a gap."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points in equal stretches of `width` microseconds; points further apart than `gap` are not to be connected.

    Of nodes, `chosen` of `nodes` are in it: where it would take too long to read all, some stand for the others.
    """

    width: int
    gap: int
    points: Sequence[Any]
    chosen: int = 0
    nodes: int = 0


NOTHING: Final = Series(width=0, gap=0, points=())


@dataclass(frozen=True)
class Window:
    """The rows of one thing in their order."""

    of: Any
    order: Any

    def before(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column in the row before; NULL in the first."""
        return func.lag(column).over(partition_by=self.of, order_by=self.order)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Equal stretches of time from `first` on; `last` is the time of the last row."""

    first: int
    last: int
    width: int

    @classmethod
    def over(cls, first: int, last: int, buckets: int, step: int = 1) -> Grid:
        """At most `buckets` stretches, as long as a multiple of `step`."""
        least = (last - first) // max(1, min(buckets, MAX_BUCKETS)) + 1
        return cls(first=first, last=last, width=-(-least // step) * step)

    def of(self, at: ColumnElement[int]) -> ColumnElement[int]:
        return cast((at - self.first) // self.width, BigInteger)

    def middle(self, bucket: int) -> int:
        start = self.first + bucket * self.width
        return start + self.covered(bucket) // 2

    def covered(self, bucket: int) -> int:
        """How much of a stretch the rows reach into: the last one is seldom full."""
        return max(1, min(self.width, self.last - self.first - bucket * self.width))

    def gap(self, interval: int, *, idle: bool = True) -> int:
        """Points further apart than this have missing samples between them."""
        return max(3 * interval, IDLE if idle else 0, self.width * 3 // 2)


def grid_over(store: Store, table: Table, chosen: ColumnElement[bool], buckets: int, step: int = 1) -> Grid | None:
    """Stretches over all chosen rows, as long as a multiple of `step`; None when there are no rows."""
    at = table.c.at
    (span,) = fetch(store, select(func.min(at).label("first"), func.max(at).label("last")).where(chosen))
    if span["first"] is None:
        return None
    return Grid.over(span["first"], span["last"], buckets, step)


def sample_interval(store: Store, run_id: int) -> int:
    """The run's sampling interval in microseconds; 10 s where nobody told it."""
    rows = fetch(store, select(runs.c.sample_interval).where(runs.c.id == run_id))
    seconds = rows[0]["sample_interval"] if rows else None
    return max(1, round((seconds or 10.0) * SECOND))


def real(value: Any) -> float | None:
    """Sums come as Decimal from PostgreSQL."""
    return None if value is None else float(value)


def whole(value: Any) -> int | None:
    return None if value is None else int(value)
