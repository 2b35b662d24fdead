"""Rollups: counts and sums by app, host, executor, state, kind of failure and minute.

In: rows as they were and as they are now. Out: what to add to each rollup's counters. Pure; messages are never counted,
so a message that comes twice changes nothing. Every rollup equals a GROUP BY over `tasks` and `tries` at any time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import ne
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
_RANKS, _MEASURES = range(len(STATES)), range(4)
_RANK, _SINCE, _BEGAN, _HOST, _FAILURE = (_TRY[name] for name in ("state", "since", "began", "host", "failure"))
_ENDED, _ELAPSED, _SHARED, _PEAK = (_TRY[name] for name in ("ended", "elapsed", "shared", "peak_rss"))
_RUNNING, _RUNNING_ENDED = _TRY["running"], _TRY["running_ended"]
_LAUNCHED_AT, _LAUNCHED = _TRY["launched_at"], _TRY["launched"]
_USER, _SYSTEM = _TRY["cpu_user"], _TRY["cpu_system"]
_Counts = dict[Values, int]
_Span = tuple[int | None, int | None, int]
"""Begin, end, host."""
_Measured = tuple[int | None, int | None, int | None, int | None]
_NO_SPAN: Final[_Span] = (None, None, NOBODY)
_UNMEASURED: Final[_Measured] = (None, None, None, None)


@dataclass
class Deltas:
    """Changes of one run's rollups while its rows are written; `of_tables` hands them out. Keys are without the run."""

    run: int
    kinds: _Counts = field(default_factory=dict)
    buckets: _Counts = field(default_factory=dict)
    failures: _Counts = field(default_factory=dict)
    apps: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
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
        app, progress, kinds = row[_APP], row[_PROGRESS], self.kinds
        key = (app, row[_RUNS_ON], row[_STATE])
        kinds[key] = kinds.get(key, 0) + by
        if progress >= _SECOND_TRY or row[_JOIN]:
            counts = self.apps[app]
            counts[1] += by * max(progress >> RANK_BITS, 0)
            counts[2] += by * (row[_JOIN] or 0)

    def tries(self, app_before: int, before: Values | None, app: int, now: Values) -> None:
        """A row of `tries`, or its task's app, changed; `before` is None for a new one."""
        if before is None:
            self._try(app, now, 1)
        elif app_before != app:
            self._try(app_before, before, -1)
            self._try(app, now, 1)
        elif before != now:
            self._changed(app, before, now)

    def _try(self, app: int, row: Values, by: int) -> None:
        self.apps[app][0] += by
        self._entered(app, row[_TIMES], by)
        if row[_FAILURE] is not None:
            self._failed(app, row, by)
        since, until, host = _span(row)
        if since is not None:
            self._began(app, since, host, by)
            if until is not None:
                self._ended(app, until, host, by)
        for measure, value in enumerate(_measures(row)):
            if value is not None:
                self._measured(app, measure, value, by)

    def _changed(self, app: int, before: Values, now: Values) -> None:
        """What stayed is left alone: most often one or two times are new, and what follows from them."""
        buckets = self.buckets
        for rank in compress(_RANKS, map(ne, before[_TIMES], now[_TIMES])):
            old, new = before[_FIRST + rank], now[_FIRST + rank]
            if old is not None:
                key = (app, rank, old // MINUTE)
                buckets[key] = buckets.get(key, 0) - 1
            if new is not None:
                key = (app, rank, new // MINUTE)
                buckets[key] = buckets.get(key, 0) + 1
        if before[_FAILURE] is not None or now[_FAILURE] is not None:
            self._failed(app, before, -1)
            self._failed(app, now, 1)
        was, is_ = _span(before), _span(now)
        if was != is_:
            stays = was[2] == is_[2]
            if was[0] != is_[0] or not stays:
                self._began(app, was[0], was[2], -1)
                self._began(app, is_[0], is_[2], 1)
            if was[1] != is_[1] or not stays:
                self._ended(app, was[1], was[2], -1)
                self._ended(app, is_[1], is_[2], 1)
        had, has = _measures(before), _measures(now)
        for measure in compress(_MEASURES, map(ne, had, has)):
            self._measured(app, measure, had[measure], -1)
            self._measured(app, measure, has[measure], 1)

    def _entered(self, app: int, times: Sequence[int | None], by: int) -> None:
        buckets = self.buckets
        for rank, at in enumerate(times):
            if at is not None:
                key = (app, rank, at // MINUTE)
                buckets[key] = buckets.get(key, 0) + by

    def _failed(self, app: int, row: Values, by: int) -> None:
        if row[_FAILURE] is not None:
            key = (row[_FAILURE], app, row[_HOST] or NOBODY)
            self.failures[key] = self.failures.get(key, 0) + by

    def _began(self, app: int, at: int | None, host: int, by: int) -> None:
        if at is not None:
            minute = at // MINUTE
            offset = by * (at - minute * MINUTE)
            for counts in (self.of_apps[minute, app], self.of_hosts[minute, host]):
                counts[0] += by
                counts[2] += offset

    def _ended(self, app: int, at: int | None, host: int, by: int) -> None:
        if at is not None:
            minute = at // MINUTE
            offset = by * (at - minute * MINUTE)
            for counts in (self.of_apps[minute, app], self.of_hosts[minute, host]):
                counts[1] += by
                counts[3] += offset

    def _measured(self, app: int, measure: int, value: int | None, by: int) -> None:
        if value is None:
            return
        if not 0 <= value <= LARGEST:
            value = 0 if value < 0 else LARGEST
        counts = self.measures[app, measure, bisect_right(BOUNDS, value) - 1]  # `bucket_of`, without a call
        counts[0] += by
        counts[1] += by * value

    def of_tables(self) -> list[tuple[Table, Mapping[Values, Sequence[int]]]]:
        """What to add to each rollup, in the order in which they are locked."""
        run, states = self.run, Counter[Values]()
        for (app, _, state), count in self.kinds.items():
            states[app, state] += count
        return [
            (schema.run_states, self._single(states)),
            (schema.run_buckets, self._single(self.buckets)),
            (schema.run_kinds, self._single(self.kinds)),
            (schema.run_apps, {(run, app): counts for app, counts in self.apps.items()}),
            (schema.run_measures, {(run, *key): counts for key, counts in self.measures.items()}),
            (schema.run_failures, self._single(self.failures)),
            (schema.app_busy, self._busy(self.of_apps)),
            (schema.host_busy, self._busy(self.of_hosts)),
        ]

    def _single(self, counts: Mapping[Values, int]) -> dict[Values, tuple[int]]:
        return {(self.run, *key): (count,) for key, count in counts.items()}

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
