"""Derived columns: what follows from a task's and a try's other columns, and exists to be searched and sorted by.

In: rows into which all records are folded. Out: the same rows with their last columns set. Pure, and a function of the
other columns alone, so whatever holds for these (any order, twice, several writers) holds for the derived ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from heliograph.messages import RANK, State
from heliograph_store.fingerprint import fingerprint
from heliograph_store.schema import OPEN, RANK_BITS, STATES, UNKNOWN_STATE
from heliograph_store.tasks import TaskRow, TryRow

WRONG: Final = frozenset(RANK[state.value] for state in (State.FAIL_RETRYABLE, State.DEP_FAIL, State.FAILED))
LAST: Final = frozenset(RANK[state.value] for state in (State.FAIL_RETRYABLE, State.EXEC_DONE, State.FAILED))
MAX_OCTAVE: Final = 62


def went_wrong(row: TryRow) -> bool:
    return row.state in WRONG or row.ok == 0


def derive_try(row: TryRow, failure: Mapping[str, Any] | None) -> None:
    """`failure` is the try's row of `failures`, as far as it is known to have one."""
    since = row.since = row.began if row.began is not None else began(row)
    if since is None:
        row.octave = None
    else:
        until = row.ended if row.ended is not None else ended(row, since)
        row.octave = OPEN if until is None else min(max(until - since, 0).bit_length(), MAX_OCTAVE)
    if failure is None and row.ok != 0 and row.state not in WRONG:
        row.failure = row.wrong = None
    else:
        _derive_failure(row, failure or {})


def _derive_failure(row: TryRow, known: Mapping[str, Any]) -> None:
    at = known.get("at")
    if at is None and not went_wrong(row):
        row.failure = row.wrong = None
        return
    state = STATES[row.state] if row.state in WRONG else None
    row.failure = fingerprint(
        known.get("exc_type"), known.get("exc_place"), known.get("exc_message"), known.get("history"), state
    )
    times = (at, row.ended, row.running_ended, row.fail_retryable, row.dep_fail, row.failed)
    row.wrong = next((time for time in times if time is not None), None)


def derive_task(row: TaskRow, latest: TryRow | None) -> None:
    """`latest` is the try that `progress` names, None when the task has none."""
    row.state = row.progress & UNKNOWN_STATE
    if latest is None:
        row.runs_on, row.began, row.took = row.executor, None, None
    else:
        row.runs_on = latest.executor or row.executor
        row.began, row.took = latest.since, run_time(latest)


def latest_try(row: TaskRow) -> int:
    """The number of the task's latest try, -1 when it has none."""
    return row.progress >> RANK_BITS


def began(row: TryRow) -> int | None:
    """When a try began at its worker: it says so, or its state does, or its end and its run time."""
    if row.began is not None:
        return row.began
    if row.running is not None:
        return row.running
    if row.ended is not None and row.elapsed is not None and 0 <= row.elapsed < row.ended:
        return row.ended - row.elapsed
    return None


def ended(row: TryRow, since: int) -> int | None:
    """When it ended, not before it began: a lost worker's try ended when the submitting process gave it up."""
    final = getattr(row, STATES[row.state]) if row.state in LAST else None
    return end_of(since, row.ended, row.running_ended, final)


def end_of(since: int, at_worker: int | None, running_ended: int | None, final: int | None) -> int | None:
    """The first of these that is known, and never before `since`."""
    until = at_worker if at_worker is not None else running_ended if running_ended is not None else final
    return until if until is None or until >= since else since


def run_time(row: TryRow) -> int | None:
    """How long the function ran: by its own monotonic clock, or else from begin to end at the worker."""
    return took(row.elapsed, (row.began, row.ended), (row.running, row.running_ended))


def took(elapsed: int | None, *spans: tuple[int | None, int | None]) -> int | None:
    """`elapsed`, or the length of the first of the spans that is whole; never negative (two clocks)."""
    if elapsed is not None:
        return elapsed if elapsed >= 0 else None
    for begin, end in spans:
        if begin is not None and end is not None:
            return end - begin if end >= begin else None
    return None
