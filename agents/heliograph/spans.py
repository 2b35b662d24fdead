"""One task of a plain-Python run, from its call or submission to its end.

In: the run's recording, the app's name, and what happens. Out: TaskDescribed and TaskState records here, and around the
function (here, or in the process that an executor chose) those of the worker half. Nothing here raises.
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable
from typing import Any

from heliograph import worker
from heliograph.failure import redact
from heliograph.journal import now
from heliograph.messages import State, TaskDescribed, TaskState
from heliograph.recording import Recording

NAME = "__heliograph_name__"
"""Attribute that carries the name which `@heliograph.task(name=…)` gave."""
_inside: contextvars.ContextVar[tuple[str, int] | None] = contextvars.ContextVar("heliograph_task", default=None)
"""(origin, number) of the task that runs in this context."""


class Span:
    """A task with its first and only try."""

    def __init__(self, recording: Recording, function: Callable[..., Any], *, executor: str, name: str | None) -> None:
        at, mono = now()
        outer = _inside.get()
        self._recording = recording
        self.origin, self.number, self.executor = recording.origin, recording.number(), executor
        self._append = recording.journal.append
        self._append(
            TaskDescribed(
                at=at,
                mono=mono,
                origin=self.origin,
                number=self.number,
                app=name or app_name(function),
                executor=executor,
                parent=outer[1] if outer and outer[0] == self.origin else None,
                invoked=at,
            )
        )
        self._state(State.PENDING, at, mono)
        self._state(State.LAUNCHED, at, mono, launched=at)

    def done(self, error: BaseException | None, *, cancelled: bool = False) -> None:
        """The task's result is there, for who asked for it."""
        ok = error is None and not cancelled
        history = "cancelled" if cancelled else None if error is None else _repr(error)
        at, mono = now()
        self._recording.count(ok=ok)
        self._state(
            State.EXEC_DONE if ok else State.FAILED,
            at,
            mono,
            fail_count=0 if ok else 1,
            fail_history=history,
            returned=at,
        )

    def _state(self, state: State, at: int, mono: int, **known: Any) -> None:
        self._append(
            TaskState(
                at=at,
                mono=mono,
                origin=self.origin,
                number=self.number,
                try_=0,
                state=state.value,
                executor=self.executor,
                **known,
            )
        )


class Around:
    """What is recorded around a function in this process: `Around(…)`, the function, `end(…)`."""

    def __init__(self, journal: worker.Appends, *, origin: str, number: int, executor: str, shared: bool) -> None:
        worker.node_seen(journal, executor)
        self._journal = journal
        self._token = _inside.set((origin, number))
        self._began = worker.began(
            journal, worker.Try(origin=origin, number=number, try_=0, executor=executor, shared=shared)
        )

    def end(self, outcome: object, *, returned: bool) -> None:
        worker.ended(self._journal, self._began, outcome, returned=returned)
        try:
            _inside.reset(self._token)
        except ValueError:  # another context (an async function that was closed elsewhere)
            _inside.set(None)


def guarded(make: Callable[[], Any]) -> Any:
    """What `make` makes, or None: the border behind which the user's program must not notice us."""
    try:
        return make()
    except Exception as error:
        worker.note_failure(error)
        return None


def app_name(function: Any) -> str:
    """The name under which people know the function; a partial goes by what it wraps."""
    while isinstance(function, functools.partial):
        inner = chunk_of(function)
        function = function.func if inner is None else inner
    name = getattr(function, NAME, None) or getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def chunk_of(function: Any) -> Any:
    """The user's function of a chunk of `Executor.map` (a partial of a function of concurrent.futures), else None."""
    if not isinstance(function, functools.partial) or not function.args:
        return None
    module = getattr(function.func, "__module__", None)
    return function.args[0] if isinstance(module, str) and module.startswith("concurrent.futures") else None


def _repr(error: BaseException) -> str:
    try:
        return redact(repr(error)) or ""
    except Exception:
        return type(error).__name__
