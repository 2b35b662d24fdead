"""The tasks of one old run as messages: what they are, their tries and states, and their samples.

In: rows of `task`, `try`, `status` and `resource` of Parsl's database (see `parsl_source`). Out: records, by task.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

import msgspec

from heliograph.messages import Record, State, TaskDescribed, TaskEnded, TaskRunning, TaskSample, TaskState
from heliograph_store.parsl_source import OldDatabase, Row, moment

ORIGIN = ""
"""Parsl's kernel allocates the numbers of tasks; live recordings of Parsl call it so as well, and the two merge."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OLD_STATES = {"unsched": State.PENDING, "done": State.EXEC_DONE, "retry": State.FAIL_RETRYABLE}
"""What older versions called the states of today."""
FAILURES = frozenset({State.FAIL_RETRYABLE.value, State.FAILED.value, State.DEP_FAIL.value})


class Clock:
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


class OldTasks:
    """The tasks of one run, which began at `began`; counts in `left_out` the rows that could not be understood."""

    def __init__(self, old: OldDatabase, run: str, began: int, clock: Clock) -> None:
        self.old = old
        self.run = run
        self.began = began
        self.clock = clock
        self.left_out = 0

    def samples(self) -> Iterator[TaskSample]:
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

    def records(self) -> Iterator[Record]:
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
            at=invoked or self.began,
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
            if name != ranked[-1]:
                yield state
            else:
                yield self._whole(state, row, task)
                # The store takes the first of the two for the try's return and the last for the task's.
                yield msgspec.structs.replace(state, returned=self.clock.at(task.get("task_time_returned")))

    def _whole(self, state: TaskState, row: Row, task: Row) -> TaskState:
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
            returned=self.clock.at(row.get("task_try_time_returned")),
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
