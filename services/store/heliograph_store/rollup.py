"""Rollups: counts and sums by app, host, executor, state, kind of failure and minute.

In: rows as they were and as they are now. Out: what to add to each rollup's counters. Pure; messages are never counted,
so a message that comes twice changes nothing. Every rollup equals a GROUP BY over `tasks` and `tries` at any time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Table

from heliograph_store import schema
from heliograph_store.derive import LAST, end_of, took
from heliograph_store.measures import BOUNDS, CPU, LARGEST, MEMORY, RUN_TIME, WAITING
from heliograph_store.schema import MINUTE, NOBODY, RANK_BITS, STATES, WIDTHS, progress_of
from heliograph_store.sql import Values
from heliograph_store.tasks import TASK_COLUMNS, TRY_COLUMNS

_TASK: Final = {name: at for at, name in enumerate(TASK_COLUMNS, 1)}
_TRY: Final = {name: at for at, name in enumerate(TRY_COLUMNS, 1)}
"""Where the columns stand in a stored row, whose first one is the run."""
_APP, _PROGRESS, _JOIN = _TASK["app"], _TASK["progress"], _TASK["is_join"]
_STATE, _RUNS_ON = _TASK["state"], _TASK["runs_on"]
_TIMES: Final = slice(_TRY[STATES[0]], _TRY[STATES[-1]] + 1)
_FIRST: Final = _TIMES.start
_RANK, _SINCE, _BEGAN, _HOST, _FAILURE = (_TRY[name] for name in ("state", "since", "began", "host", "failure"))
_ENDED, _ELAPSED, _SHARED, _PEAK = (_TRY[name] for name in ("ended", "elapsed", "shared", "peak_rss"))
_RUNNING, _RUNNING_ENDED = _TRY["running"], _TRY["running_ended"]
_LAUNCHED_AT, _LAUNCHED = _TRY["launched_at"], _TRY["launched"]
_USER, _SYSTEM = _TRY["cpu_user"], _TRY["cpu_system"]
_Span = tuple[int | None, int | None, int]
"""Begin, end, host."""
_Measured = tuple[int | None, int | None, int | None, int | None]
_NO_SPAN: Final[_Span] = (None, None, NOBODY)
_UNMEASURED: Final[_Measured] = (None, None, None, None)


@dataclass
class Deltas:
    """Changes of one run's rollups while its rows are written; `of_tables` hands them out."""

    run: int
    kinds: Counter[Values] = field(default_factory=Counter)
    buckets: Counter[Values] = field(default_factory=Counter)
    failures: Counter[Values] = field(default_factory=Counter)
    apps: defaultdict[Values, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    measures: defaultdict[Values, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    of_apps: defaultdict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0]))
    of_hosts: defaultdict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0]))
    """(minute, app or host) → begins, ends, sums of offsets."""

    def task(self, before: Values | None, now: Values) -> None:
        """A row of `tasks` changed; `before` is None for a new one."""
        if before is not None:
            self._task(before, -1)
        self._task(now, 1)

    def _task(self, row: Values, by: int) -> None:
        app, progress = row[_APP], row[_PROGRESS]
        self.kinds[(self.run, app, row[_RUNS_ON], row[_STATE])] += by
        if progress >= _SECOND_TRY or row[_JOIN]:
            counts = self.apps[self.run, app]
            counts[1] += by * max(progress >> RANK_BITS, 0)
            counts[2] += by * (row[_JOIN] or 0)

    def tries(self, app_before: int, before: Values | None, app: int, now: Values) -> None:
        """A row of `tries`, or its task's app, changed; `before` is None for a new one."""
        if before is None:
            self.apps[self.run, app][0] += 1
            self._entered(app, now[_TIMES], 1)
            self._failed(app, now, 1)
            self._spent(app, _span(now), 1)
            self._measured(app, _measures(now), 1)
            return
        moved = app_before != app
        if not moved and before == now:
            return
        if moved:
            self.apps[self.run, app_before][0] -= 1
            self.apps[self.run, app][0] += 1
        if moved:
            self._entered(app_before, before[_TIMES], -1)
            self._entered(app, now[_TIMES], 1)
        elif before[_TIMES] != now[_TIMES]:
            run, buckets = self.run, self.buckets
            for rank, (old, new) in enumerate(zip(before[_TIMES], now[_TIMES], strict=True)):
                if old != new:
                    if old is not None:
                        buckets[run, app, rank, old // MINUTE] -= 1
                    if new is not None:
                        buckets[run, app, rank, new // MINUTE] += 1
        if moved or before[_FAILURE] != now[_FAILURE] or before[_HOST] != now[_HOST]:
            self._failed(app_before, before, -1)
            self._failed(app, now, 1)
        was, is_ = _span(before), _span(now)
        if moved or was != is_:
            self._spent(app_before, was, -1)
            self._spent(app, is_, 1)
        had, has = _measures(before), _measures(now)
        if moved or had != has:
            self._measured(app_before, had, -1)
            self._measured(app, has, 1)

    def _entered(self, app: int, times: Sequence[int | None], by: int) -> None:
        run, buckets = self.run, self.buckets
        for rank, at in enumerate(times):
            if at is not None:
                buckets[(run, app, rank, at // MINUTE)] += by

    def _failed(self, app: int, row: Values, by: int) -> None:
        if row[_FAILURE] is not None:
            self.failures[(self.run, row[_FAILURE], app, row[_HOST] or NOBODY)] += by

    def _spent(self, app: int, span: _Span, by: int) -> None:
        since, until, host = span
        if since is not None:
            apps, hosts = self.of_apps, self.of_hosts
            minute, offset = divmod(since, MINUTE)
            for counts in (apps[minute, app], hosts[minute, host]):
                counts[0] += by
                counts[2] += by * offset
            if until is not None:
                minute, offset = divmod(until, MINUTE)
                for counts in (apps[minute, app], hosts[minute, host]):
                    counts[1] += by
                    counts[3] += by * offset

    def _measured(self, app: int, values: _Measured, by: int) -> None:
        run, measures = self.run, self.measures
        for measure, value in enumerate(values):
            if value is not None:
                if not 0 <= value <= LARGEST:
                    value = 0 if value < 0 else LARGEST  # noqa: PLW2901
                counts = measures[run, app, measure, bisect_right(BOUNDS, value) - 1]  # `bucket_of`, without a call
                counts[0] += by
                counts[1] += by * value

    def of_tables(self) -> list[tuple[Table, Mapping[Values, Sequence[int]]]]:
        """What to add to each rollup, in the order in which they are locked."""
        states: Counter[Values] = Counter()
        for (run, app, _, state), count in self.kinds.items():
            states[(run, app, state)] += count
        return [
            (schema.run_states, _single(states)),
            (schema.run_buckets, _single(self.buckets)),
            (schema.run_kinds, _single(self.kinds)),
            (schema.run_apps, self.apps),
            (schema.run_measures, self.measures),
            (schema.run_failures, _single(self.failures)),
            (schema.app_busy, self._busy(self.of_apps)),
            (schema.host_busy, self._busy(self.of_hosts)),
        ]

    def _busy(self, minutes: Mapping[tuple[int, int], list[int]]) -> dict[Values, list[int]]:
        """The same events by minute and by hour: a window of weeks is then read by the hour."""
        found: dict[Values, list[int]] = {}
        for (minute, name), counts in minutes.items():
            for width in WIDTHS:
                at = minute // width
                shift = (minute - at * width) * MINUTE
                begins, ends, begin_offsets, end_offsets = counts
                had = found.setdefault((self.run, width, at, name), [0, 0, 0, 0])
                had[0] += begins
                had[1] += ends
                had[2] += begin_offsets + begins * shift
                had[3] += end_offsets + ends * shift
        return found


_SECOND_TRY: Final = progress_of(1, 0)


def _single(counter: Mapping[Values, int]) -> dict[Values, tuple[int]]:
    return {key: (count,) for key, count in counter.items()}


def _span(row: Values) -> _Span:
    """When the try began and ended, and where."""
    since = row[_SINCE]
    if since is None:
        return _NO_SPAN
    rank = row[_RANK]
    final = row[_FIRST + rank] if rank in LAST else None
    return since, end_of(since, row[_ENDED], row[_RUNNING_ENDED], final), row[_HOST] or NOBODY


def _measures(row: Values) -> _Measured:
    """Run time, waiting time, peak memory and CPU time, where they are known and the try's own.

    Tries that share a process have no memory of their own. Clocks of two hosts can make waiting negative: then it is 0.
    """
    began = row[_BEGAN] if row[_BEGAN] is not None else row[_RUNNING]
    if began is None and row[_ENDED] is None:
        return _UNMEASURED
    elapsed = took(row[_ELAPSED], (row[_BEGAN], row[_ENDED]), (row[_RUNNING], row[_RUNNING_ENDED]))
    launched = row[_LAUNCHED_AT] if row[_LAUNCHED_AT] is not None else row[_LAUNCHED]
    waited = None if launched is None or began is None else began - launched
    memory = cpu = None
    if not row[_SHARED]:
        memory = row[_PEAK]
        if row[_USER] is not None or row[_SYSTEM] is not None:
            cpu = (row[_USER] or 0) + (row[_SYSTEM] or 0)
    return elapsed, waited, memory, cpu


assert (RUN_TIME, WAITING, MEMORY, CPU) == (0, 1, 2, 3)  # noqa: S101 — the order of `_measures`
