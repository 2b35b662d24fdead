"""Busy workers: how much of each span of time tries ran, by app or host, and which tries ran in a window."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, Subquery, and_, func, select, union_all

from heliograph_store.read.busy_rollup import HOUR, Busy, BusyGrid, By, busy_from_rollup
from heliograph_store.read.query import MAX_PAGE, fetch, flag, page_size
from heliograph_store.schema import MINUTE, OPEN, app_busy, apps, host_busy, hosts, names, split_task, tasks, tries
from heliograph_store.store import Store

__all__ = ["Busy", "BusyGrid", "By", "Interval", "begun_about", "busy", "busy_grid", "intervals"]

MAX_BUCKETS: Final = 2000
FINE: Final = 5000
"""Up to so many tries are read one by one, for buckets finer than a minute."""
_OCTAVES: Final = (*range(46), OPEN)
"""All that a try of less than two years can have."""
_UNTIL: Final = func.coalesce(
    tries.c.ended, tries.c.running_ended, tries.c.failed, tries.c.exec_done, tries.c.fail_retryable
)


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
    """What `busy_grid` finds, one by one, by time and name; stretches in which nothing ran are left out."""
    return busy_grid(store, run_id, since=since, until=until, buckets=buckets, by=by).rows()


def busy_grid(store: Store, run_id: int, *, since: int, until: int, buckets: int = 200, by: By = "host") -> BusyGrid:
    """Exact busy time in at most `buckets` stretches of equal length that cover the window. A try without an end counts
    as busy for as long as you ask: let `until` be now, or the run's end.

    From the rollups (see `busy_from_rollup`), in whole minutes or hours. A window of fewer minutes than `buckets` is
    computed from the tries themselves as long as they are few, with stretches as short as asked for.
    """
    wanted = max(1, min(buckets, MAX_BUCKETS))
    if until <= since:
        return BusyGrid.of(())
    if until - since < wanted * MINUTE and begun_about(store, run_id, since, until) <= FINE:
        found = intervals(store, run_id, since=since, until=until, limit=FINE)
        if len(found) < FINE:
            return BusyGrid.of(_fine(found, since, until, wanted, by))
    return busy_from_rollup(store, run_id, since=since, until=until, buckets=wanted, by=by)


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


def begun_about(store: Store, run_id: int, since: int, until: int) -> int:
    """About how many tries began in the window."""
    c = app_busy.c
    minutes = until // MINUTE - since // MINUTE
    unit = HOUR if minutes > 10 * HOUR else 1
    inside = (c.width == unit) & (c.at >= since // (MINUTE * unit)) & (c.at <= until // (MINUTE * unit))
    (row,) = fetch(store, select(func.sum(c.begins).label("n")).where(c.run == run_id, inside))
    return int(row["n"] or 0)


def _on_hosts(store: Store, run_id: int, ids: Collection[int]) -> int:
    """How many tries ran on these hosts."""
    c = host_busy.c
    query = select(func.sum(c.begins).label("n")).where(c.run == run_id, c.width == HOUR, c.host.in_(ids))
    return int(fetch(store, query)[0]["n"] or 0)


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
