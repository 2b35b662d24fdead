"""One task by itself, and page by page what stands around it: dependencies and joins, in both directions.

In: a `Store`, a run, a task's key. Out: frozen values. A task of a hundred thousand dependencies costs no more than one
page of them. (`tasks.task_detail` gives all of it in one piece.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, and_, func, select

from heliograph_store.read.query import beyond, fetch, flag, page_size, state_name
from heliograph_store.schema import (
    DEPENDENCY,
    UNKNOWN_STATE,
    apps,
    edges,
    names,
    origins,
    split_progress,
    split_task,
    tasks,
)
from heliograph_store.store import Store

Direction = Literal["depends_on", "needed_by", "joined", "joined_by"]
"""The tasks that this one waits for; those that wait for it; those that it joined; those that joined it."""
DIRECTIONS: Final[tuple[Direction, ...]] = ("depends_on", "needed_by", "joined", "joined_by")
COUNTED: Final = 10_000
"""No count of neighbours goes further."""


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """What is known of a task itself; `executor` is the label that was asked for, `origin` who allocated `number`."""

    task: int
    number: int
    origin: str
    app: str | None
    state: str | None
    try_: int | None
    executor: str | None
    is_join: bool | None
    memoize: bool | None
    from_memo: bool | None
    fail_count: int | None
    fail_cost: float | None
    parent: int | None
    invoked: int | None
    returned: int | None
    hashsum: str | None
    inputs: str | None
    outputs: str | None
    stdin: str | None
    stdout: str | None
    stderr: str | None
    resources: str | None


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A task at the other end of an edge; `join_try` is the try that joined, None for a dependency."""

    task: int
    number: int
    app: str | None
    state: str | None
    join_try: int | None

    @property
    def key(self) -> tuple[int, int]:
        """Its place in `neighbours`."""
        return (DEPENDENCY if self.join_try is None else self.join_try, self.task)


def task_record(store: Store, run_id: int, task: int) -> TaskRecord | None:
    """One task, None when there is none; by primary keys."""
    t = tasks.c
    plain = (
        "task", "is_join", "memoize", "from_memo", "fail_count", "fail_cost", "parent", "invoked", "returned",
        "hashsum", "inputs", "outputs", "stdin", "stdout", "stderr", "resources",
    )  # fmt: skip
    query = (
        select(
            *(t[name] for name in plain),
            t.progress,
            apps.c.name.label("app"),
            names.c.name.label("executor"),
            func.coalesce(origins.c.name, "").label("origin"),
        )
        .select_from(
            tasks.outerjoin(apps, apps.c.id == t.app)
            .outerjoin(names, names.c.id == t.executor)
            .outerjoin(origins, and_(origins.c.run == t.run, origins.c.idx == split_task(task)[0]))
        )
        .where(t.run == run_id, t.task == task)
    )
    return next((_record(row) for row in fetch(store, query)), None)


def neighbours(
    store: Store,
    run_id: int,
    task: int,
    direction: Direction,
    *,
    after: tuple[int, int] | None = None,
    limit: int = 50,
) -> list[Beside]:
    """Tasks at the other ends of a task's edges; `after` is the `key` of the last one read.

    By the task's part of the primary key of `edges`, or, for those that wait for it, of its index on `depends_on`.
    """
    other, chosen = _chosen(run_id, task, direction)
    # One kind of edge is in order by its other end. Among joins, `+ 0` keeps SQLite from looking for that through the
    # whole run.
    single = direction in {"depends_on", "needed_by"}
    key = (other,) if single else (edges.c.join_try, other + 0)
    query = (
        select(edges.c.join_try, other.label("other"), tasks.c.progress, apps.c.name.label("app"))
        .select_from(
            edges.outerjoin(tasks, and_(tasks.c.run == edges.c.run, tasks.c.task == other)).outerjoin(
                apps, apps.c.id == tasks.c.app
            )
        )
        .where(chosen)
        .order_by(*key)
        .limit(page_size(limit))
    )
    if after is not None:
        query = query.where(beyond(key, after[-len(key) :]))
    return [_beside(row) for row in fetch(store, query)]


def neighbour_count(store: Store, run_id: int, task: int, direction: Direction) -> int:
    """How many there are, as far as `COUNTED`; by the same keys."""
    _, chosen = _chosen(run_id, task, direction)
    some = select(edges.c.run).where(chosen).limit(COUNTED).subquery()
    return int(fetch(store, select(func.count().label("n")).select_from(some))[0]["n"])


def _chosen(run_id: int, task: int, direction: Direction) -> tuple[ColumnElement[int], ColumnElement[bool]]:
    e = edges.c
    forward = direction in {"depends_on", "joined"}
    kind = e.join_try == DEPENDENCY if direction in {"depends_on", "needed_by"} else e.join_try > DEPENDENCY
    here, other = (e.task, e.depends_on) if forward else (e.depends_on, e.task)
    return other, and_(e.run == run_id, here == task, kind)


def _record(row: dict[str, Any]) -> TaskRecord:
    progress = row.pop("progress")
    known = progress >= 0
    for name in ("is_join", "memoize", "from_memo"):
        row[name] = flag(row[name])
    return TaskRecord(
        number=split_task(row["task"])[1],
        state=state_name(progress & UNKNOWN_STATE) if known else None,
        try_=split_progress(progress)[0] if known else None,
        **row,
    )


def _beside(row: dict[str, Any]) -> Beside:
    progress = row["progress"] if row["progress"] is not None else -1
    return Beside(
        task=row["other"],
        number=split_task(row["other"])[1],
        app=row["app"],
        state=state_name(progress & UNKNOWN_STATE) if progress >= 0 else None,
        join_try=None if row["join_try"] == DEPENDENCY else row["join_try"],
    )
