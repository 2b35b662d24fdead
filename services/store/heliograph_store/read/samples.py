"""Samples of tasks and nodes: as they are, or thinned by the database to as many points as a figure can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Double, Table, cast, func, select

from heliograph_store.read.query import beyond, fetch, flag, page_size
from heliograph_store.schema import IS_LAST, IS_SHARED, hosts, names, node_samples, samples
from heliograph_store.store import Store

MAX_BUCKETS = 2000


@dataclass(frozen=True, kw_only=True)
class TaskSample:
    """What a try used at one moment. Counters are totals since the try began; `shared`: its process ran others too.
    `key` is its place in `task_samples`."""

    task: int
    try_: int
    at: int
    host: str | None
    pid: int | None
    cpu_user: int | None
    cpu_system: int | None
    rss: int | None
    peak_rss: int | None
    vms: int | None
    threads: int | None
    children: int | None
    read_bytes: int | None
    write_bytes: int | None
    ctx_voluntary: int | None
    ctx_involuntary: int | None
    memory_percent: float | None
    status: str | None
    cpu_num: int | None
    shared: bool | None
    last: bool | None
    interval: float | None
    key: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class TaskPoint:
    """Samples of one try in one stretch of time: `rss` is the mean, `rss_peak` and the rest the highest."""

    try_: int
    at: int
    samples: int
    rss: float | None
    rss_peak: int | None
    peak_rss: int | None
    vms: int | None
    threads: int | None
    children: int | None
    cpu_user: int | None
    cpu_system: int | None
    read_bytes: int | None
    write_bytes: int | None
    shared: bool | None


@dataclass(frozen=True, kw_only=True)
class NodeSample:
    """What a node used at one moment; `gpus` has the fields of `messages.Gpu`."""

    host: str | None
    at: int
    cpu_count: int | None
    cpu_percent: float | None
    cpu_user: int | None
    cpu_system: int | None
    cpu_idle: int | None
    cpu_iowait: int | None
    load1: float | None
    load5: float | None
    load15: float | None
    memory_total: int | None
    memory_available: int | None
    memory_used: int | None
    swap_used: int | None
    disk_read: int | None
    disk_write: int | None
    disk_total: int | None
    disk_free: int | None
    net_received: int | None
    net_sent: int | None
    cgroup_memory_limit: int | None
    cgroup_memory_used: int | None
    cgroup_cpu_limit: float | None
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None
    processes: int | None
    gpus: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class NodePoint:
    """Samples of one node in one stretch of time: means, and with `_peak` the highest. Totals are the latest."""

    host: str | None
    at: int
    samples: int
    cpu_percent: float | None
    cpu_percent_peak: float | None
    load1: float | None
    load1_peak: float | None
    memory_used: float | None
    memory_used_peak: int | None
    memory_total: int | None
    swap_used_peak: int | None
    cgroup_memory_used_peak: int | None
    disk_read: int | None
    disk_write: int | None
    disk_free: int | None
    net_received: int | None
    net_sent: int | None
    cpu_pressure_peak: float | None
    memory_pressure_peak: float | None
    io_pressure_peak: float | None


def task_samples(
    store: Store,
    run_id: int,
    task: int,
    *,
    after: tuple[int, int, int, int] | None = None,
    limit: int = 1000,
) -> list[TaskSample]:
    """A task's samples as stored, by try and time; `after` is the `key` of the last one read.

    By the task's part of the primary key of `samples`.
    """
    m = samples.c
    key = (m.try_, m.at, m.host, m.pid)  # two processes of a try can be sampled in the same microsecond
    plain = [c for c in m if c.name not in {"run", "host", "status", "memory_milli"}]
    percent = (m.memory_milli / 1000).label("memory_percent")
    query = (
        select(*plain, percent, m.host.label("host_id"), hosts.c.name.label("host"), names.c.name.label("status"))
        .select_from(samples.outerjoin(hosts, hosts.c.id == m.host).outerjoin(names, names.c.id == m.status))
        .where(m.run == run_id, m.task == task)
        .order_by(*key)
        .limit(page_size(limit))
    )
    if after is not None:
        query = query.where(beyond(key, after))
    return [_task_sample(row) for row in fetch(store, query)]


def task_series(store: Store, run_id: int, task: int, *, buckets: int = 300) -> list[TaskPoint]:
    """A task's samples in at most `buckets` stretches of equal length over all its tries, peaks kept.

    By the task's part of the primary key of `samples`; grouped by the database, so that a task of a month costs no
    more to send than one of a minute.
    """
    m = samples.c
    chosen = (m.run == run_id) & (m.task == task)
    bucket = _bucket(store, samples, chosen, buckets)
    if bucket is None:
        return []
    highest = ("peak_rss", "vms", "threads", "children", "cpu_user", "cpu_system", "read_bytes", "write_bytes")
    query = (
        select(
            m.try_,
            func.max(m.at).label("at"),
            func.count().label("samples"),
            cast(func.avg(m.rss), Double).label("rss"),
            func.max(m.rss).label("rss_peak"),
            *(func.max(m[name]).label(name) for name in highest),
            func.max(m.flags.bitwise_and(IS_SHARED)).label("shared"),
        )
        .where(chosen)
        .group_by(m.try_, bucket)
        .order_by(m.try_, func.max(m.at))
    )
    return [TaskPoint(**{**row, "shared": flag(row["shared"])}) for row in fetch(store, query)]


def node_page(store: Store, run_id: int, host: str, *, after: int | None = None, limit: int = 1000) -> list[NodeSample]:
    """A node's samples as stored, by time; `after` is the time of the last one read.

    By the host's part of the primary key of `node_samples`.
    """
    m = node_samples.c
    plain = [c for c in m if c.name not in {"run", "host", "level"}]
    query = (
        select(*plain, hosts.c.name.label("host"))
        .select_from(node_samples.join(hosts, hosts.c.id == m.host))
        .where(m.run == run_id, m.host == _host(host))
        .order_by(m.at)
        .limit(page_size(limit))
    )
    if after is not None:
        query = query.where(m.at > after)
    return [NodeSample(**{**row, "gpus": _gpus(row["gpus"])}) for row in fetch(store, query)]


def node_series(
    store: Store,
    run_id: int,
    *,
    host: str | None = None,
    since: int | None = None,
    until: int | None = None,
    buckets: int = 300,
) -> list[NodePoint]:
    """Samples of the run's nodes (or of one) in at most `buckets` stretches of equal length, by host and time.

    By the run's (and host's) part of the primary key of `node_samples`; grouped by the database.
    """
    m = node_samples.c
    chosen = m.run == run_id
    if host is not None:
        chosen = chosen & (m.host == _host(host))
    if since is not None:
        chosen = chosen & (m.at >= since)
    if until is not None:
        chosen = chosen & (m.at <= until)
    bucket = _bucket(store, node_samples, chosen, buckets)
    if bucket is None:
        return []
    mean = ("cpu_percent", "load1", "memory_used")
    peak = (*mean, "swap_used", "cgroup_memory_used", "cpu_pressure", "memory_pressure", "io_pressure")
    totals = ("memory_total", "disk_read", "disk_write", "net_received", "net_sent")
    query = (
        select(
            hosts.c.name.label("host"),
            func.max(m.at).label("at"),
            func.count().label("samples"),
            *(cast(func.avg(m[name]), Double).label(name) for name in mean),
            *(func.max(m[name]).label(f"{name}_peak") for name in peak),
            *(func.max(m[name]).label(name) for name in totals),
            func.min(m.disk_free).label("disk_free"),
        )
        .select_from(node_samples.outerjoin(hosts, hosts.c.id == m.host))
        .where(chosen)
        .group_by(hosts.c.name, bucket)
        .order_by(hosts.c.name, func.max(m.at))
    )
    return [NodePoint(**row) for row in fetch(store, query)]


def _task_sample(row: dict[str, Any]) -> TaskSample:
    key = (row["try_"], row["at"], row.pop("host_id"), row["pid"])
    flags = row.pop("flags")
    known = {"pid": row["pid"] or None, "shared": bool(flags & IS_SHARED), "last": bool(flags & IS_LAST)}
    return TaskSample(**{**row, **known, "key": key})


def _bucket(store: Store, table: Table, chosen: ColumnElement[bool], buckets: int) -> ColumnElement[int] | None:
    """The number of the stretch of time in which a row lies, None when there are no rows."""
    at = table.c.at
    (span,) = fetch(store, select(func.min(at).label("first"), func.max(at).label("last")).where(chosen))
    if span["first"] is None:
        return None
    wanted = max(1, min(buckets, MAX_BUCKETS))
    width = (span["last"] - span["first"]) // wanted + 1
    return cast((at - span["first"]) // width, BigInteger)


def _host(name: str) -> ColumnElement[int]:
    return select(hosts.c.id).where(hosts.c.name == name).scalar_subquery()


def _gpus(text: str | None) -> list[dict[str, Any]]:
    return msgspec.json.decode(text, type=list[dict[str, Any]]) if text else []
