"""Wrapping the `submit` of one executor instance: each task carries the trampoline, its number and its try.

In: an executor, the ids that the memoizer's delegate left in this thread. Out: the same call to the executor's own
`submit`, with one partial per function, so that Parsl's cache of serialised functions keeps working.
"""

from __future__ import annotations

import ast
import inspect
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from heliograph import wrapped
from heliograph.parsl import trampoline

_log = logging.getLogger("parsl.heliograph")
_KEPT = 128  # functions; as many as Parsl's own cache of serialised callables keeps
_UNABLE = {"RadicalPilotExecutor", "GlobusComputeExecutor"}
"""Executors that look into the function they are given, so that it must be the user's own."""


def shipped_source() -> str:
    """The trampoline's text without comments and docstrings: it is part of every task's payload."""
    tree = ast.parse(inspect.getsource(trampoline))
    tree.body = tree.body[1:]
    return ast.unparse(tree)


class Trampoline:
    """Callable here; pickled as a few lines of source text, which a worker of any version can run."""

    def __init__(self) -> None:
        self._reduced = (eval, ("(exec(text, space), space['run'])[1]", {"text": shipped_source(), "space": {}}))
        self.__name__ = "run"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return wrapped.run(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced

    def __repr__(self) -> str:  # Parsl logs each function that it submits
        return "<heliograph>"


@dataclass(frozen=True, kw_only=True)
class Where:
    """What a task needs to know to find its journal: fields of the route, nothing secret."""

    run: str
    route: tuple[tuple[str, Any], ...]
    """The other fields of the run's route."""
    executor: str
    shared: bool
    redact: str = ""

    def plain(self) -> Plain:
        return Plain((self.run, self.route, self.executor, self.shared, self.redact))


class Plain(tuple[Any, ...]):
    """Arrives as a tuple of builtins, which a worker without Heliograph can read; short in Parsl's log."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, (tuple(self),)

    def __repr__(self) -> str:
        return "<route>"


class TaskIds(threading.local):
    """Number and try of the task that this thread is about to submit; taken once."""

    waiting: tuple[int, int] | None = None

    def leave(self, number: int, try_: int) -> None:
        self.waiting = (number, try_)

    def take(self) -> tuple[int, int] | None:
        waiting, self.waiting = self.waiting, None
        return waiting


class Partials:
    """One partial per function object. Keyed by identity: equality of callables may be the user's own code."""

    def __init__(self, run: Trampoline, where: Where) -> None:
        self._run = run
        self._where = where.plain()
        self._kept: dict[int, tuple[Callable[..., Any], partial[Any]]] = {}

    def of(self, function: Callable[..., Any]) -> partial[Any]:
        kept = self._kept.get(id(function))
        if kept is not None and kept[0] is function:
            return kept[1]
        made = partial(self._run, function, self._where)
        made.__name__ = getattr(function, "__name__", "task")  # type: ignore[attr-defined]
        if len(self._kept) >= _KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[id(function)] = (function, made)
        return made


def wrap_submit(executor: Any, ids: TaskIds, where: Where) -> bool:
    """Wrap this instance's `submit`; False, with a line in the log, when it is not what we know how to wrap."""
    reason = _unable(executor)
    if reason is not None:
        _log.warning("Tasks of executor %s are recorded from the submitting side only: %s", executor.label, reason)
        return False
    inner = executor.submit
    partials = Partials(Trampoline(), where)

    def submit(
        func: Callable[..., Any], resource_specification: dict[str, Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        try:
            waiting = ids.take()
            wrapped = None if waiting is None else partials.of(func)
        except Exception:
            _log.warning("A task of executor %s runs unmonitored", where.executor, exc_info=True)
            waiting = wrapped = None
        if waiting is None or wrapped is None:  # not a task of this kernel
            return inner(func, resource_specification, *args, **kwargs)  # type: ignore[no-any-return]
        return inner(wrapped, resource_specification, *waiting, *args, **kwargs)  # type: ignore[no-any-return]

    executor.submit = submit
    return True


def _unable(executor: Any) -> str | None:
    names = {cls.__name__ for cls in type(executor).__mro__}
    if names & _UNABLE or getattr(executor, "source", False) or getattr(executor, "pack", False):
        return "it needs the source text of the functions themselves"
    try:
        parameters = list(inspect.signature(executor.submit).parameters.values())
        kinds = [p.kind for p in parameters]
        known = kinds[2:] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]
    except (TypeError, ValueError):
        known = False
    return None if known else "its submit() has a signature that this version does not know"
