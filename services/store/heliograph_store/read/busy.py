"""Busy workers: how much of each span of time tries ran, by app or host, and which tries ran in a window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Select, Subquery, Table, and_, cast, func, literal_column, select, union_all

from heliograph_store.read.query import MAX_PAGE, fetch, flag, page_size
from heliograph_store.schema import (
    MINUTE,
    OPEN,
    WIDTHS,
    app_busy,
    apps,
    host_busy,
    hosts,
    names,
    runs,
    split_task,
    tasks,
    tries,
)
from heliograph_store.store import Store

By = Literal["host", "app"]
MAX_BUCKETS: Final = 2000
FINE: Final = 5000
"""Up to so many tries are read one by one, for buckets finer than a minute."""
_OCTAVES: Final = (*range(46), OPEN)
"""All that a try of less than two years can have."""
_HOUR: Final = WIDTHS[1]
_DICTIONARY: Final[Mapping[By, Table]] = {"app": apps, "host": hosts}
_ROLLUP: Final[Mapping[By, Table]] = {"app": app_busy, "host": host_busy}
_UNTIL: Final = func.coalesce(
    tries.c.ended, tries.c.running_ended, tries.c.failed, tries.c.exec_done, tries.c.fail_retryable
)


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
class Interval:
    """A try on its worker. `ended` None: it still runs, or nobody said that it ended; `ok` None: not known."""

    task: int
    try_: int
    number: int
    app: str | None
    host: str | None
    worker: str | None
    began: int
    ended: int | None
    ok: bool | None


def busy(store: Store, run_id: int, *, since: int, until: int, buckets: int = 200, by: By = "host") -> list[Busy]:
    """Exact busy time in at most `buckets` buckets of equal length that cover the window, by time and name; those in
    which nothing ran are left out. A try without an end counts as busy for as long as you ask: let `until` be now, or
    the run's end.

    From the rollups `app_busy` and `host_busy` (the window's part of the primary key; by the hour when buckets are that
    wide): then buckets are whole minutes or hours, beginning at or before `since`. A window of fewer minutes than
    `buckets` is computed from the tries themselves as long as they are few, with buckets as fine as asked for.
    """
    wanted = max(1, min(buckets, MAX_BUCKETS))
    if until <= since:
        return []
    if until - since < wanted * MINUTE and begun_about(store, run_id, since, until) <= FINE:
        found = intervals(store, run_id, since=since, until=until, limit=FINE)
        if len(found) < FINE:
            return _fine(found, since, until, wanted, by)
    return _coarse(store, run_id, _grid(since, until, wanted), until, by)


def intervals(
    store: Store,
    run_id: int,
    *,
    since: int,
    until: int,
    hosts: Collection[str] | None = None,
    limit: int = MAX_PAGE,
) -> list[Interval]:
    """Tries that ran at some moment of the window (on these hosts), by their beginning; the first `limit` of them.

    By `ix_tries_octave`: tries are kept by the power of two that their length fits in, so that only those are read that
    can reach into the window. With `hosts` that ran fewer tries than began in the window, by `ix_tries_host`.
    """
    t = tries.c
    ids = None if hosts is None else _host_ids(store, hosts)
    if ids is not None and not ids:
        return []
    overlaps = and_(t.since < until, func.coalesce(_UNTIL, until) > since)
    if ids is not None and _on_hosts(store, run_id, ids) < begun_about(store, run_id, since, until):
        query = _intervals().where(t.run == run_id, t.host.in_(ids), overlaps)
    else:
        keys = union_all(*(_reaching(run_id, octave, since, until) for octave in _OCTAVES)).subquery()
        query = _intervals(keys).where(t.run == run_id, overlaps)
        if ids is not None:
            query = query.where((t.host + 0).in_(ids))
    rows = fetch(store, query.order_by(t.since, t.task, t.try_).limit(page_size(limit)))
    return [Interval(**{**row, "number": split_task(row["task"])[1], "ok": flag(row["ok"])}) for row in rows]


# -- from rollups ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Buckets of `step` units (of `unit` minutes), from the unit `first` up to, but not including, `last`."""

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


def _grid(since: int, until: int, buckets: int) -> _Grid:
    unit = _HOUR if _up(until - since, MINUTE * buckets) >= _HOUR else 1
    first = since // (MINUTE * unit)
    units = _up(until, MINUTE * unit) - first
    step = _up(units, buckets)
    return _Grid(unit=unit, first=first, last=first + _up(units, step) * step, step=step)


def _up(a: int, b: int) -> int:
    """a / b, rounded up."""
    return -(-a // b)


def _coarse(store: Store, run_id: int, grid: _Grid, until: int, by: By) -> list[Busy]:
    # When nothing that was recorded lies behind `until`, the last bucket ends there, and not in the future.
    newest = fetch(store, select(runs.c.last_seen).where(runs.c.id == run_id))
    end = until if newest and (newest[0]["last_seen"] or 0) <= until else grid.end
    events = _events(store, run_id, by, grid)
    before = _running_at(store, run_id, by, grid.first * grid.unit)
    named = _names(store, by, {*events[:, 0].tolist(), *before})
    ids = sorted({*events[:, 0].tolist(), *before}, key=lambda id_: named.get(id_) or "")
    return _summed(events, before, [(id_, named.get(id_)) for id_ in ids], grid, end)


def _summed(
    events: NDArray[np.int64], before: Mapping[int, int], ids: Sequence[tuple[int, str | None]], grid: _Grid, end: int
) -> list[Busy]:
    """A try that begins in a bucket runs to its end, one that ends in it does not: both measured from its beginning."""
    places = _up(end - grid.start, grid.span)
    row = {id_: index for index, (id_, _) in enumerate(ids)}
    counts = np.zeros((4, places, len(ids)), dtype=np.int64)
    inside = events[events[:, 1] < places]
    counts[:, inside[:, 1], [row[id_] for id_ in inside[:, 0].tolist()]] = inside[:, 2:].T
    begins, ends, begin_offsets, end_offsets = counts
    at = grid.start + np.arange(places, dtype=np.int64) * grid.span
    width = np.minimum(grid.span, end - at)
    first = np.array([before.get(id_, 0) for id_, _ in ids], dtype=np.int64)
    running = first + np.cumsum(begins - ends, axis=0)
    here = running - begins + ends
    time = (here + begins - ends) * width[:, None] - begin_offsets + end_offsets
    bucket, name = np.nonzero((time != 0) | (running != 0))
    parts = (at[bucket], width[bucket], name, time[bucket, name], running[bucket, name])
    return [
        Busy(at=at, width=width, name=ids[index][1], busy=busy, running=running)
        for at, width, index, busy, running in zip(*(part.tolist() for part in parts), strict=True)
    ]


def _events(store: Store, run_id: int, by: By, grid: _Grid) -> NDArray[np.int64]:
    """Rows of: name's id, bucket, begins, ends, and the sums of the times from the bucket's beginning to each."""
    c = _ROLLUP[by].c
    # Written out, because PostgreSQL takes two expressions with parameters for different ones. Both databases divide
    # whole numbers without a rest.
    bucket = literal_column(f"(at - {grid.first}) / {grid.step}", BigInteger).label("bucket")
    shift = literal_column(f"((at - {grid.first}) % {grid.step}) * {grid.unit * MINUTE}", BigInteger)
    sums = (c.begins, c.ends, c.begin_offsets + c.begins * shift, c.end_offsets + c.ends * shift)
    query = (
        select(c[by], bucket, *(cast(func.sum(part), BigInteger) for part in sums))
        .where(c.run == run_id, c.width == grid.unit, c.at >= grid.first, c.at < grid.last)
        .group_by(c[by], literal_column("2"))
    )
    with store.connection() as connection:
        cursor = connection.execute(query).cursor
        return np.array([] if cursor is None else cursor.fetchall(), dtype=np.int64).reshape(-1, 2 + len(sums))


def _running_at(store: Store, run_id: int, by: By, minute: int) -> dict[int, int]:
    """How many tries of each app or on each host ran when this minute began."""
    c = _ROLLUP[by].c
    hour = minute // _HOUR
    found: Counter[int] = Counter()
    # Two questions: asked for both at once, SQLite reads the whole run.
    for stretch in ((c.width == _HOUR, c.at < hour), (c.width == 1, c.at >= hour * _HOUR, c.at < minute)):
        query = select(c[by].label("name"), (func.sum(c.begins) - func.sum(c.ends)).label("running"))
        for row in fetch(store, query.where(c.run == run_id, *stretch).group_by(c[by])):
            found[row["name"]] += int(row["running"])
    return {name: running for name, running in found.items() if running}


def begun_about(store: Store, run_id: int, since: int, until: int) -> int:
    """About how many tries began in the window."""
    c = app_busy.c
    minutes = until // MINUTE - since // MINUTE
    unit = _HOUR if minutes > 10 * _HOUR else 1
    inside = (c.width == unit) & (c.at >= since // (MINUTE * unit)) & (c.at <= until // (MINUTE * unit))
    (row,) = fetch(store, select(func.sum(c.begins).label("n")).where(c.run == run_id, inside))
    return int(row["n"] or 0)


def _on_hosts(store: Store, run_id: int, ids: Collection[int]) -> int:
    """How many tries ran on these hosts."""
    c = host_busy.c
    query = select(func.sum(c.begins).label("n")).where(c.run == run_id, c.width == _HOUR, c.host.in_(ids))
    return int(fetch(store, query)[0]["n"] or 0)


def _names(store: Store, by: By, ids: Iterable[int]) -> dict[int, str]:
    table = _DICTIONARY[by]
    wanted = list(ids)
    found: dict[int, str] = {}
    for at in range(0, len(wanted), MAX_PAGE):
        some = select(table.c.id, table.c.name).where(table.c.id.in_(wanted[at : at + MAX_PAGE]))
        found |= {row["id"]: row["name"] for row in fetch(store, some)}
    return found


# -- from tries -----------------------------------------------------------------------------------------------------


def _fine(found: Iterable[Interval], since: int, until: int, buckets: int, by: By) -> list[Busy]:
    width = -(-(until - since) // buckets)
    sums: dict[tuple[int, str | None], list[int]] = {}
    for interval in found:
        name = interval.host if by == "host" else interval.app
        end = until if interval.ended is None else min(interval.ended, until)
        begin = max(interval.began, since)
        for bucket in range((begin - since) // width, -(-(end - since) // width)):
            at = since + bucket * width
            edge = min(at + width, until)
            had = sums.setdefault((at, name), [0, 0])
            had[0] += min(end, edge) - max(begin, at)
            had[1] += interval.ended is None or interval.ended > edge
    return [
        Busy(at=at, width=min(width, until - at), name=name, busy=time, running=running)
        for (at, name), (time, running) in sorted(sums.items(), key=lambda item: (item[0][0], item[0][1] or ""))
    ]


def _reaching(run_id: int, octave: int, since: int, until: int) -> Select[Any]:
    """Tries of one octave that begin early enough, and not too early to reach into the window."""
    t = tries.c
    query = select(t.task, t.try_).where(t.run == run_id, t.octave == octave, t.since < until)
    return query if octave == OPEN else query.where(t.since > since - (1 << octave))


def _intervals(keys: Subquery | None = None) -> Select[Any]:
    t = tries.c
    source: Any = tries
    if keys is not None:
        source = keys.join(tries, (t.task == keys.c.task) & (t.try_ == keys.c.try_))
    worker = names.alias("w")
    joined = (
        source.outerjoin(tasks, (tasks.c.run == t.run) & (tasks.c.task == t.task))
        .outerjoin(apps, apps.c.id == tasks.c.app)
        .outerjoin(hosts, hosts.c.id == t.host)
        .outerjoin(worker, worker.c.id == t.worker)
    )
    return select(
        t.task,
        t.try_,
        apps.c.name.label("app"),
        hosts.c.name.label("host"),
        worker.c.name.label("worker"),
        t.since.label("began"),
        _UNTIL.label("ended"),
        t.ok,
    ).select_from(joined)


def _host_ids(store: Store, wanted: Collection[str]) -> list[int]:
    query = select(hosts.c.id).where(hosts.c.name.in_(list(wanted)[:MAX_PAGE]))
    return [row["id"] for row in fetch(store, query)]
