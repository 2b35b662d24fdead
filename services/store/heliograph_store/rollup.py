"""Rollups: how many tasks are in a state, and how many tries entered one in each minute.

In: rows as they were and as they are now. Out: what to add to `run_states` and `run_buckets`. Pure; messages are never
counted, so a message that comes twice changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from heliograph_store.schema import MINUTE, UNKNOWN_STATE


@dataclass
class Deltas:
    """Changes of one run's rollups: (run, app, state) → tasks, (run, app, state, minute) → entered."""

    run: int
    states: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    buckets: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def task(self, before: tuple[int, int] | None, now: tuple[int, int]) -> None:
        """A task's (app, progress) changed; `before` is None for a new one."""
        if before is not None:
            self.states[(self.run, before[0], before[1] & UNKNOWN_STATE)] -= 1
        self.states[(self.run, now[0], now[1] & UNKNOWN_STATE)] += 1

    def tries(self, app_before: int, before: Sequence[int | None] | None, app: int, now: Sequence[int | None]) -> None:
        """A try's first times of each state, or its task's app, changed; `before` is None for a new one."""
        if before is not None:
            if before == now and app_before == app:
                return
            self._entered(app_before, before, -1)
        self._entered(app, now, 1)

    def _entered(self, app: int, times: Sequence[int | None], by: int) -> None:
        run, buckets = self.run, self.buckets
        for rank, at in enumerate(times):
            if at is not None:
                buckets[(run, app, rank, at // MINUTE)] += by
