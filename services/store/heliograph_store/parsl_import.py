"""Turns an old Parsl monitoring database into messages, so that old runs stand beside new ones.

In: the URL of a database that Parsl wrote (read only; see `parsl_source`). Out: batches, as an agent would ship them.

The same database gives the same batches with the same record ids, and all of them merge, so importing twice changes
nothing. What Parsl did not record stays unknown: tracebacks, exits and exact peaks. Parsl's times are naive; they are
read in the zone given, or else in the zone of the machine that imports. A run that crossed a change of clocks has
one hour that is ambiguous; its first pass is assumed. While a database is read, a Parsl that still writes it waits.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

import msgspec

from heliograph.messages import (
    CLASS_OF,
    SCHEMA_VERSION,
    Batch,
    BlockState,
    Class,
    NodeSeen,
    Record,
    RunEnded,
    RunStarted,
    Source,
    State,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
    encode,
)
from heliograph_store.parsl_source import NotParslDatabase, OldDatabase, Row, identity, moment

__all__ = ["NotParslDatabase", "OldRun", "import_batches", "old_runs"]

log = logging.getLogger(__name__)
ORIGIN = ""
"""Parsl's kernel allocates the numbers of tasks; live recordings of Parsl call it so as well, and the two merge."""
BATCH = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OLD_STATES = {"unsched": State.PENDING, "done": State.EXEC_DONE, "retry": State.FAIL_RETRYABLE}
"""What older versions called the states of today."""
FAILURES = frozenset({State.FAIL_RETRYABLE.value, State.FAILED.value, State.DEP_FAIL.value})


@dataclass(frozen=True, kw_only=True)
class OldRun:
    """A run in an old database; times in microseconds UTC, `ended` None when Parsl never wrote its end."""

    run: str
    name: str
    began: int
    ended: int | None


def old_runs(url: str, *, zone: ZoneInfo | None = None) -> list[OldRun]:
    """The runs that `import_batches` would read, oldest first. Raises NotParslDatabase."""
    clock = _Clock(zone)
    with closing(OldDatabase(url)) as old:
        rows = [(row, clock.at(row.get("time_began"))) for row in old.workflows()]
        return [
            OldRun(
                run=row["run_id"],
                name=row.get("workflow_name") or "",
                began=began,
                ended=clock.at(row.get("time_completed")),
            )
            for row, began in rows
            if began is not None
        ]


def import_batches(url: str, *, zone: ZoneInfo | None = None, runs: Sequence[str] | None = None) -> Iterator[Batch]:
    """Every run of the database (or those named) as batches, streamed. Raises NotParslDatabase.

    `zone` is that of the host that ran the workflow, None means that of this machine. Rows that cannot be understood
    (a time that is none) are left out and counted in the log.
    """
    with closing(OldDatabase(url)) as old:
        for workflow in old.workflows():
            if runs is None or workflow["run_id"] in runs:
                yield from _Run(old, workflow, zone, identity(url)).batches()


class _Clock:
    """Naive local times → microseconds UTC."""

    def __init__(self, zone: ZoneInfo | None) -> None:
        self.zone = zone

    def at(self, value: object) -> int | None:
        local = moment(value)
        return None if local is None else (self._aware(local) - EPOCH) // timedelta(microseconds=1)

    def offset(self, value: object) -> int:
        """Seconds east of UTC at this local time."""
        local = moment(value)
        shift = self._aware(local).utcoffset() if local else None
        return int(shift.total_seconds()) if shift else 0

    def _aware(self, local: datetime) -> datetime:
        return local.replace(tzinfo=self.zone) if self.zone else local.astimezone()


class _Run:
    """One run's rows as batches."""

    def __init__(self, old: OldDatabase, workflow: Row, zone: ZoneInfo | None, source: str) -> None:
        self.old = old
        self.workflow = workflow
        self.run: str = workflow["run_id"]
        self.clock = _Clock(zone)
        self.source = hashlib.sha256(f"{source}\n{self.run}".encode()).hexdigest()[:24]
        self.left_out = 0

    def batches(self) -> Iterator[Batch]:
        began = self.clock.at(self.workflow.get("time_began"))
        if began is None:
            log.warning("run %s has no time of its beginning and is left out", self.run)
            return
        yield from self._batched("run", [self._started(began)])
        yield from self._batched("node", self._each("node", "timestamp, id", self._node))
        yield from self._batched("block", self._each("block", "executor_label, block_id, timestamp", self._block))
        yield from self._batched("task", self._tasks())
        yield from self._batched("resource", self._samples())
        yield from self._batched("end", self._ended())
        if self.left_out:
            log.warning("run %s: %d rows could not be understood and are left out", self.run, self.left_out)

    def _batched(self, part: str, records: Iterable[Record]) -> Iterator[Batch]:
        """Batches of one class each; the record ids are the ordinals within this part of the run."""
        pending: list[msgspec.Raw] = []
        first = 0
        cls = Class.CONTROL
        for record in records:
            cls = CLASS_OF[type(record)]
            pending.append(msgspec.Raw(encode(record)))
            if len(pending) == BATCH:
                yield self._batch(part, cls, first, pending)
                first, pending = first + BATCH, []
        if pending:
            yield self._batch(part, cls, first, pending)

    def _batch(self, part: str, cls: Class, first: int, records: list[msgspec.Raw]) -> Batch:
        source = Source(journal=f"import:{self.source}:{part}", offsets=list(range(first, first + len(records))))
        return Batch(
            version=SCHEMA_VERSION,
            run=self.run,
            cls=cls.value,
            agent="import",
            host=self.workflow.get("host") or "",
            boot="",
            sources=[source],
            records=records,
        )

    def _each(self, table: str, order: str, read: Callable[[Row, int], Record]) -> Iterator[Record]:
        for row in self.old.rows(table, run=self.run, order=order):
            at = self.clock.at(row.get("timestamp"))
            if at is None:
                self.left_out += 1
            else:
                yield read(row, at)

    # -- the run itself ----------------------------------------------------------------------------------------------

    def _started(self, began: int) -> RunStarted:
        row = self.workflow
        return RunStarted(
            at=began,
            name=row.get("workflow_name") or "",
            version=row.get("workflow_version") or "",
            owner=row.get("user") or "",
            host=row.get("host") or "",
            run_dir=row.get("rundir") or "",
            program="parsl",
            zone=self.clock.zone.key if self.clock.zone else "",
            utc_offset=self.clock.offset(row.get("time_began")),
        )

    def _ended(self) -> list[RunEnded]:
        row = self.workflow
        at = self.clock.at(row.get("time_completed"))
        if at is None:
            return []
        return [RunEnded(at=at, completed=row.get("tasks_completed_count"), failed=row.get("tasks_failed_count"))]

    def _node(self, row: Row, at: int) -> NodeSeen:
        return NodeSeen(
            at=at,
            host=row.get("hostname") or "",
            pool=row.get("uid") or "",
            block=row.get("block_id"),
            workers=row.get("worker_count"),
            cpu_count=row.get("cpu_count"),
            memory_total=row.get("total_memory"),
            python=row.get("python_v") or "",
            active=bool(row.get("active", True)),
        )

    def _block(self, row: Row, at: int) -> BlockState:
        return BlockState(
            at=at,
            executor=row.get("executor_label") or "",
            block=str(row.get("block_id") or ""),
            status=row.get("status") or "",
            job_id=row.get("job_id"),
        )

    def _samples(self) -> Iterator[TaskSample]:
        """Samples by task, each with the host on which its try ran (Parsl keeps that with the try only)."""
        tries = self.old.rows("try", run=self.run, order="task_id, try_id")
        samples = self.old.rows("resource", run=self.run, order="task_id, try_id, timestamp")
        for _, (of_task, sampled) in _merged(tries, samples):
            hosts = {row["try_id"]: row.get("hostname") for row in of_task}
            for row in sampled:
                at = self.clock.at(row.get("timestamp"))
                if at is None:
                    self.left_out += 1
                else:
                    yield self._sample(row, at, hosts.get(row.get("try_id") or 0) or "")

    def _sample(self, row: Row, at: int, host: str) -> TaskSample:
        def value(name: str) -> int | None:
            return _whole(row.get(f"psutil_process_{name}"))

        return TaskSample(
            at=at,
            origin=ORIGIN,
            number=row["task_id"],
            try_=row.get("try_id") or 0,
            host=host,
            pid=value("pid") or 0,
            cpu_user=_micros(row.get("psutil_process_time_user")),
            cpu_system=_micros(row.get("psutil_process_time_system")),
            rss=value("memory_resident"),
            vms=value("memory_virtual"),
            children=value("children_count"),
            read_bytes=value("disk_read"),
            write_bytes=value("disk_write"),
            ctx_voluntary=value("num_ctx_switches_voluntary"),
            ctx_involuntary=value("num_ctx_switches_involuntary"),
            memory_percent=row.get("psutil_process_memory_percent"),
            status=row.get("psutil_process_status"),
            cpu_num=_whole(row.get("psutil_cpu_num")),
            interval=row.get("resource_monitoring_interval") or 0.0,
        )

    # -- tasks -------------------------------------------------------------------------------------------------------

    def _tasks(self) -> Iterator[Record]:
        """All records about each task in turn: what it is, and each of its tries."""
        rows = self.old.rows
        merged = _merged(
            rows("task", run=self.run, order="task_id"),
            rows("try", run=self.run, order="task_id, try_id"),
            rows("status", run=self.run, order="task_id, timestamp"),
            self.old.pids(self.run),
        )
        for number, (tasks, tries, statuses, pids) in merged:
            task: Row = tasks[0] if tasks else {}
            if task:
                yield self._described(number, task, join=any(row.get("task_joins") is not None for row in tries))
            # Before Parsl had tries, the task's row held what a try's row holds now.
            yield from self._tries(number, task, tries or [{**task, "try_id": 0}], statuses, pids)

    def _described(self, number: int, row: Row, *, join: bool) -> TaskDescribed:
        invoked = self.clock.at(row.get("task_time_invoked"))
        return TaskDescribed(
            at=invoked or self.clock.at(self.workflow.get("time_began")) or 0,
            origin=ORIGIN,
            number=number,
            app=row.get("task_func_name") or "",
            depends=_numbers(row.get("task_depends")) or [],
            join=join,
            memoize=str(row.get("task_memoize")).lower() in {"1", "true"},
            hashsum=row.get("task_hashsum"),
            inputs=row.get("task_inputs"),
            outputs=row.get("task_outputs"),
            stdin=row.get("task_stdin"),
            stdout=row.get("task_stdout"),
            stderr=row.get("task_stderr"),
            invoked=invoked,
        )

    def _tries(
        self, number: int, task: Row, tries: list[Row], statuses: list[Row], pids: list[Row]
    ) -> Iterator[Record]:
        known = {row["try_id"]: row for row in tries}
        pid_of = {row["try_id"]: row["pid"] for row in pids}
        entered: dict[int, dict[str, int]] = {}
        for status in statuses:
            at = self.clock.at(status.get("timestamp"))
            name = _state(status.get("task_status_name"))
            if at is None or name is None:
                self.left_out += 1
                continue
            states = entered.setdefault(status.get("try_id") or 0, {})
            states[name] = min(at, states.get(name, at))
        last = max([*known, *entered], default=0)
        for try_ in sorted({*known, *entered}):
            row = known.get(try_, {})
            states = entered.get(try_) or self._states_of_row(row)
            yield from self._states(number, try_, row, states, task if try_ == last else {})
            yield from self._execution(number, try_, row, states, pid_of.get(try_))

    def _states_of_row(self, row: Row) -> dict[str, int]:
        """A try without rows in `status`: what its own times say."""
        times = {State.LAUNCHED.value: row.get("task_try_time_launched")}
        times[State.RUNNING.value] = row.get("task_try_time_running")
        return {state: at for state, value in times.items() if (at := self.clock.at(value)) is not None}

    def _states(self, number: int, try_: int, row: Row, states: dict[str, int], task: Row) -> Iterator[TaskState]:
        """The try's states by rank; the last of them carries what is known of the whole (`task` for the last try)."""
        ranked = sorted(states, key=lambda name: State(name).rank)
        for name in ranked:
            state = TaskState(
                at=states[name],
                origin=ORIGIN,
                number=number,
                try_=try_,
                state=name,
                executor=row.get("task_executor") or None,
            )
            yield self._whole_try(state, row, task) if name == ranked[-1] else state

    def _whole_try(self, state: TaskState, row: Row, task: Row) -> TaskState:
        return msgspec.structs.replace(
            state,
            fail_count=task.get("task_fail_count"),
            fail_cost=task.get("task_fail_cost"),
            fail_history=row.get("task_fail_history"),
            joins=_numbers(row.get("task_joins")),
            from_memo=state.state == State.MEMO_DONE.value,
            hashsum=task.get("task_hashsum"),
            invoked=self.clock.at(task.get("task_time_invoked")),
            launched=self.clock.at(row.get("task_try_time_launched")),
            # Of the last try the store keeps when the task came back, microseconds after the try did.
            returned=self.clock.at(task.get("task_time_returned") or row.get("task_try_time_returned")),
        )

    def _execution(self, number: int, try_: int, row: Row, states: dict[str, int], pid: int | None) -> Iterator[Record]:
        """What the worker's side of a try is known to have been. A process that was never sampled has the pid 0."""
        host = row.get("hostname")
        began = self.clock.at(row.get("task_try_time_running")) or states.get(State.RUNNING.value)
        if not host or began is None:
            return
        yield TaskRunning(
            at=began,
            origin=ORIGIN,
            number=number,
            try_=try_,
            host=host,
            pid=pid or 0,
            block=row.get("block_id"),
            executor=row.get("task_executor") or None,
        )
        ended = states.get(State.RUNNING_ENDED.value)
        if ended is not None:
            failed = not FAILURES.isdisjoint(states)
            yield TaskEnded(
                at=ended,
                origin=ORIGIN,
                number=number,
                try_=try_,
                host=host,
                pid=pid or 0,
                ok=not failed,
                elapsed=max(0, ended - began),
                exc_message=row.get("task_fail_history") or None if failed else None,
            )


def _merged(*streams: Iterator[Row]) -> Iterator[tuple[int, tuple[list[Row], ...]]]:
    """Rows of all streams with the same `task_id`, lowest first. Each stream is sorted by it."""
    groups = [groupby(stream, key=lambda row: int(row["task_id"])) for stream in streams]
    heads = [_next_group(group) for group in groups]
    while any(heads):
        number = min(head[0] for head in heads if head)
        found: list[list[Row]] = []
        for i, head in enumerate(heads):
            found.append(head[1] if head and head[0] == number else [])
            if head and head[0] == number:
                heads[i] = _next_group(groups[i])
        yield number, tuple(found)


def _next_group(group: Iterator[tuple[int, Iterator[Row]]]) -> tuple[int, list[Row]] | None:
    for number, rows in group:
        return number, list(rows)
    return None


def _state(name: object) -> str | None:
    """Today's name of a state, None for one that nobody knows."""
    if name in State._value2member_map_:
        return str(name)
    old = OLD_STATES.get(str(name))
    return old.value if old else None


def _numbers(text: str | None) -> list[int] | None:
    """'10,11' → [10, 11]; what is not a number (Parsl wrote 'None' at times) is left out."""
    if text is None:
        return None
    return [int(part) for part in text.split(",") if part.strip().isdecimal()]


def _whole(value: object) -> int | None:
    """A count or a size; Parsl keeps them as floats, and the processor's number as text."""
    try:
        return int(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)
