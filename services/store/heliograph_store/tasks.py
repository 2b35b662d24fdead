"""Tasks and tries while records are folded into them.

In: a row (fresh, or as stored) and one record. Out: the row changed, by rules that do not depend on order (see `merge`;
these two tables take most records, so their rules are written out instead of looked up). Names are texts here, ids
only in the database.
"""

from __future__ import annotations

import json
from operator import attrgetter
from typing import Any, Final

import msgspec

from heliograph.messages import RANK, State, TaskDescribed, TaskEnded, TaskRunning, TaskState
from heliograph_store.merge import larger, order, smaller
from heliograph_store.schema import RANK_BITS, STATES, UNKNOWN_STATE
from heliograph_store.values import finite, is_time

RUNNING: Final = RANK[State.RUNNING.value]
RUNNING_ENDED: Final = RANK[State.RUNNING_ENDED.value]


class TaskRow(msgspec.Struct, gc=False):
    """A row of `tasks` without its run; fields in the order of the columns. The last ones are `derive`'s."""

    task: int
    app: str | None = None
    progress: int = -1
    described: int | None = None
    stamps: str | None = None
    executor: str | None = None
    is_join: int | None = None
    memoize: int | None = None
    from_memo: int | None = None
    parent: int | None = None
    invoked: int | None = None
    returned: int | None = None
    fail_count: int | None = None
    fail_cost: float | None = None
    hashsum: str | None = None
    inputs: str | None = None
    outputs: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    resources: str | None = None
    state: int = UNKNOWN_STATE
    runs_on: str | None = None
    began: int | None = None
    took: int | None = None


class TryRow(msgspec.Struct, gc=False):
    """A row of `tries` without its run; fields in the order of the columns."""

    task: int
    try_: int
    state: int = UNKNOWN_STATE
    pending: int | None = None
    launched: int | None = None
    running: int | None = None
    running_ended: int | None = None
    joining: int | None = None
    fail_retryable: int | None = None
    memo_done: int | None = None
    exec_done: int | None = None
    dep_fail: int | None = None
    failed: int | None = None
    launched_at: int | None = None
    returned_at: int | None = None
    executor: str | None = None
    began: int | None = None
    host: str | None = None
    pid: int | None = None
    create_time: int | None = None
    thread: int | None = None
    worker: str | None = None
    pool: str | None = None
    block: str | None = None
    shared: int | None = None
    ended: int | None = None
    ok: int | None = None
    elapsed: int | None = None
    exit: int | None = None
    cpu_user: int | None = None
    cpu_system: int | None = None
    peak_rss: int | None = None
    peak_exact: int | None = None
    failure: str | None = None
    wrong: int | None = None
    since: int | None = None
    octave: int | None = None


TASK_COLUMNS: Final = TaskRow.__struct_fields__
TRY_COLUMNS: Final = TryRow.__struct_fields__

_DESCRIBED: Final = (
    "app", "executor", "is_join", "memoize", "parent", "inputs", "outputs", "stdin", "stdout", "stderr", "resources"
)  # fmt: skip
_described_values = attrgetter(*_DESCRIBED)
_PROCESS: Final = attrgetter("host", "pid", "create_time", "thread", "worker", "pool", "block", "shared")
_ENDING: Final = attrgetter("ok", "elapsed", "exit", "cpu_user", "cpu_system", "peak_rss", "peak_exact")


def describe(row: TaskRow, record: TaskDescribed, parent: int | None) -> None:
    """Take over what a task is: of every field the latest known value stays (the larger one of equal times)."""
    known = (
        record.app or None, record.executor or None, int(record.join), int(record.memoize), parent, record.inputs,
        record.outputs, record.stdin, record.stdout, record.stderr, record.resources,
    )  # fmt: skip
    at = record.at
    if record.hashsum is not None:
        row.hashsum = larger(row.hashsum, record.hashsum)
    if record.invoked is not None and is_time(record.invoked):
        row.invoked = smaller(row.invoked, record.invoked)
    if row.described is None:
        row.described = at
        (
            row.app, row.executor, row.is_join, row.memoize, row.parent, row.inputs,
            row.outputs, row.stdin, row.stdout, row.stderr, row.resources,
        ) = known  # fmt: skip
    elif row.described != at or row.stamps is not None or _described_values(row) != known:
        _describe_again(row, known, at)


def _describe_again(row: TaskRow, known: tuple[Any, ...], at: int) -> None:
    assert row.described is not None  # noqa: S101
    older = json.loads(row.stamps) if row.stamps else {}
    latest = max(row.described, at)
    stamps = {}
    for field, value in zip(_DESCRIBED, known, strict=True):
        had = getattr(row, field)
        stamp = older.get(field, row.described) if had is not None else -1
        if value is not None and (at, value) > (stamp, had):
            setattr(row, field, value)
            stamp = at
        if stamp not in {-1, latest}:
            stamps[field] = stamp
    row.described = latest
    row.stamps = json.dumps(stamps, separators=(",", ":"), sort_keys=True) if stamps else None


def enter(task: TaskRow, row: TryRow, rank: int, at: int) -> None:
    """The try was seen in a state: keep its first time, the try's highest rank and the task's furthest progress."""
    state = STATES[rank]
    seen = getattr(row, state)
    if seen is None or at < seen:
        setattr(row, state, at)
    if rank > row.state or row.state == UNKNOWN_STATE:
        row.state = rank
    progress = row.try_ << RANK_BITS | rank
    if progress > task.progress:  # noqa: PLR1730 — once a record, and max() costs four times as much
        task.progress = progress


def change(task: TaskRow, row: TryRow, record: TaskState) -> None:
    """Take over what the submitting process told with a state (the state itself is `enter`'s)."""
    # Most fields of most records are None: that is asked first, because calls are what costs here.
    if record.executor:
        row.executor = larger(row.executor, record.executor)
    if record.launched is not None and is_time(record.launched):
        row.launched_at = smaller(row.launched_at, record.launched)
    if record.returned is not None and is_time(record.returned):
        # A try that joins others is back long before its task is, and both are told as `returned`.
        row.returned_at = smaller(row.returned_at, record.returned)
        task.returned = larger(task.returned, record.returned)
    if record.invoked is not None and is_time(record.invoked):
        task.invoked = smaller(task.invoked, record.invoked)
    if record.fail_count is not None:
        task.fail_count = larger(task.fail_count, record.fail_count)
    if record.fail_cost is not None:
        task.fail_cost = larger(task.fail_cost, finite(record.fail_cost))
    if record.from_memo is not None:
        task.from_memo = larger(task.from_memo, int(record.from_memo))
    if record.hashsum is not None:
        task.hashsum = larger(task.hashsum, record.hashsum)


def run(row: TryRow, record: TaskRunning) -> None:
    """Take over in which process a try ran: the latest one, should there have been two."""
    if record.executor:
        row.executor = larger(row.executor, record.executor)
    values = (
        record.host, record.pid, record.create_time, record.thread,
        record.worker, record.pool, record.block, int(record.shared),
    )  # fmt: skip
    if row.began is None or record.at > row.began or (record.at == row.began and _above(values, _PROCESS(row))):
        row.began = record.at
        (row.host, row.pid, row.create_time, row.thread, row.worker, row.pool, row.block, row.shared) = values


def end(row: TryRow, record: TaskEnded) -> None:
    """Take over how a try ended at the worker: the latest ending. It also tells where, when nothing else did."""
    at = record.at
    if row.began is None:
        place = (record.host, record.pid)
        before = row.ended
        if before is None or at > before or (at == before and _above(place, (row.host, row.pid))):
            row.host, row.pid = place
    values = (
        int(record.ok), record.elapsed, record.exit, record.cpu_user,
        record.cpu_system, record.peak_rss, int(record.peak_exact),
    )  # fmt: skip
    if row.ended is None or at > row.ended or (at == row.ended and _above(values, _ENDING(row))):
        row.ended = at
        (row.ok, row.elapsed, row.exit, row.cpu_user, row.cpu_system, row.peak_rss, row.peak_exact) = values


def _above(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    return [order(v) for v in a] > [order(v) for v in b]
