"""Keeps runs alive whose own process lives on this node.

In: the journals of owners, the clock. Out: which runs are due for a heartbeat. A run that said its end, or whose
owner's journal has ended, is not renewed: that it is lost is for readers to derive.
"""

from __future__ import annotations

from collections.abc import Collection

from heliograph.messages import RunHeartbeat

EVERY = 15.0
LEASE = 60_000_000


class Leases:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._next_at: dict[str, float] = {}

    def due(self, owned: Collection[str], moment: float) -> list[str]:
        """Runs to renew at `moment` (monotonic seconds); `owned` are those whose owner lives here and has not ended."""
        for run in self._next_at.keys() - set(owned):
            del self._next_at[run]
        due = [run for run in owned if moment >= self._next_at.setdefault(run, moment)]
        for run in due:
            self._next_at[run] = moment + EVERY
        return due

    def next_at(self) -> float | None:
        return min(self._next_at.values(), default=None)


def heartbeat(now: tuple[int, int]) -> RunHeartbeat:
    return RunHeartbeat(at=now[0], mono=now[1], lease=LEASE)
