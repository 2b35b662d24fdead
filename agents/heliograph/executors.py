"""`heliograph.monitored(executor)`: every submission to a concurrent.futures executor is a task of the current run.

In: any executor with `submit`. Out: the same object; futures, results, exceptions and cancellation are its own. What is
sent to a worker process is a small callable that arrives as the recording wrapper where Heliograph can be
imported, and as a plain call where it cannot.
"""

from __future__ import annotations

import concurrent.futures
import functools
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from heliograph import journal as journals
from heliograph.recording import Recording, current
from heliograph.spans import Around, Span, guarded
from heliograph.tasks import claimed

_log = logging.getLogger("heliograph")
E = TypeVar("E")
Where = tuple[dict[str, Any], str, int, str, bool]
"""Route as a dict, origin, number, executor's label, shared."""
_ARRIVAL = (
    "(__import__('heliograph.executors', fromlist=['call']).call"
    " if all(map(__import__('importlib.util', fromlist=['find_spec']).find_spec, ('heliograph', 'msgspec')))"
    " else (lambda where, function, /, *args, **kwargs: function(*args, **kwargs)))"
)


def monitored(executor: E, *, label: str | None = None) -> E:
    """Record what is submitted to this executor from now on, `map` included, and return it. Outside of a run nothing is
    recorded. An executor that cannot be wrapped is returned as it is, with one line in the log."""
    try:
        submit = executor.submit  # type: ignore[attr-defined]
        if not isinstance(submit, _Submit):
            shared = isinstance(executor, concurrent.futures.ThreadPoolExecutor)
            executor.submit = _Submit(submit, label or type(executor).__name__, shared)  # type: ignore[attr-defined]
    except Exception as error:
        _log.warning("%s is not monitored: %r", type(executor).__name__, error)
    return executor


class _Submit:
    """Stands in for the executor's bound `submit`."""

    def __init__(self, submit: Callable[..., Any], label: str, shared: bool) -> None:
        self._submit, self._label, self._shared = submit, label, shared

    def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        recording = current()
        span = None if recording is None else guarded(lambda: self._span(recording, function))
        if recording is None or span is None:
            return self._submit(function, *args, **kwargs)
        where = (asdict(recording.route()) | {"owner": False}, span.origin, span.number, span.executor, self._shared)
        try:
            future = self._submit(_Traveller(where, recording), function, *args, **kwargs)
        except BaseException as error:  # the executor is shut down, or broken
            refused = error
            guarded(lambda: span.done(refused))
            raise
        guarded(lambda: future.add_done_callback(lambda done: guarded(lambda: _settled(span, done))))
        return future

    def _span(self, recording: Recording, function: Callable[..., Any]) -> Span:
        return Span(recording, function, executor=self._label, name=None)


class _Traveller:
    """Runs a function with its records, here or in another process."""

    def __init__(self, where: Where, recording: Recording) -> None:
        self._where, self._recording = where, recording

    def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return _run(self._where, self._recording.journal, function, args, kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (_Arrival(), self._where)


class _Arrival:
    """Arrives in a worker process as `call`, or as a plain call where Heliograph is missing: no name of ours stands in
    the pickle, only a text to evaluate."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (_ARRIVAL,)


def call(where: Where, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """In a worker process: run the function with its records."""
    journal = guarded(lambda: _journal(where))
    return _run(where, journal, function, args, kwargs)


def _journal(where: Where) -> Any:
    """The journal that task functions called from here use as well, where this process knows the run by itself."""
    route, known = journals.Route(**where[0]), current()
    return known.journal if known is not None and known.route().run == route.run else journals.journal_for(route)


def _run(where: Where, journal: Any, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    around = None if journal is None else guarded(lambda: _around(where, journal))
    if around is None:
        return function(*args, **kwargs)
    with claimed(function):
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            around.end(error, returned=False)
            raise
    around.end(result, returned=True)
    return result


def _around(where: Where, journal: Any) -> Around:
    _, origin, number, executor, shared = where
    return Around(journal, origin=origin, number=number, executor=executor, shared=shared)


def _settled(span: Span, future: concurrent.futures.Future[Any]) -> None:
    if future.cancelled():
        span.done(None, cancelled=True)
    else:
        span.done(future.exception())
