"""The one door from pages to the store.

In: a read function of `heliograph_store` and its arguments. Out: what it returns, asked for once however many look
at it at the same time, and again only when the run has changed since.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from heliograph_dashboard.config import DashboardConfig
from heliograph_dashboard.live import Versions
from heliograph_dashboard.pipeline import Flow, Pipeline
from heliograph_store.read.runs import Run
from heliograph_store.store import Store

P = ParamSpec("P")
T = TypeVar("T")
KEPT: Final = 256
"""Answers that are kept; a page asks for a handful."""
SHARE: Final = 50
"""What is read seldom is as good for so many times as long as reading it took: so it takes 2 % of a core at most."""


@dataclass
class _Kept:
    """An answer, or the promise of one: of which version, asked for when, and how many seconds it took."""

    version: int
    began: float
    future: Future[Any] = field(default_factory=Future)
    took: float = 0.0


class Data:
    """Reads the store for all viewers. Safe to share between threads."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        versions: Versions,
        config: DashboardConfig,
        pipeline: Pipeline | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._open, self._versions, self.config, self._pipeline = open_store, versions, config, pipeline
        self._lock = threading.Lock()
        self.given = 0
        self.asked = 0
        """Reads by pages, and those of them that went to the database; for metrics and tests."""
        self._answers: OrderedDict[Any, _Kept] = OrderedDict()

    def read(self, function: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(store, *args, **kwargs)`. Raises what it raises, StoreError among it.

        The run is the first argument or `run_id`; what concerns no run is asked again when anything changed.
        Do not change what comes back: others have the same.
        """
        return self._read(0.0, function, args, kwargs)

    def read_seldom(
        self, seconds: float, function: Callable[Concatenate[Store, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `read`, but what was read less than so many seconds ago (no more than 0: as `read`), or less than `SHARE`
        times as long as that took, is good enough though the run has changed."""
        return self._read(seconds, function, args, kwargs)

    def _read(self, lasts: float, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        version = self._versions.of(_run_of(args, kwargs))
        try:
            key = (function, tuple(map(_part, args)), tuple((k, _part(v)) for k, v in sorted(kwargs.items())))
            hash(key)
        except TypeError:
            return function(self._open(), *args, **kwargs)
        with self._lock:
            self.given += 1
            known = self._answers.get(key)
            mine = known is None or not (known.version >= version or self._lasts(known, lasts))
            if mine or known is None:
                known = self._answers[key] = _Kept(version, self._clock())
                self.asked += 1
                if len(self._answers) > KEPT:
                    self._answers.popitem(last=False)
            self._answers.move_to_end(key)
        if mine:
            self._ask(key, known, lambda: function(self._open(), *args, **kwargs))
        answer: T = known.future.result()
        return answer

    def _lasts(self, known: _Kept, seconds: float) -> bool:
        return seconds > 0 and self._clock() - known.began < max(seconds, SHARE * known.took)

    def uncached(self) -> Data:
        """The same store, asked every time: for those who read through whole tables."""
        return _Uncached(self._open, self._versions, self.config, self._pipeline)

    def forget(self) -> None:
        """Ask for everything anew, as after a start."""
        with self._lock:
            self._answers.clear()

    def flow(self) -> Flow:
        """How the pipeline is doing; its `lag` is what `liveness` wants to know."""
        return self._pipeline.flow() if self._pipeline is not None else Flow()

    def version(self, run_id: int | None) -> int:
        """How often this run (None: any run) has changed, as far as is known; grows."""
        return self._versions.of(run_id)

    def _ask(self, key: Any, kept: _Kept, ask: Callable[[], Any]) -> None:
        try:
            answer = ask()
            kept.took = self._clock() - kept.began
            kept.future.set_result(answer)
        except BaseException as error:
            with self._lock:  # the next one asks again
                if self._answers.get(key) is kept:
                    del self._answers[key]
            kept.future.set_exception(error)


class _Uncached(Data):
    def _read(self, lasts: float, function: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        return function(self._open(), *args, **kwargs)


def _part(value: Any) -> Any:
    """A part of a key. A run is known by its number and by its signs of life: who asks with an older row, read just
    before the run went on, must not leave an answer to those who ask with the newer one."""
    if isinstance(value, Run):
        return Run, value.id, value.ended, value.last_seen, value.lease_until
    return value


def _run_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    first = args[0] if args else kwargs.get("run_id", kwargs.get("run"))
    if isinstance(first, Run):
        return first.id
    return first if isinstance(first, int) and not isinstance(first, bool) else None
