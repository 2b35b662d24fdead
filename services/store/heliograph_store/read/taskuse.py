"""What tries used over time, from their samples: of a task, of an app, or of a whole run.

In: a `Store`, a run, and how many stretches of time are wanted. Out: one frozen point a stretch that has samples. CPU
is in cores, memory in bytes, rates in bytes per second; times are microseconds UTC, unknown is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Double, Select, case, cast, func, select

from heliograph_store.read.grid import NOTHING, SECOND, Grid, Series, Window, grid_over, real, sample_interval, whole
from heliograph_store.read.query import fetch
from heliograph_store.schema import IS_SHARED, apps, samples, tasks, tries
from heliograph_store.store import Store

MANY_SAMPLES: Final = 40_000
"""Samples up to which a run's apps are summed over time; beyond, that would keep a reader waiting."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """What tries used in one stretch: cores busy, bytes resident, bytes per second that their processes read and wrote.

    Of an app these are sums over the tries at a time, of a task its own. `cpu_high` and `memory_high` are the highest
    of any one try between two samples and at one.
    """

    at: int
    samples: int
    cpu: float | None
    cpu_high: float | None
    memory: float | None
    memory_high: int | None
    read: float | None
    write: float | None


def task_use(store: Store, run_id: int, task: int, *, buckets: int = 300) -> Series:
    """What a task used over time, all its tries; points are `Use`. By the task's part of `samples`' primary key."""
    chosen = (samples.c.run == run_id) & (samples.c.task == task)
    return _series(store, run_id, chosen, buckets, step=1, alone=True)


def app_use(store: Store, run_id: int, app: str | None = None, *, buckets: int = 300) -> Series | None:
    """What the tries of an app (None: of all apps) used over time, summed; points are `Use`.

    Every sample stands for the time since the one before it, or since its try began. Samples of shared processes are
    left out, because they show the process and not the try. Tries too short to be sampled are not in it. None when the
    run has more than `MANY_SAMPLES` samples. By the run's part of the primary key of `samples`, with `app` over that
    of `tasks`.
    """
    if _more_than(store, run_id, MANY_SAMPLES):
        return None
    chosen = (samples.c.run == run_id) & (samples.c.flags.bitwise_and(IS_SHARED) == 0)
    if app is not None:
        of_app = select(apps.c.id).where(apps.c.name == app).scalar_subquery()
        chosen = chosen & samples.c.task.in_(select(tasks.c.task).where(tasks.c.run == run_id, tasks.c.app == of_app))
    # Whole intervals, so that each stretch holds the same number of samples of a try that runs through it.
    return _series(store, run_id, chosen, buckets, step=sample_interval(store, run_id), alone=False)


def _series(store: Store, run_id: int, chosen: ColumnElement[bool], buckets: int, *, step: int, alone: bool) -> Series:
    grid = grid_over(store, samples, chosen, buckets, step)
    if grid is None:
        return NOTHING
    points = [_use(row, grid, alone) for row in fetch(store, _query(grid, chosen))]
    return Series(width=grid.width, gap=grid.gap(sample_interval(store, run_id), idle=False), points=points)


def _more_than(store: Store, run_id: int, many: int) -> bool:
    some = select(samples.c.at).where(samples.c.run == run_id).limit(many + 1).subquery()
    return int(fetch(store, select(func.count().label("n")).select_from(some))[0]["n"]) > many


def _query(grid: Grid, chosen: ColumnElement[bool]) -> Select[Any]:
    """By stretch: growth of the totals and memory over time, each sample against the one before it of its try."""
    m = samples.c
    window = Window((m.task, m.try_), m.at)
    totals = {"cpu": m.cpu_user + func.coalesce(m.cpu_system, 0), "read": m.read_bytes, "write": m.write_bytes}
    began = func.coalesce(tries.c.began, tries.c.running)
    of_try = (tries.c.run == m.run) & (tries.c.task == m.task) & (tries.c.try_ == m.try_)
    pair = (
        select(
            grid.of(m.at).label("bucket"),
            m.rss,
            (m.at - func.coalesce(window.before(m.at), began, m.at)).label("elapsed"),
            *((total - func.coalesce(window.before(total), 0)).label(name) for name, total in totals.items()),
        )
        .select_from(samples.outerjoin(tries, of_try))
        .where(chosen)
        .subquery()
        .c
    )
    ran = case((pair.elapsed > 0, pair.elapsed))  # two clocks can disagree about what came first
    return (
        select(
            pair.bucket,
            func.count().label("samples"),
            func.sum(ran).label("elapsed"),
            *(func.sum(pair[name]).label(name) for name in totals),
            func.sum(cast(pair.rss, Double) * ran).label("memory"),
            func.max(pair.rss).label("memory_high"),
            func.max(cast(pair.cpu, Double) / ran).label("cpu_high"),
        )
        .group_by(pair.bucket)
        .order_by(pair.bucket)
    )


def _use(row: dict[str, Any], grid: Grid, alone: bool) -> Use:
    """Of a task what it used while it was measured, of an app what all its tries together used in the stretch."""
    bucket = row["bucket"]
    over = (whole(row["elapsed"]) or 0) if alone else grid.covered(bucket)

    def a_microsecond(name: str) -> float | None:
        value = real(row[name])
        return value / over if value is not None and over else None

    def a_second(name: str) -> float | None:
        value = a_microsecond(name)
        return None if value is None else value * SECOND

    return Use(
        at=grid.middle(bucket),
        samples=row["samples"],
        cpu=a_microsecond("cpu"),
        cpu_high=real(row["cpu_high"]),
        memory=a_microsecond("memory"),
        memory_high=row["memory_high"],
        read=a_second("read"),
        write=a_second("write"),
    )
