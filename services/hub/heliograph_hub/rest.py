"""The read-only API: runs, and what belongs to one.

In: GET requests of somebody who may read. Out: JSON in the models' shapes, paged by key, so that rows that arrive
while somebody pages shift nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel

from heliograph.messages import State
from heliograph_hub.asking import After, Limit, OfRun, Reader, TaskKey, Text
from heliograph_hub.cursors import decode_cursor, encode_cursor
from heliograph_hub.errors import Problem
from heliograph_hub.models import (
    AppItem,
    BlockItem,
    FailureItem,
    FileItem,
    NodeItem,
    NodeSampleItem,
    Page,
    RunDetail,
    RunItem,
    SampleItem,
    TaskDetail,
    TaskItem,
    TryItem,
)
from heliograph_store.read.files import file_page
from heliograph_store.read.liveness import Liveness, liveness
from heliograph_store.read.nodes import block_list, node_list
from heliograph_store.read.runs import Run, failure_counts, list_runs, run_summary
from heliograph_store.read.samples import node_page, task_samples
from heliograph_store.read.tasks import task_detail, task_page
from heliograph_store.read.tries import failed_tries, tries_of, try_page

router = APIRouter(tags=["data"])

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


@router.get("/v1/runs", summary="Runs, the newest first")
def runs(
    parts: Reader,
    search: Annotated[Text | None, Query(description="Part of id, name, owner, host or folder")] = None,
    liveness: Liveness | None = None,
    after: After = None,
    limit: Limit = 50,
) -> Page[RunItem]:
    now, lag = time.time_ns() // 1000, parts.lag.micros()
    rows = list_runs(
        parts.store.get(),
        search=search,
        state=liveness,
        now=now,
        lag=lag,
        after=decode_cursor("runs", after, tuple[int, int]),
        limit=limit + 1,
    )
    return _page("runs", rows, limit, lambda run: run.key, lambda run: run_item(run, now, lag))


@router.get("/v1/runs/{run}", summary="One run with the counts of its tasks")
def run(parts: Reader, of: OfRun) -> RunDetail:
    store, found = of
    summary = run_summary(store, found)
    return RunDetail(
        **dict(run_item(found, time.time_ns() // 1000, parts.lag.micros())),
        tasks=summary.tasks,
        states=named(summary.states),
        apps=[AppItem(app=app.app, total=app.total, states=named(app.states)) for app in summary.apps],
        failures=[FailureItem.model_validate(count) for count in failure_counts(store, found.id)],
    )


@router.get("/v1/runs/{run}/tasks", summary="Tasks of a run in the order of their keys")
def tasks(
    of: OfRun,
    *,
    app: Text | None = None,
    state: State | None = None,
    executor: Text | None = None,
    host: Text | None = None,
    after: After = None,
    limit: Limit = 100,
) -> Page[TaskItem]:
    store, found = of
    key = decode_cursor("tasks", after, tuple[int])
    rows = task_page(
        store,
        found.id,
        app=app,
        state=None if state is None else state.value,
        executor=executor,
        host=host,
        after=None if key is None else key[0],
        limit=limit + 1,
    )
    return _page("tasks", rows, limit, lambda task: (task.task,), TaskItem.model_validate)


@router.get("/v1/runs/{run}/tasks/{task}", summary="One task with its tries and neighbours")
def task(of: OfRun, task: TaskKey) -> TaskDetail:
    store, found = of
    detail = task_detail(store, found.id, task)
    if detail is None:
        raise Problem(404, "this run has no such task", what_to_do=f"see GET /v1/runs/{found.run}/tasks")
    return TaskDetail.model_validate(detail)


@router.get("/v1/runs/{run}/tasks/{task}/tries", summary="A task's tries in order")
def tries_of_task(of: OfRun, task: TaskKey) -> Page[TryItem]:
    store, found = of
    return Page[TryItem](items=[TryItem.model_validate(row) for row in tries_of(store, found.id, task)], next=None)


@router.get("/v1/runs/{run}/failures", summary="Tries that went wrong, by task")
def failures(of: OfRun, exc_type: Text | None = None, after: After = None, limit: Limit = 100) -> Page[TryItem]:
    store, found = of
    key = decode_cursor("failures", after, tuple[int, int])
    rows = failed_tries(store, found.id, exc_type=exc_type, after=key, limit=limit + 1)
    return _page("failures", rows, limit, lambda row: (row.task, row.try_), TryItem.model_validate)


@router.get("/v1/runs/{run}/tries", summary="Tries of a run, by task")
def tries(of: OfRun, after: After = None, limit: Limit = 100) -> Page[TryItem]:
    store, found = of
    rows = try_page(store, found.id, after=decode_cursor("tries", after, tuple[int, int]), limit=limit + 1)
    return _page("tries", rows, limit, lambda row: (row.task, row.try_), TryItem.model_validate)


@router.get("/v1/runs/{run}/tasks/{task}/samples", summary="A task's resource samples, by try and time")
def samples(of: OfRun, task: TaskKey, after: After = None, limit: Limit = 500) -> Page[SampleItem]:
    store, found = of
    key = decode_cursor("samples", after, tuple[int, int, int, int])
    rows = task_samples(store, found.id, task, after=key, limit=limit + 1)
    return _page("samples", rows, limit, lambda row: row.key, SampleItem.model_validate)


@router.get("/v1/runs/{run}/nodes", summary="The run's pools of workers, by host")
def nodes(of: OfRun, after: After = None, limit: Limit = 100) -> Page[NodeItem]:
    store, found = of
    rows = node_list(store, found.id, after=decode_cursor("nodes", after, tuple[int, int]), limit=limit + 1)
    return _page("nodes", rows, limit, lambda row: row.key, NodeItem.model_validate)


@router.get("/v1/runs/{run}/node-samples", summary="A node's resource samples, by time")
def node_samples(of: OfRun, host: Text, after: After = None, limit: Limit = 500) -> Page[NodeSampleItem]:
    store, found = of
    key = decode_cursor("node-samples", after, tuple[int])
    rows = node_page(store, found.id, host, after=None if key is None else key[0], limit=limit + 1)
    return _page("node-samples", rows, limit, lambda row: (row.at,), NodeSampleItem.model_validate)


@router.get("/v1/runs/{run}/blocks", summary="The run's batch jobs with their histories, by executor")
def blocks(of: OfRun, after: After = None, limit: Limit = 100) -> Page[BlockItem]:
    store, found = of
    key = decode_cursor("blocks", after, tuple[str, str])
    rows = sorted(block_list(store, found.id), key=lambda row: (row.executor, row.block))
    rest = rows if key is None else [row for row in rows if (row.executor, row.block) > key]
    return _page("blocks", rest, limit, lambda row: (row.executor, row.block), BlockItem.model_validate)


@router.get("/v1/runs/{run}/files", summary="Files that the run's watches found")
def files(of: OfRun, watch: Text | None = None, after: After = None, limit: Limit = 100) -> Page[FileItem]:
    store, found = of
    key = decode_cursor("files", after, tuple[int, str, int, int])
    rows = file_page(store, found.id, watch=watch, after=key, limit=limit + 1)
    return _page("files", rows, limit, lambda row: row.key, FileItem.model_validate)


def run_item(run: Run, now: int, lag: int) -> RunItem:
    values = {name: getattr(run, name) for name in RunItem.model_fields if name != "liveness"}
    return RunItem(**values, liveness=liveness(run, now, lag))


def _page(
    name: str, rows: Sequence[T], limit: int, key: Callable[[T], tuple[Any, ...]], item: Callable[[T], M]
) -> Page[M]:
    """The first `limit` rows; there is a next page when the store had one row more."""
    shown = rows[:limit]
    more = len(rows) > limit
    return Page[Any](items=[item(row) for row in shown], next=encode_cursor(name, key(shown[-1])) if more else None)


def named(states: Mapping[str | None, int]) -> dict[str, int]:
    """Counts by state, with a name for the tasks of which no state is known yet."""
    return {state or "unknown": count for state, count in states.items()}
