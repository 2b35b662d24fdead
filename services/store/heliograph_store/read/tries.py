"""Tries: each attempt to run a task, where and when it ran, what it used and how it failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, or_, select

from heliograph_store.read.query import beyond, fetch, flag, page_size, state_name
from heliograph_store.schema import STATES, apps, failures, hosts, names, tasks, tries
from heliograph_store.store import Store

_EXECUTOR, _WORKER, _POOL, _BLOCK, _TYPE = (names.alias(name) for name in ("x", "w", "p", "b", "e"))


@dataclass(frozen=True, kw_only=True)
class Try:
    """One try. `states` has the first time each state was seen; `elapsed` is the function's own monotonic duration.

    `pid` is None where the process is not known; `peak_exact` False means that `peak_rss` is an upper bound.
    """

    task: int
    try_: int
    app: str | None
    state: str | None
    states: Mapping[str, int]
    launched_at: int | None
    returned_at: int | None
    executor: str | None
    began: int | None
    host: str | None
    pid: int | None
    create_time: int | None
    thread: int | None
    worker: str | None
    pool: str | None
    block: str | None
    shared: bool | None
    ended: int | None
    ok: bool | None
    elapsed: int | None
    exit: int | None
    cpu_user: int | None
    cpu_system: int | None
    peak_rss: int | None
    peak_exact: bool | None
    exc_type: str | None
    exc_message: str | None
    exc_place: str | None
    traceback: str | None
    history: str | None
    failure: int | None
    """The group of `read.failures` that it belongs to, None when nothing went wrong."""
    wrong: int | None
    """When it went wrong."""

    @property
    def waited(self) -> int | None:
        """From launch to the function's beginning; two clocks when the hosts differ, so it can be negative."""
        launched = self.launched_at or self.states.get("launched")
        began = self.began or self.states.get("running")
        return None if launched is None or began is None else began - launched


def tries_of(store: Store, run_id: int, task: int) -> list[Try]:
    """A task's tries in order; by the primary key of `tries`."""
    query = try_query().where(tries.c.run == run_id, tries.c.task == task).order_by(tries.c.try_)
    return [try_of(row) for row in fetch(store, query)]


def try_page(store: Store, run_id: int, *, after: tuple[int, int] | None = None, limit: int = 100) -> list[Try]:
    """Tries of a run by task; `after` is (task, try_) of the last one read. By the primary key of `tries`."""
    key = (tries.c.task, tries.c.try_)
    query = try_query().where(tries.c.run == run_id).order_by(*key).limit(page_size(limit))
    if after is not None:
        query = query.where(beyond(key, after))
    return [try_of(row) for row in fetch(store, query)]


def failed_tries(
    store: Store,
    run_id: int,
    *,
    exc_type: str | None = None,
    after: tuple[int, int] | None = None,
    limit: int = 100,
) -> list[Try]:
    """Tries of a run that went wrong, by task; `after` is (task, try_) of the last one read.

    By the run's part of the primary key of `failures`, or with `exc_type` by its index on (run, exc_type).
    """
    key = (failures.c.task, failures.c.try_)
    wrong = or_(failures.c.at.is_not(None), failures.c.history != "")
    query = try_query().where(failures.c.run == run_id, wrong).order_by(*key).limit(page_size(limit))
    if exc_type is not None:
        query = query.where(failures.c.exc_type == select(names.c.id).where(names.c.name == exc_type).scalar_subquery())
    if after is not None:
        query = query.where(beyond(key, after))
    return [try_of(row) for row in fetch(store, query)]


def try_query() -> Select[Any]:
    t, f = tries.c, failures.c
    of_try = (f.run == t.run) & (f.task == t.task) & (f.try_ == t.try_)
    joined = (
        tries.outerjoin(failures, of_try)
        .outerjoin(tasks, (tasks.c.run == t.run) & (tasks.c.task == t.task))
        .outerjoin(apps, apps.c.id == tasks.c.app)
        .outerjoin(hosts, hosts.c.id == t.host)
        .outerjoin(_EXECUTOR, _EXECUTOR.c.id == t.executor)
        .outerjoin(_WORKER, _WORKER.c.id == t.worker)
        .outerjoin(_POOL, _POOL.c.id == t.pool)
        .outerjoin(_BLOCK, _BLOCK.c.id == t.block)
        .outerjoin(_TYPE, _TYPE.c.id == f.exc_type)
    )
    plain = (
        "task", "try_", "state", *STATES, "launched_at", "returned_at", "began", "pid", "create_time", "thread",
        "shared", "ended", "ok", "elapsed", "exit", "cpu_user", "cpu_system", "peak_rss", "peak_exact",
        "failure", "wrong",
    )  # fmt: skip
    return select(
        *(t[name] for name in plain),
        apps.c.name.label("app"),
        hosts.c.name.label("host"),
        _EXECUTOR.c.name.label("executor"),
        _WORKER.c.name.label("worker"),
        _POOL.c.name.label("pool"),
        _BLOCK.c.name.label("block"),
        _TYPE.c.name.label("exc_type"),
        f.exc_message,
        f.exc_place,
        f.traceback,
        f.history,
    ).select_from(joined)


def try_of(row: dict[str, Any]) -> Try:
    """A row of `try_query` as a value."""
    times = {state: row.pop(state) for state in STATES}
    row["states"] = {state: at for state, at in times.items() if at is not None}
    row["state"] = state_name(row["state"])
    row["pid"] = row["pid"] or None  # an imported try of which only the host is known has 0
    for name in ("shared", "ok", "peak_exact"):
        row[name] = flag(row[name])
    return Try(**row)
