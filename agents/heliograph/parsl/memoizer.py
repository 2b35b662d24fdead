"""A memoizer that asks another one, and notes which task is about to be submitted.

In: the kernel's own memoizer. Out: the same answers; (task number, try) left in this thread just before submission,
because `submit` of an executor is called with neither. Everything else, attributes included, is the other's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parsl.dataflow.memoization import Memoizer


class NotingMemoizer(Memoizer):  # type: ignore[misc]
    """Looks like the memoizer that it asks, also for isinstance."""

    def __init__(self, inner: Memoizer, note: Callable[[dict[str, Any]], None]) -> None:
        object.__setattr__(self, "_inner", inner)
        object.__setattr__(self, "_note", note)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._inner)

    def check_memo(self, task: dict[str, Any]) -> Any:
        self._note(task)
        return self._inner.check_memo(task)

    def update_memo_result(self, task: dict[str, Any], r: Any) -> None:
        self._inner.update_memo_result(task, r)

    def update_memo_exception(self, task: dict[str, Any], e: BaseException) -> None:
        self._inner.update_memo_exception(task, e)

    def start(self, *, run_dir: str, config_run_dir: str) -> None:
        self._inner.start(run_dir=run_dir, config_run_dir=config_run_dir)

    def close(self) -> None:
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    def __repr__(self) -> str:
        return repr(self._inner)
