"""`@heliograph.task`: every call of the function, inside of a run, is a task of that run.

In: a function, plain or async. Out: the same function to its callers; outside of a run it is called and nothing else.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

from heliograph.recording import current
from heliograph.spans import NAME, Around, Span, chunk_of, guarded

F = TypeVar("F", bound=Callable[..., Any])
EXECUTOR = "caller"
"""Label of what runs in the thread that called it."""


@dataclass
class _Claim:
    """A task function that an executor's wrapper records already: its own call is not a second task."""

    function: object
    once: bool


_claimed: contextvars.ContextVar[_Claim | None] = contextvars.ContextVar("heliograph_claimed", default=None)


@overload
def task(function: F, /) -> F: ...
@overload
def task(*, name: str | None = None) -> Callable[[F], F]: ...
def task(function: F | None = None, /, *, name: str | None = None) -> F | Callable[[F], F]:
    """Decorator with or without arguments. `name` is the app's name, otherwise the function's."""
    if function is None:
        return lambda function: _decorated(function, name)
    return _decorated(function, name)


@contextmanager
def claimed(function: Any) -> Iterator[None]:
    """Within, the first call of this task function is recorded by the caller already; of a chunk of `Executor.map`,
    which is one task, every call."""
    inner = chunk_of(function)
    token = _claimed.set(_Claim(function=function if inner is None else inner, once=inner is None))
    try:
        yield
    finally:
        _claimed.reset(token)


def _decorated(function: F, name: str | None) -> F:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaiting(*args: Any, **kwargs: Any) -> Any:
            call = None if _is_claimed(awaiting) else guarded(lambda: _begin(function, name))
            if call is None:
                return await function(*args, **kwargs)
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                _end(call, error)
                raise
            _end(call, None)
            return result

        setattr(awaiting, NAME, name)
        return cast(F, awaiting)

    @functools.wraps(function)
    def calling(*args: Any, **kwargs: Any) -> Any:
        call = None if _is_claimed(calling) else guarded(lambda: _begin(function, name))
        if call is None:
            return function(*args, **kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            _end(call, error)
            raise
        _end(call, None)
        return result

    setattr(calling, NAME, name)
    return cast(F, calling)


def _is_claimed(function: object) -> bool:
    claim = _claimed.get()
    if claim is None or claim.function is not function:
        return False
    if claim.once:
        claim.function = None
    return True


def _begin(function: Callable[..., Any], name: str | None) -> tuple[Span, Around] | None:
    recording = current()
    if recording is None:
        return None
    span = Span(recording, function, executor=EXECUTOR, name=name)
    around = Around(recording.journal, origin=span.origin, number=span.number, executor=EXECUTOR, shared=False)
    return span, around


def _end(call: tuple[Span, Around], error: BaseException | None) -> None:
    span, around = call
    guarded(lambda: around.end(error, returned=error is None))
    guarded(lambda: span.done(error))
