"""The kernel's own record of a task as our records, without the message that Parsl makes of it for a database.

In: Parsl's `TaskRecord`, the moment of a change of state, and what the user wants recorded. Out: the same records that
`translate` makes of Parsl's message, with the resource specification and whether the app joins beside. A record that
lacks what is needed raises; the caller then lets Parsl make its message.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from parsl.data_provider.files import File
from parsl.utils import get_std_fname_mode

from heliograph.failure import redact
from heliograph.messages import Record, TaskDescribed, TaskState
from heliograph.parsl.translate import FAILED, ORIGIN, Context, Moment, argument, finite, micros

Task = Mapping[str, Any]


def records(task: Task, now: Moment, context: Context) -> tuple[Record, ...]:
    """The task's state, and at its very first one what the task is."""
    name, try_ = task["status"].name, task["try_id"]
    state = _state(task, name, try_, now)
    return (_described(task, now, context), state) if name == "pending" and try_ == 0 else (state,)


def _described(task: Task, now: Moment, context: Context) -> TaskDescribed:
    named = task["kwargs"].get if context.record_arguments else _nothing
    return TaskDescribed(
        at=now.at,
        mono=now.mono,
        origin=ORIGIN,
        number=task["id"],
        app=task["func_name"],
        executor=task["executor"],
        depends=_numbers(task["depends"] or ()),
        join=bool(task["join"]),
        memoize=bool(task["memoize"]),
        hashsum=task["hashsum"],
        inputs=argument(named("inputs")),
        outputs=argument(named("outputs")),
        stdin=argument(named("stdin")),
        stdout=argument(_file_name("stdout", named("stdout"))),
        stderr=argument(_file_name("stderr", named("stderr"))),
        resources=_as_json(task["resource_specification"]),
        invoked=micros(task["time_invoked"]),
    )


def _state(task: Task, name: str, try_: int, now: Moment) -> TaskState:
    fails = task["fail_count"] or None
    return TaskState(
        at=now.at,
        mono=now.mono,
        origin=ORIGIN,
        number=task["id"],
        try_=try_,
        state=name,
        executor=task["executor"],
        fail_count=fails,
        fail_cost=finite(task["fail_cost"]) if fails else None,
        fail_history=redact(",".join(task["fail_history"])) if name in FAILED else None,
        joins=_joined(task["joins"]) if name == "joining" else None,
        from_memo=task["from_memo"] if name != "pending" else None,
        hashsum=task["hashsum"],
        invoked=micros(task["time_invoked"]),
        launched=micros(task["try_time_launched"]),
        returned=micros(task["time_returned"] or task["try_time_returned"]),
    )


def _nothing(_name: str) -> None:
    return None


def _numbers(futures: Iterable[Any]) -> list[int]:
    """Task numbers of those futures that are Parsl's."""
    found = (getattr(future, "tid", None) for future in futures)
    return [number for number in found if isinstance(number, int)]


def _joined(joins: Any) -> list[int]:
    return _numbers([joins] if isinstance(joins, Future) else joins or ())


def _file_name(kind: str, given: Any) -> str | None:
    """Where an app's standard output or error goes: a path, a (path, mode), or a File with a URL."""
    if given is None:
        return None
    if isinstance(given, File):
        return str(given.url)
    try:
        return str(get_std_fname_mode(kind, given)[0])
    except Exception:  # not a redirection that Parsl knows: the app will say so when it runs
        return None


def _as_json(specification: Mapping[str, Any]) -> str | None:
    """A resource specification as JSON; what JSON cannot say becomes text. None when nothing is asked for."""
    return redact(json.dumps(specification, default=str, sort_keys=True)) if specification else None
