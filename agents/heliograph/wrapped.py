"""What runs around the user's function in the task's process: the payload of a task calls `run` by name.

In: the user's function, where its records go, task number and try. Out: what the function returns or raises, always;
and the records of the try. Its parameters are a contract with submitting processes of other versions: they only grow
at the end of `where`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from heliograph import journal as journals
from heliograph import worker
from heliograph.interrupts import is_the_programs

Where = tuple[str, tuple[tuple[str, Any], ...], str, bool, str]
"""Run, the other fields of its route, executor, whether tasks share the process, and patterns to redact."""
_REDACT: Final = "HELIOGRAPH_REDACT"


class _Half(NamedTuple):
    """What the second half needs of the first."""

    journal: journals.Journal
    began: worker.Began


def run(function: Callable[..., Any], where: Where, number: int, try_: int, /, *args: Any, **kwargs: Any) -> Any:
    """Call the function with everything of its try recorded. What fails in the recording reaches nobody."""
    half = _began(where, number, try_)
    if half is None:
        return function(*args, **kwargs)
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        _ended(half, error, returned=False)
        raise
    _ended(half, result, returned=True)
    return result


def _began(where: Where, number: int, try_: int) -> _Half | None:
    try:
        run_id, route, executor, shared, redact, *_ = where
        if redact:  # a batch system may not have brought the submitting side's environment here
            os.environ.setdefault(_REDACT, redact)
        journal = journals.journal_of(run_id) or journals.journal_for(journals.Route(run=run_id, **dict(route)))
        worker.node_seen(journal, executor)
        return _Half(journal, worker.began(journal, worker.Try("", number, try_, executor, shared)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # what a library does on its way in must not end the task, SystemExit included
        if is_the_programs(error):
            raise
        return None


def _ended(half: _Half, outcome: object, *, returned: bool) -> None:
    """The function is over: an alarm of the program's that rings in here is late, and the outcome is the user's."""
    try:
        worker.ended(half.journal, half.began, outcome, returned=returned)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: S110
        pass
