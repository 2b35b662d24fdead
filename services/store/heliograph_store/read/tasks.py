"""Tasks: pages of them by what one filters for, and one task with everything around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select

from heliograph_store.read.query import MAX_PAGE, beyond, fetch, flag, page_size, state_name, try_number
from heliograph_store.read.task_order import Filters, Key, Sort, task_keys
from heliograph_store.read.tries import Try, tries_of
from heliograph_store.schema import (
    DEPENDENCY,
    UNKNOWN_STATE,
    apps,
    edges,
    hosts,
    names,
    origins,
    split_progress,
    split_task,
    task_key,
    tasks,
    tries,
)
from heliograph_store.store import Store


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task and where its latest try is. `task` is the key, `number` what its program calls it. `since` and `took` are
    when the latest try began and how long it ran, by whatever tells."""

    task: int
    number: int
    app: str | None
    state: str | None
    try_: int | None
    executor: str | None
    host: str | None
    block: str | None
    is_join: bool | None
    memoize: bool | None
    from_memo: bool | None
    fail_count: int | None
    invoked: int | None
    returned: int | None
    began: int | None
    ended: int | None
    elapsed: int | None
    took: int | None
    peak_rss: int | None
    since: int | None


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A task at the other end of a dependency or a join."""

    task: int
    number: int
    app: str | None
    state: str | None


@dataclass(frozen=True, kw_only=True)
class TaskDetail:
    """One task whole. `joined` are the tasks it joined, by try; `joined_by` those that joined it."""

    task: Task
    origin: str
    parent: int | None
    fail_cost: float | None
    hashsum: str | None
    inputs: str | None
    outputs: str | None
    stdin: str | None
    stdout: str | None
    stderr: str | None
    resources: str | None
    tries: list[Try]
    depends_on: list[Neighbour]
    needed_by: list[Neighbour]
    joined: Mapping[int, list[Neighbour]]
    joined_by: list[Neighbour]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`task` waits for `depends_on`; `join_try` is None for a dependency, else the try that joined it."""

    task: int
    depends_on: int
    join_try: int | None


def task_page(
    store: Store,
    run_id: int,
    *,
    app: str | None = None,
    state: str | None = None,
    executor: str | None = None,
    host: str | None = None,
    min_took: int | None = None,
    max_took: int | None = None,
    text: str | None = None,
    sort: Sort = "task",
    descending: bool = False,
    newest_first: bool = False,
    after: Key | int | None = None,
    limit: int = 100,
) -> list[Task]:
    """Tasks of a run by what they are, and sorted by their key (which is the order of submission), by when their latest
    try began, or by its run time; tasks without that stand last. `after` is the `page_key` of the last one read.

    `executor` and `host` are those of the latest try, `min_took` and `max_took` (microseconds, both included) its run
    time; `text` stands in the app's name, paths, inputs, outputs or hashsum, or is the task's number. `newest_first`
    is `descending`.

    Served by an index: app, state and executor in any combination in any order; host by task; a range of run times by
    run time. Any other combination is read from the smallest of these sets and sorted when that set is small
    (`task_order.SMALL`), and else along the index of the sort, passing over what does not match. `text` has no index.
    """
    filters = Filters(
        app=app, state=state, executor=executor, host=host, min_took=min_took, max_took=max_took, text=text or None
    )
    place = (None, after) if isinstance(after, int) else after
    keys = task_keys(
        store,
        run_id,
        filters,
        sort=sort,
        descending=descending or newest_first,
        after=place,
        limit=page_size(limit),
    )
    return tasks_of(store, run_id, keys.tasks)


def tasks_of(store: Store, run_id: int, keys: Sequence[int]) -> list[Task]:
    """The tasks of these keys that there are, in the same order; by the primary key."""
    query = _query().where(tasks.c.run == run_id, tasks.c.task.in_(keys))
    found = {row["task"]: _task(row) for row in (fetch(store, query) if keys else [])}
    return [found[key] for key in keys if key in found]


def keys_of(store: Store, run_id: int, number: int) -> list[int]:
    """The keys that tasks of this number can have: one for each origin of the run."""
    rows = fetch(store, select(origins.c.idx).where(origins.c.run == run_id).order_by(origins.c.idx).limit(MAX_PAGE))
    return [task_key(row["idx"], number) for row in rows]


def page_key(task: Task, sort: Sort = "task") -> Key:
    """A task's place in `task_page`."""
    return (None if sort == "task" else task.since if sort == "began" else task.took, task.task)


def task_detail(store: Store, run_id: int, task: int) -> TaskDetail | None:
    """One task with its tries and its neighbours both ways, None when there is none.

    By primary keys, and `ix_edges_reverse` for what needs this task.
    """
    extra = ("parent", "fail_cost", "hashsum", "inputs", "outputs", "stdin", "stdout", "stderr", "resources")
    query = _query().add_columns(*(tasks.c[name] for name in extra))
    rows = fetch(store, query.where(tasks.c.run == run_id, tasks.c.task == task))
    if not rows:
        return None
    row = rows[0]
    rest = {name: row.pop(name) for name in extra}
    joined: dict[int, list[Neighbour]] = {}
    for try_, neighbour in _neighbours(store, run_id, edges.c.depends_on, edges.c.task == task):
        joined.setdefault(try_, []).append(neighbour)
    waiting = _neighbours(store, run_id, edges.c.task, edges.c.depends_on == task)
    return TaskDetail(
        task=_task(row),
        origin=_origin(store, run_id, task),
        **rest,
        tries=tries_of(store, run_id, task),
        depends_on=joined.pop(DEPENDENCY, []),
        needed_by=[neighbour for try_, neighbour in waiting if try_ == DEPENDENCY],
        joined=joined,
        joined_by=[neighbour for try_, neighbour in waiting if try_ != DEPENDENCY],
    )


def task_edges(
    store: Store, run_id: int, *, after: tuple[int, int, int] | None = None, limit: int = 10_000
) -> list[Edge]:
    """Dependencies and joins of a run, for its graph; `after` is (task, join_try or -1, depends_on) of the last one.

    By the run's part of the primary key of `edges`.
    """
    key = (edges.c.task, edges.c.join_try, edges.c.depends_on)
    query = select(*key).where(edges.c.run == run_id).order_by(*key).limit(page_size(limit))
    if after is not None:
        query = query.where(beyond(key, after))
    return [
        Edge(task=row["task"], depends_on=row["depends_on"], join_try=None if row["join_try"] < 0 else row["join_try"])
        for row in fetch(store, query)
    ]


def _query() -> Select[Any]:
    block = names.alias("b")
    latest = and_(
        tries.c.run == tasks.c.run,
        tries.c.task == tasks.c.task,
        tries.c.try_ == try_number(tasks.c.progress),
    )
    joined = (
        tasks.outerjoin(tries, latest)
        .outerjoin(apps, apps.c.id == tasks.c.app)
        .outerjoin(names, names.c.id == tasks.c.runs_on)
        .outerjoin(hosts, hosts.c.id == tries.c.host)
        .outerjoin(block, block.c.id == tries.c.block)
    )
    t, y = tasks.c, tries.c
    return select(
        t.task,
        t.progress,
        apps.c.name.label("app"),
        names.c.name.label("executor"),
        hosts.c.name.label("host"),
        block.c.name.label("block"),
        t.is_join,
        t.memoize,
        t.from_memo,
        t.fail_count,
        t.invoked,
        t.returned,
        func.coalesce(y.began, y.running).label("began"),
        func.coalesce(y.ended, y.running_ended).label("ended"),
        y.elapsed,
        t.took,
        y.peak_rss,
        t.began.label("since"),
    ).select_from(joined)


def _task(row: dict[str, Any]) -> Task:
    progress = row.pop("progress")
    known = progress >= 0
    for name in ("is_join", "memoize", "from_memo"):
        row[name] = flag(row[name])
    return Task(
        number=split_task(row["task"])[1],
        state=state_name(progress & UNKNOWN_STATE) if known else None,
        try_=split_progress(progress)[0] if known else None,
        **row,
    )


def _neighbours(
    store: Store, run_id: int, other: ColumnElement[int], condition: ColumnElement[bool]
) -> list[tuple[int, Neighbour]]:
    query = (
        select(edges.c.join_try, other.label("other"), tasks.c.progress, apps.c.name)
        .select_from(
            edges.outerjoin(tasks, (tasks.c.run == edges.c.run) & (tasks.c.task == other)).outerjoin(
                apps, apps.c.id == tasks.c.app
            )
        )
        .where(edges.c.run == run_id, condition)
        .order_by(edges.c.join_try, other)
    )
    return [
        (
            row["join_try"],
            Neighbour(
                task=row["other"],
                number=split_task(row["other"])[1],
                app=row["name"],
                state=state_name((row["progress"] if row["progress"] is not None else -1) & UNKNOWN_STATE),
            ),
        )
        for row in fetch(store, query)
    ]


def _origin(store: Store, run_id: int, task: int) -> str:
    query = select(origins.c.name).where(origins.c.run == run_id, origins.c.idx == split_task(task)[0])
    return next((str(row["name"]) for row in fetch(store, query)), "")
