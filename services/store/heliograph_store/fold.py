"""Folding a batch's records of one run into rows.

In: decoded records, and the stored rows of the tasks that they concern. Out: `RunFold`, which holds the changed rows
with names as texts. Nothing here touches the database, and a record that cannot be used raises `Unusable` without
leaving a trace.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from heliograph.messages import (
    RANK,
    AgentStatus,
    BlockState,
    Dropped,
    FileCallback,
    FileFound,
    JournalClosed,
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    TaskDescribed,
    TaskEnded,
    TaskRecord,
    TaskRunning,
    TaskSample,
    TaskState,
    WatchClosed,
    WatchOpened,
)
from heliograph_store import tasks
from heliograph_store.merge import RULES, Row, merge
from heliograph_store.schema import DEPENDENCY, IS_LAST, IS_SHARED, NUMBER_BITS, NUMBER_MASK, RAW
from heliograph_store.sql import Values
from heliograph_store.tasks import RUNNING, RUNNING_ENDED, TaskRow, TryRow
from heliograph_store.values import MAX_TIME, finite, thousandths

MAX_TRY: Final = (1 << 31) - 1
MAX_TOLD: Final = 1 << 40
"""Most records that a journal is believed to have dropped: sums over many journals must stay within 64 bits."""
DAY: Final = 86_400


class Unusable(ValueError):
    """A record that no row can be made of; the text says why."""


class Late(Unusable):
    """A sample from before the run's horizon: its time was thinned already."""


@dataclass
class RunFold:
    """Rows of one run while records are folded in. `origins` must hold the index of every origin that comes."""

    run: str
    origins: Mapping[str, int]
    id: int = 0
    """What the database calls the run."""
    horizon: int | None = None
    tasks: dict[int, TaskRow] = field(default_factory=dict)
    tries: dict[tuple[int, int], TryRow] = field(default_factory=dict)
    edges: set[tuple[int, int, int]] = field(default_factory=set)
    samples: list[Values] = field(default_factory=list)
    node_samples: list[Values] = field(default_factory=list)
    """Rows of the tables of that name; texts that `host_ids` and `name_ids` do not hold stand where ids will."""
    host_ids: Mapping[str, int] = field(default_factory=dict)
    name_ids: Mapping[str, int] = field(default_factory=dict)
    new_hosts: set[str] = field(default_factory=set)
    new_names: set[str] = field(default_factory=set)
    """Texts in samples that have no id yet."""
    rows: dict[str, dict[tuple[Any, ...], Row]] = field(default_factory=dict)
    """Tables that are written now and then: table → key → row, to be merged by `merge.RULES`."""
    first_seen: int = MAX_TIME
    last_seen: int = 0

    def add(self, record: Record) -> None:
        """Fold one record in. Raises Unusable."""
        for _, error in self.add_all((record,)):
            raise error

    def add_all(self, records: Sequence[Record]) -> list[tuple[int, Unusable]]:
        """Fold these in; returns where those stand that could not be, and why."""
        unusable, handlers = [], _HANDLERS
        first, last = self.first_seen, self.last_seen
        for index, record in enumerate(records):
            at = record.at
            try:
                handler = handlers.get(type(record), _not_stored) if 0 < at < MAX_TIME else _no_time
                handler(self, record)
            except Unusable as error:
                unusable.append((index, error))
                continue
            if at < first:  # noqa: PLR1730 — once a record, and min() costs four times as much
                first = at
            if at > last:  # noqa: PLR1730
                last = at
        self.first_seen, self.last_seen = first, last
        return unusable

    def put(self, table: str, key: tuple[Any, ...], row: Row) -> None:
        rows = self.rows.setdefault(table, {})
        had = rows.get(key)
        rows[key] = row if had is None else merge(had, row, RULES[table])

    def key(self, record: TaskRecord) -> int:
        number = record.number
        if not 0 <= number <= NUMBER_MASK:
            raise Unusable(f"task number {number} is out of range")
        return self.origins[record.origin] << NUMBER_BITS | number

    def others(self, record: TaskRecord, numbers: list[int]) -> list[int]:
        """Keys of other tasks of the record's origin."""
        base = self.origins[record.origin] << NUMBER_BITS
        if numbers and not 0 <= min(numbers) <= max(numbers) <= NUMBER_MASK:
            raise Unusable("a number of another task is out of range")
        return [base | number for number in numbers]

    def task(self, key: int) -> TaskRow:
        row = self.tasks.get(key)
        if row is None:
            row = self.tasks[key] = TaskRow(key)
        return row

    def try_(self, key: int, number: int) -> TryRow:
        row = self.tries.get((key, number))
        if row is None:
            row = self.tries[(key, number)] = TryRow(key, number)
        return row


# -- tasks -----------------------------------------------------------------------------------------------------------


def _described(fold: RunFold, record: TaskDescribed) -> None:
    key = fold.key(record)
    depends = fold.others(record, record.depends)
    parent = None if record.parent is None else fold.others(record, [record.parent])[0]
    tasks.describe(fold.task(key), record, parent)
    for other in depends:
        fold.edges.add((key, DEPENDENCY, other))


def _state(fold: RunFold, record: TaskState) -> None:
    rank = RANK.get(record.state)
    if rank is None:
        raise Unusable(f"unknown state {record.state[:64]!r}")
    key, number = fold.key(record), record.try_
    if not 0 <= number <= MAX_TRY:
        _try_number(number)
    joins = fold.others(record, record.joins) if record.joins else None
    task = fold.tasks.get(key) or fold.task(key)
    row = fold.tries.get((key, number)) or fold.try_(key, number)
    tasks.enter(task, row, rank, record.at)
    tasks.change(task, row, record)
    if joins:
        fold.edges.update((key, number, other) for other in joins)
    if record.fail_history:
        fold.put("failures", (key, number), {"history": record.fail_history})


def _running(fold: RunFold, record: TaskRunning) -> None:
    key, number = fold.key(record), _try_number(record.try_)
    row = fold.try_(key, number)
    tasks.enter(fold.task(key), row, RUNNING, record.at)
    tasks.run(row, record)


def _ended(fold: RunFold, record: TaskEnded) -> None:
    key, number = fold.key(record), _try_number(record.try_)
    row = fold.try_(key, number)
    tasks.enter(fold.task(key), row, RUNNING_ENDED, record.at)
    tasks.end(row, record)
    if not record.ok or record.exc_type:
        failure = {
            "at": record.at,
            "exc_type": record.exc_type,
            "exc_message": record.exc_message,
            "exc_place": record.exc_place,
            "traceback": record.traceback,
        }
        fold.put("failures", (key, number), failure)


def _try_number(number: int) -> int:
    if not 0 <= number <= MAX_TRY:
        raise Unusable(f"try number {number} is out of range")
    return number


def _no_time(_fold: RunFold, record: Record) -> None:
    raise Unusable(f"time {record.at} is no time in microseconds since 1970")


def _not_stored(_fold: RunFold, record: Record) -> None:
    raise Unusable(f"{type(record).__name__} is not stored by this version")


# -- samples ---------------------------------------------------------------------------------------------------------


def _sample(fold: RunFold, r: TaskSample) -> None:
    # Most records are samples: `key` and `finite` are written out here, because calls are what costs.
    task, number, at, interval = r.number, r.try_, r.at, r.interval
    if not 0 <= task <= NUMBER_MASK or not 0 <= number <= MAX_TRY:
        fold.key(r)
        _try_number(number)
    if fold.horizon is not None:
        _not_late(fold, at)
    host = fold.host_ids.get(r.host) or _new(r.host, fold.new_hosts)
    status = None if r.status is None else fold.name_ids.get(r.status) or _new(r.status, fold.new_names)
    fold.samples.append(
        (
            fold.id, fold.origins[r.origin] << NUMBER_BITS | task, number, at, host, r.pid,
            (IS_LAST if r.last else 0) | (IS_SHARED if r.shared else 0), r.cpu_user, r.cpu_system, r.rss, r.peak_rss,
            r.vms, r.threads, r.children, r.read_bytes, r.write_bytes, r.ctx_voluntary, r.ctx_involuntary,
            thousandths(r.memory_percent), status, r.cpu_num, interval if interval - interval == 0 else None,
        )
    )  # fmt: skip


def _node_sample(fold: RunFold, r: NodeSample) -> None:
    _not_late(fold, r.at)
    host = fold.host_ids.get(r.host) or _new(r.host, fold.new_hosts)
    gpus = json.dumps([_gpu(gpu) for gpu in r.gpus], separators=(",", ":")) if r.gpus else None
    fold.node_samples.append(
        (
            fold.id, host, r.at, RAW, r.cpu_count, finite(r.cpu_percent), r.cpu_user, r.cpu_system, r.cpu_idle,
            r.cpu_iowait, finite(r.load1), finite(r.load5), finite(r.load15), r.memory_total, r.memory_available,
            r.memory_used, r.swap_used, r.disk_read, r.disk_write, r.disk_total, r.disk_free, r.net_received,
            r.net_sent, r.cgroup_memory_limit, r.cgroup_memory_used, finite(r.cgroup_cpu_limit),
            finite(r.cpu_pressure), finite(r.memory_pressure), finite(r.io_pressure), gpus, r.processes,
        )
    )  # fmt: skip


def _new(text: str, texts: set[str]) -> str:
    texts.add(text)
    return text


def _gpu(gpu: msgspec.Struct) -> dict[str, Any]:
    values = msgspec.structs.asdict(gpu)
    return {name: finite(v) if isinstance(v, float) else v for name, v in values.items() if v is not None}


def _not_late(fold: RunFold, at: int) -> None:
    if fold.horizon is not None and at < fold.horizon:
        raise Late("sample from before the run's horizon, which was thinned already")


# -- control ---------------------------------------------------------------------------------------------------------


def _run_started(fold: RunFold, r: RunStarted) -> None:
    row = _some(r, RULES["runs"].groups[0].columns)
    row |= {"started": r.at, "tags": _json(r.tags) if r.tags else None, "sample_interval": finite(r.sample_interval)}
    if abs(r.utc_offset) > DAY:
        row["utc_offset"] = None
    fold.put("runs", (), row | {"lease_until": _until(r.at, r.lease)})


def _run_ended(fold: RunFold, r: RunEnded) -> None:
    fold.put("runs", (), _some(r, ("completed", "failed", "exit")) | {"ended": r.at})


def _heartbeat(fold: RunFold, r: RunHeartbeat) -> None:
    fold.put("runs", (), {"lease_until": _until(r.at, r.lease)})


def _until(at: int, lease: int) -> int:
    return at + min(max(lease, 0), MAX_TIME)


def _node_seen(fold: RunFold, r: NodeSeen) -> None:
    row = _some(r, RULES["nodes"].groups[0].columns) | {"first_seen": r.at, "last_seen": r.at}
    fold.put("nodes", (r.host, r.pool), row)


def _block_state(fold: RunFold, r: BlockState) -> None:
    fold.put("block_states", (r.executor, r.block, r.at, r.status), {"job_id": r.job_id})


def _agent_status(fold: RunFold, r: AgentStatus) -> None:
    rules = RULES["agents"]
    row = _some(r, (*rules.groups[0].columns, *rules.largest)) | {"first_seen": r.at, "last_seen": r.at}
    fold.put("agents", (r.agent,), row)


def _dropped(fold: RunFold, r: Dropped) -> None:
    counts = {name: min(max(getattr(r, name), 0), MAX_TOLD) for name in ("samples", "states", "control")}
    row = {**counts, "reason": r.reason or None, "dropped_at": r.at, "host": r.host or None}
    fold.put("journals", (r.journal,), row)


def _journal_closed(fold: RunFold, r: JournalClosed) -> None:
    row = _some(r, ("clean", "pid", "records")) | {"closed": r.at, "host": r.host or None}
    fold.put("journals", (r.journal,), {"samples": 0, "states": 0, "control": 0, **row})


def _watch_opened(fold: RunFold, r: WatchOpened) -> None:
    task = None
    if r.origin is not None and r.number is not None and 0 <= r.number <= NUMBER_MASK:
        task = fold.origins[r.origin] << NUMBER_BITS | r.number
    row = {"opened": r.at, "root": r.root, "host": r.host or None, "patterns": _json(r.patterns), "task": task}
    fold.put("watches", (r.watch,), row)


def _watch_closed(fold: RunFold, r: WatchClosed) -> None:
    fold.put("watches", (r.watch,), _some(r, ("files", "unfinished", "reason")) | {"closed": r.at})


def _file_found(fold: RunFold, r: FileFound) -> None:
    row = _some(r, ("at", "inode", "pattern", "repeat"))
    fold.put("files", (r.watch, r.path, r.mtime, r.size), row)


def _file_callback(fold: RunFold, r: FileCallback) -> None:
    row = _some(r, ("at", "outcome", "result", "elapsed", "repeat")) | {"paths": _json(r.paths)}
    fold.put("file_callbacks", (r.watch, r.callback, r.sequence), row)


# -- values ----------------------------------------------------------------------------------------------------------


def _some(record: Record, columns: tuple[str, ...]) -> Row:
    """These fields of a record as a row; an empty text or label is 'unknown', a bool 0 or 1."""
    row = {}
    for column in columns:
        value = getattr(record, column)
        if isinstance(value, bool):
            value = int(value)
        row[column] = None if value == "" else value
    return row


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


_HANDLERS: Final[Mapping[type[Record], Callable[[RunFold, Any], None]]] = {
    TaskDescribed: _described,
    TaskState: _state,
    TaskRunning: _running,
    TaskEnded: _ended,
    TaskSample: _sample,
    NodeSample: _node_sample,
    RunStarted: _run_started,
    RunEnded: _run_ended,
    RunHeartbeat: _heartbeat,
    NodeSeen: _node_seen,
    BlockState: _block_state,
    AgentStatus: _agent_status,
    Dropped: _dropped,
    JournalClosed: _journal_closed,
    WatchOpened: _watch_opened,
    WatchClosed: _watch_closed,
    FileFound: _file_found,
    FileCallback: _file_callback,
}
