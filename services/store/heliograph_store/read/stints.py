"""Pools of workers and what tries did at them: what the efficiency of a run is computed from.

In: a `Store` and a run. Out: `Pool` and `Stint` of `efficiency`. Of a large run some thousand tries are taken, evenly
over its tasks, which is enough for the efficiency of apps; the busy time of workers comes from a rollup then.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Column, Connection, CursorResult, Select, bindparam, func, or_, select

from heliograph.messages import FINAL, State
from heliograph_store.read.efficiency import Pool, PoolKey, Stint
from heliograph_store.read.nodes import block_list
from heliograph_store.read.presence import BLOCK_ENDS
from heliograph_store.read.query import fetch
from heliograph_store.read.ranges import ranges
from heliograph_store.read.runs import Run
from heliograph_store.schema import agents, apps, hosts, names, node_samples, nodes, tasks, tries
from heliograph_store.store import Store

MANY: Final = 4000
"""Tasks up to which all tries are read; of a larger run those of as many tasks."""
RANGES: Final = 40
"""Stretches of consecutive tasks that are read of a larger run."""
MIB: Final = 1 << 20
_IDS_TOGETHER: Final = 500
_ENDS: Final = (State.RUNNING_ENDED, *sorted((*FINAL, State.FAIL_RETRYABLE), key=lambda state: state.rank))


@dataclass(frozen=True, kw_only=True)
class Stints:
    """What was read: `complete` when these are all tries of the run, else an even choice of them."""

    stints: Sequence[Stint]
    complete: bool


def pools_of(store: Store, run: Run) -> list[Pool]:
    """The run's pools of workers, each from its registration to its last sign of life.

    A sign is the registration itself, a sample of the node, its agent's report; a pool that said goodbye, or whose
    block ended, is gone since then. By the run's part of the primary keys of `nodes`, `agents`, `block_states`, and one
    step down that of `node_samples` a host.
    """
    pool, executor, block = names.alias(), names.alias(), names.alias()
    n, m, a = nodes.c, node_samples.c, agents.c
    sampled = select(func.max(m.at)).where(m.run == n.run, m.host == n.host).correlate(nodes).scalar_subquery()
    told = select(func.max(a.last_seen)).where(a.run == n.run, a.host == n.host).correlate(nodes).scalar_subquery()
    query = (
        select(
            hosts.c.name.label("host"),
            pool.c.name.label("pool"),
            executor.c.name.label("executor"),
            block.c.name.label("block"),
            n.workers,
            n.first_seen,
            n.last_seen,
            n.active,
            n.memory_total,
            sampled.label("sampled"),
            told.label("told"),
        )
        .select_from(
            nodes.outerjoin(hosts, hosts.c.id == n.host)
            .outerjoin(pool, pool.c.id == n.pool)
            .outerjoin(executor, executor.c.id == n.executor)
            .outerjoin(block, block.c.id == n.block)
        )
        .where(n.run == run.id)
    )
    gone = _ended_blocks(store, run.id)
    return [_pool(row, gone, run) for row in fetch(store, query) if row["first_seen"] is not None]


def stints_of(
    store: Store, run: Run, pools: Sequence[Pool], *, app: str | None = None, tasks_in_run: int, many: int = MANY
) -> Stints:
    """What the run's tries did. `tasks_in_run` (from a rollup) says whether all of them are read.

    A try whose end nobody told lasts until its pool's last sign. By the primary keys of `tries` and `tasks`, the whole
    run or `RANGES` ranges of it.
    """
    complete = tasks_in_run <= many
    query = _query(run.id, app)
    rows: list[Sequence[Any]] = []
    with store.connection() as connection:
        if complete:
            rows = _plain(connection.execute(query))
        else:
            query = query.where(tries.c.task.between(bindparam("first"), bindparam("last")))
            for first, last in ranges(store, tries, run.id, pieces=RANGES, wanted=many):
                rows += _plain(connection.execute(query, {"first": first, "last": last}))
        reader = _Reader(
            run=run,
            pools={pool.key: pool for pool in pools},
            apps=_texts(connection, apps.c.id, apps.c.name, {row[0] for row in rows}),
            hosts=_texts(connection, hosts.c.id, hosts.c.name, {row[1] for row in rows}),
            names=_texts(connection, names.c.id, names.c.name, {name for row in rows for name in row[2:4]}),
        )
    return Stints(stints=[reader.stint(*row) for row in rows], complete=complete)


def _plain(result: CursorResult[Any]) -> list[Any]:
    """Tuples as the driver makes them: of thousands of rows, what SQLAlchemy puts around them is most of the time."""
    cursor = result.cursor
    return [] if cursor is None else list(cursor.fetchall())


def _texts(connection: Connection, id_: Column[int], name: Column[str], wanted: Set[int | None]) -> dict[int, str]:
    ids = sorted(one for one in wanted if one is not None)
    found: dict[int, str] = {}
    for at in range(0, len(ids), _IDS_TOGETHER):
        query = select(id_, name).where(id_.in_(ids[at : at + _IDS_TOGETHER]))
        found |= dict(connection.execute(query).tuples().all())
    return found


def _pool(row: dict[str, Any], gone: Mapping[tuple[str, str], int], run: Run) -> Pool:
    signs = [row[name] for name in ("first_seen", "last_seen", "sampled", "told") if row[name] is not None]
    until = max(signs)
    ended = gone.get((row["executor"] or "", row["block"] or ""))
    if row["active"] == 0:
        until = row["last_seen"]
    elif ended is not None:
        until = min(until, ended)
    if run.ended is not None:
        until = min(until, run.ended)
    return Pool(
        key=(row["host"], row["pool"] or ""),
        host=row["host"],
        executor=row["executor"],
        workers=row["workers"],
        since=row["first_seen"],
        until=max(until, row["first_seen"]),
        memory_total=row["memory_total"],
    )


def _ended_blocks(store: Store, run_id: int) -> dict[tuple[str, str], int]:
    """When a block's last status came, if that is an end."""
    blocks = block_list(store, run_id)
    return {(b.executor, b.block): b.history[-1].at for b in blocks if b.status.upper() in BLOCK_ENDS}


def _query(run_id: int, app: str | None) -> Select[Any]:
    t = tries.c
    query = (
        select(
            tasks.c.app,
            t.host,
            t.pool,
            t.executor,
            t.pid,
            t.thread,
            t.worker,
            t.shared,
            func.coalesce(t.began, t.running).label("began"),
            func.coalesce(t.ended, *(t[state.value] for state in _ENDS)).label("ended"),
            t.elapsed,
            t.cpu_user,
            t.cpu_system,
            t.peak_rss,
            t.peak_exact,
            tasks.c.resources,
        )
        .select_from(tries.outerjoin(tasks, (tasks.c.run == t.run) & (tasks.c.task == t.task)))
        .where(t.run == run_id, or_(t.began.is_not(None), t.running.is_not(None)))
    )
    if app is not None:
        query = query.where(tasks.c.app == select(apps.c.id).where(apps.c.name == app).scalar_subquery())
    return query


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Makes stints of rows; `apps`, `hosts` and `names` (of pools and executors) are what their ids stand for."""

    run: Run
    pools: Mapping[PoolKey, Pool]
    apps: Mapping[int, str]
    hosts: Mapping[int, str]
    names: Mapping[int, str]

    def stint(  # noqa: PLR0917 (a row, in the order of `_query`)
        self, app: int | None, at: int | None, pool_id: int | None, executor: int | None, pid: int | None,
        thread: int | None, worker: int | None, shared: int | None, began: int, ended: int | None,
        elapsed: int | None, cpu_user: int | None, cpu_system: int | None, peak: int | None, exact: int | None,
        resources: str | None,
    ) -> Stint:  # fmt: skip
        host = None if at is None else self.hosts.get(at)
        name = None if pool_id is None else self.names.get(pool_id)
        if not name:  # the threads of a process register as a pool that is named after it
            name = f"{host}/{pid or 0}/{'' if executor is None else self.names.get(executor, '')}"
        key = (host, name)
        pool = self.pools.get(key)
        until = ended
        if until is None:
            until = pool.until if pool else (self.run.ended or self.run.last_seen or began)
        cores, memory = requested(resources) if resources else (None, None)
        if memory is None and pool is not None and pool.memory_total and pool.workers:
            memory = pool.memory_total // pool.workers
        # Run time by the try's own clock, so that CPU time and run time come from one.
        ran = elapsed if elapsed is not None else until - began
        return Stint(
            None if app is None else self.apps.get(app),
            key,
            (pid, thread) if worker is None else worker,
            began,
            began + max(0, ran),
            None if cpu_user is None or ended is None else cpu_user + (cpu_system or 0),
            cores,
            peak if exact and not shared else None,
            memory,
        )


@lru_cache(maxsize=1024)
def requested(resources: str | None) -> tuple[float | None, int | None]:
    """(cores, bytes of memory) of a resource specification as Parsl's executors understand it: memory in MiB."""
    if not resources:
        return None, None
    try:
        asked = json.loads(resources)
    except ValueError:
        return None, None
    if not isinstance(asked, dict):
        return None, None
    memory = _positive(asked.get("memory"))
    return _positive(asked.get("cores")), None if memory is None else round(memory * MIB)


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 < value < 1e12 and math.isfinite(value) else None
