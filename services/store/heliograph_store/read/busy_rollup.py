"""Busy time in equal stretches from the rollups by minute and by hour, exact whatever their edges.

In: a window, and whose time. Out: a `BusyGrid`. A try that runs over a whole stretch is busy for all of it; one that
begins or ends within it is measured from the stretch's beginning. So what tries ran in a stretch is how many ran at its
end, times its length, and how much later the ends in it are than the begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Table, cast, func, literal_column, select

from heliograph_store.read.query import MAX_PAGE, fetch
from heliograph_store.schema import MINUTE, WIDTHS, app_busy, apps, host_busy, hosts, runs
from heliograph_store.store import Store

By = Literal["host", "app"]
HOUR: Final = WIDTHS[1]
FEW_HOURS: Final = 48
"""From so many hours on nodes are summed by the hour: a row a node and minute would be too many to read."""
_DICTIONARY: Final[Mapping[By, Table]] = {"app": apps, "host": hosts}
_ROLLUP: Final[Mapping[By, Table]] = {"app": app_busy, "host": host_busy}


class Busy(NamedTuple):
    """Between `at` and `at + width`, tries of this app or on this host ran for `busy` microseconds in sum (one worker
    busy all the time gives `width`), and at its end `running` of them still did.

    A tuple, because a window can have ten thousand.
    """

    at: int
    width: int
    name: str | None
    busy: int
    running: int


@dataclass(frozen=True, kw_only=True)
class BusyGrid:
    """`busy[i, j]` and `running[i, j]` as in `Busy`, of `names[j]` in the stretch of `width` that begins at `at[i]`.

    The last stretch ends at `until`.
    """

    first: int
    width: int
    until: int
    names: Sequence[str | None]
    busy: NDArray[np.int64]
    running: NDArray[np.int64]

    @property
    def places(self) -> int:
        return len(self.busy)

    @property
    def at(self) -> NDArray[np.int64]:
        return self.first + np.arange(self.places, dtype=np.int64) * self.width

    @property
    def widths(self) -> NDArray[np.int64]:
        return np.minimum(self.width, self.until - self.at)

    @classmethod
    def of(cls, rows: Sequence[Busy]) -> BusyGrid:
        """Of stretches one by one."""
        if not rows:
            return cls(first=0, width=1, until=0, names=(), busy=_none(0, 0), running=_none(0, 0))
        width, first = max(row.width for row in rows), min(row.at for row in rows)
        until = max(row.at + row.width for row in rows)
        names = sorted({row.name for row in rows}, key=lambda name: name or "")
        column = {name: index for index, name in enumerate(names)}
        shape = -(-(until - first) // width), len(names)
        busy, running = _none(*shape), _none(*shape)
        for row in rows:
            place = (row.at - first) // width, column[row.name]
            busy[place], running[place] = row.busy, row.running
        return cls(first=first, width=width, until=until, names=names, busy=busy, running=running)

    def used(self) -> BusyGrid:
        """Without the stretches at both ends, and the names, in which nothing ran."""
        there = (self.busy != 0) | (self.running != 0)
        columns = np.flatnonzero(there.any(axis=0))
        rows = np.flatnonzero(there.any(axis=1))
        begin, end = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        return BusyGrid(
            first=self.first + begin * self.width,
            width=self.width,
            until=min(self.until, self.first + end * self.width),
            names=[self.names[index] for index in columns.tolist()],
            busy=self.busy[begin:end, columns],
            running=self.running[begin:end, columns],
        )

    def rows(self) -> list[Busy]:
        """One by one, by time and name; those in which nothing ran are left out."""
        at, widths = self.at, self.widths
        place, name = np.nonzero((self.busy != 0) | (self.running != 0))
        parts = (at[place], widths[place], name, self.busy[place, name], self.running[place, name])
        return [
            Busy(at=at, width=width, name=self.names[index], busy=busy, running=running)
            for at, width, index, busy, running in zip(*(part.tolist() for part in parts), strict=True)
        ]


def busy_from_rollup(store: Store, run_id: int, *, since: int, until: int, buckets: int, by: By) -> BusyGrid:
    """At most `buckets` stretches of whole minutes or hours, the first of which begins at or before `since`.

    By the window's part of the primary key of `app_busy` or `host_busy`: a row a name and minute; of a long window, or
    of many hours of nodes, a row a name and hour.
    """
    cut = _cut(since, until, buckets, by)
    # When nothing that was recorded lies behind `until`, the last stretch ends there, and not in the future.
    newest = fetch(store, select(runs.c.last_seen).where(runs.c.id == run_id))
    end = until if newest and (newest[0]["last_seen"] or 0) <= until else cut.end
    moves = _moves(store, run_id, by, cut)
    before = _running_at(store, run_id, by, cut.first * cut.unit)
    ids = {*np.unique(moves[:, 0]).tolist(), *before}
    named = _names(store, by, ids)
    in_order = {id_: named.get(id_) for id_ in sorted(ids, key=lambda id_: named.get(id_) or "")}
    return _grid_of(moves, before, in_order, cut, end)


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """Stretches of `step` units (of `unit` minutes), from the unit `first` up to, but not including, `last`."""

    unit: int
    first: int
    last: int
    step: int

    @property
    def start(self) -> int:
        return self.first * self.unit * MINUTE

    @property
    def end(self) -> int:
        return self.last * self.unit * MINUTE

    @property
    def span(self) -> int:
        return self.step * self.unit * MINUTE


def _cut(since: int, until: int, buckets: int, by: By) -> _Cut:
    minutes = _up(until - since, MINUTE)
    long = _up(minutes, buckets) >= HOUR or (by == "host" and minutes > FEW_HOURS * HOUR)
    unit = HOUR if long else 1
    first = since // (MINUTE * unit)
    units = _up(until, MINUTE * unit) - first
    step = _up(units, buckets)
    return _Cut(unit=unit, first=first, last=first + _up(units, step) * step, step=step)


def _up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def _grid_of(
    moves: NDArray[np.int64],
    before: Mapping[int, int],
    named: Mapping[int, str | None],
    cut: _Cut,
    end: int,
) -> BusyGrid:
    places = _up(end - cut.start, cut.span)
    column = {id_: index for index, id_ in enumerate(named)}
    net, later = _none(places, len(named)), _none(places, len(named))
    inside = moves[moves[:, 1] < places]
    where = inside[:, 1], np.array([column[id_] for id_ in inside[:, 0].tolist()], dtype=np.intp)
    net[where], later[where] = inside[:, 2], inside[:, 3]
    first = np.array([before.get(id_, 0) for id_ in named], dtype=np.int64)
    running = first + np.cumsum(net, axis=0)
    at = cut.start + np.arange(places, dtype=np.int64) * cut.span
    busy = running * np.minimum(cut.span, end - at)[:, None] + later
    names = list(named.values())
    return BusyGrid(first=cut.start, width=cut.span, until=end, names=names, busy=busy, running=running)


def _moves(store: Store, run_id: int, by: By, cut: _Cut) -> NDArray[np.int64]:
    """Rows of: name's id, stretch, how many more begins than ends, and how much later the ends are than the begins."""
    c = _ROLLUP[by].c
    # Written out, because PostgreSQL takes two expressions with parameters for different ones. Both databases divide
    # whole numbers without a rest.
    stretch = literal_column(f"(at - {cut.first}) / {cut.step}", BigInteger).label("stretch")
    shift = literal_column(f"((at - {cut.first}) % {cut.step}) * {cut.unit * MINUTE}", BigInteger)
    more = c.begins - c.ends
    sums = (more, c.end_offsets - c.begin_offsets - more * shift)
    query = (
        select(c[by], stretch, *(cast(func.sum(part), BigInteger) for part in sums))
        .where(c.run == run_id, c.width == cut.unit, c.at >= cut.first, c.at < cut.last)
        .group_by(literal_column("2"), c[by])  # nearly the order of the key, so that sorting is quick
    )
    with store.connection() as connection:
        cursor = connection.execute(query).cursor
        return np.array([] if cursor is None else cursor.fetchall(), dtype=np.int64).reshape(-1, 2 + len(sums))


def _running_at(store: Store, run_id: int, by: By, minute: int) -> dict[int, int]:
    """How many tries of each app or on each host ran when this minute began."""
    c = _ROLLUP[by].c
    hour = minute // HOUR
    found: Counter[int] = Counter()
    # Two questions: asked for both at once, SQLite reads the whole run.
    for stretch in ((c.width == HOUR, c.at < hour), (c.width == 1, c.at >= hour * HOUR, c.at < minute)):
        query = select(c[by].label("name"), (func.sum(c.begins) - func.sum(c.ends)).label("running"))
        for row in fetch(store, query.where(c.run == run_id, *stretch).group_by(c[by])):
            found[row["name"]] += int(row["running"])
    return {name: running for name, running in found.items() if running}


def _names(store: Store, by: By, ids: Iterable[int]) -> dict[int, str]:
    table = _DICTIONARY[by]
    wanted = list(ids)
    found: dict[int, str] = {}
    for at in range(0, len(wanted), MAX_PAGE):
        some = select(table.c.id, table.c.name).where(table.c.id.in_(wanted[at : at + MAX_PAGE]))
        found |= {row["id"]: row["name"] for row in fetch(store, some)}
    return found


def _none(places: int, names: int) -> NDArray[np.int64]:
    return np.zeros((places, names), dtype=np.int64)
