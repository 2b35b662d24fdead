"""Which tries ran in a window of time, and where: what a timeline draws.

Served by the index on `tries (run, octave, since)`: a try that lasted less than 2^k microseconds overlaps a window only
if it began less than 2^k before it. So a window costs what lies in it, however long the run and its longest task are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    FromClause,
    ScalarSelect,
    and_,
    column,
    func,
    or_,
    select,
    text,
    true,
)

from heliograph_store.derive import MAX_OCTAVE
from heliograph_store.read.busy import begun_about
from heliograph_store.read.busy_rollup import HOUR
from heliograph_store.read.query import state_name
from heliograph_store.schema import MINUTE, NUMBER_MASK, OPEN, apps, host_busy, hosts, names, tasks, tries
from heliograph_store.store import Store

_IDS_TOGETHER: Final = 500
FEW: Final = 8_000
"""Up to so many tries of a window, those of one host are found among them."""
MANY: Final = 200_000
"""Up to so many, the lowest and the highest task among them say which of the host's tries can be in the window."""
_ENDED: Final = func.coalesce(
    tries.c.ended, tries.c.running_ended, tries.c.exec_done, tries.c.failed, tries.c.fail_retryable
)


class Ran(NamedTuple):
    """A try and where it ran. `ended` is None while no end is known; `failed`: this try went wrong.

    A tuple, because a window can hold tens of thousands.
    """

    task: int
    try_: int
    app: str | None
    state: str | None
    began: int
    ended: int | None
    failed: bool
    host: str | None
    executor: str | None
    block: str | None
    pool: str | None
    worker: str | None
    pid: int | None
    thread: int | None
    shared: bool

    @property
    def number(self) -> int:
        return self.task & NUMBER_MASK


def count_ran(store: Store, run_id: int, *, since: int, until: int, limit: int) -> int:
    """How many tries ran between these times, counted up to `limit`.

    By the index alone, so some that ended shortly before `since` are counted, too.
    """
    inner = select(tries.c.task).select_from(_by_octave(run_id, since, until)).limit(limit).subquery()
    with store.connection() as connection:
        return int(connection.execute(select(func.count()).select_from(inner)).scalar_one())


def ran(
    store: Store, run_id: int, *, since: int, until: int, host: str | None = None, limit: int, few: int = FEW
) -> list[Ran] | None:
    """The tries that ran between these times (on this host) by their beginning; None when they are more than `limit`.

    With `host`, of a window in which more than `few` ran, by the index on `tries (run, host)`, as far as its tasks can
    be in the window.
    """
    window, enough = (since, until), limit + 1
    if host is None:
        many = count_ran(store, run_id, since=since, until=until, limit=enough) == enough
    else:
        many = _begun_on(store, run_id, window, host, enough) == enough
    rows = [] if many else _rows(store, _in_window(store, run_id, window, host, few), enough)
    if many or len(rows) == enough:
        return None
    with store.connection() as connection:
        app_of = _texts(connection, apps.c.id, apps.c.name, (row[2] for row in rows))
        host_of = _texts(connection, hosts.c.id, hosts.c.name, (row[7] for row in rows))
        name_of = _texts(connection, names.c.id, names.c.name, (id_ for row in rows for id_ in row[8:12]))
    found = [
        Ran(  # in its order: names take a third as long again
            task, try_, app_of.get(app), state_name(state), began, None if ended is None else max(ended, began),
            bool(wrong), host_of.get(at), name_of.get(executor), name_of.get(block), name_of.get(pool),
            name_of.get(worker), pid or None, thread, bool(shared),
        )
        for task, try_, app, state, began, ended, wrong, at, executor, block, pool, worker, pid, thread, shared in rows
        if ended is None or max(ended, began) >= since
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.began, one.task, one.try_))


def _rows(store: Store, where: tuple[FromClause, ColumnElement[bool]], limit: int) -> Sequence[Any]:
    """Tries as the database has them, in the order of the fields of `Ran`."""
    t, (source, which) = tries.c, where
    failed = (t.ok == 0) | t.failed.is_not(None) | t.fail_retryable.is_not(None)
    wanted = select(
        t.task, t.try_, tasks.c.app, t.state, t.since, _ENDED, failed,
        t.host, t.executor, t.block, t.pool, t.worker, t.pid, t.thread, t.shared,
    )  # fmt: skip
    of_task = and_(tasks.c.run == t.run, tasks.c.task == t.task)
    query = wanted.select_from(source.outerjoin(tasks, of_task)).where(which).limit(limit)
    with store.connection() as connection:
        return connection.execute(query).tuples().all()


def hosts_of(store: Store, run_id: int) -> list[str]:
    """The hosts on which tries of a run began, by name; one step a host down the index on `tries (run, host)`."""
    found: list[int] = []
    t = tries.c
    with store.connection() as connection:
        while True:
            query = select(func.min(t.host)).where(t.run == run_id, t.host.is_not(None))
            host = connection.execute(query.where(t.host > found[-1]) if found else query).scalar_one()
            if host is None:
                break
            found.append(host)
        return sorted(_texts(connection, hosts.c.id, hosts.c.name, found).values())


def _begun_on(store: Store, run_id: int, window: tuple[int, int], host: str, enough: int) -> int:
    """How many tries began on a host in the whole hours of a window, counted up to `enough`; by the rollup.

    Of a node's whole run that says that they are too many, without reading them.
    """
    c, hour = host_busy.c, HOUR * MINUTE
    inside = and_(c.width == HOUR, c.at >= -(-window[0] // hour), c.at < window[1] // hour)
    found = 0
    with store.connection() as connection:
        for (begins,) in connection.execute(select(c.begins).where(c.run == run_id, inside, c.host == _id_of(host))):
            found += begins
            if found >= enough:
                return enough
    return found


def _id_of(host: str) -> ScalarSelect[int]:
    return select(hosts.c.id).where(hosts.c.name == host).scalar_subquery()


def _in_window(
    store: Store, run_id: int, window: tuple[int, int], host: str | None, few: int
) -> tuple[FromClause, ColumnElement[bool]]:
    """Where to look for the tries of a window, and which they are."""
    t = tries.c
    since, until = window
    if host is None:
        return _by_octave(run_id, since, until), true()
    of_host = t.host == _id_of(host)
    if count_ran(store, run_id, since=since, until=until, limit=few + 1) <= few:
        return _by_octave(run_id, since, until), of_host
    found = [t.run == run_id, of_host, t.octave.is_not(None), t.since < until]
    found.append(or_(_ENDED.is_(None), since <= _ENDED))
    if begun_about(store, run_id, since, until) <= MANY:
        # Both ends in one reading of an index, which costs less than the tries that the host ran at other times.
        ends = select(func.min(t.task), func.max(t.task)).select_from(_by_octave(run_id, since, until))
        with store.connection() as connection:
            found.append(t.task.between(*connection.execute(ends).one()))
    return tries, and_(*found)


def _by_octave(run_id: int, since: int, until: int) -> FromClause:
    t = tries.c
    # Written out, not bound: they are whole numbers, and one row an octave.
    rows = ",".join(f"({octave},{since - (1 << octave)})" for octave in range(MAX_OCTAVE + 1))
    columns = column("column1", BigInteger), column("column2", BigInteger)
    octaves = text(f"VALUES {rows},({OPEN},0)").columns(*columns).cte("octaves")
    reach = and_(t.octave == octaves.c.column1, t.since > octaves.c.column2, t.since < until)
    return octaves.join(tries, and_(t.run == run_id, reach))


def _texts(
    connection: Connection, id_: Column[int], name: Column[str], wanted: Iterable[int | None]
) -> dict[int | None, str]:
    ids = sorted({one for one in wanted if one is not None})
    found: dict[int | None, str] = {}
    for at in range(0, len(ids), _IDS_TOGETHER):
        query = select(id_, name).where(id_.in_(ids[at : at + _IDS_TOGETHER]))
        found |= dict(connection.execute(query).tuples().all())
    return found
