"""Is a run alive? Derived whenever somebody asks, never stored, so whatever comes back is alive again.

In: a run's row, the time, and how far the pipeline lags. Out: 'running', 'completed', 'failed', 'lost' or 'unknown'.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

Liveness = Literal["running", "completed", "failed", "lost", "unknown"]
LEASE: Final = 60_000_000
"""Microseconds for which any record keeps a run alive that never had a lease of its own."""
AHEAD: Final = 86_400_000_000
"""A lease that ends more than these microseconds from now was written under a clock that was wrong."""
GOOD_EXITS: Final = frozenset({"", "0", "ok", "completed"})


class Signs(Protocol):
    """What a run's row tells about its life; times in microseconds UTC."""

    @property
    def ended(self) -> int | None: ...
    @property
    def failed(self) -> int | None: ...
    @property
    def exit(self) -> str | None: ...
    @property
    def first_seen(self) -> int | None: ...
    @property
    def last_seen(self) -> int | None: ...
    @property
    def lease_until(self) -> int | None: ...


def liveness(run: Signs, now: int, lag: int = 0) -> Liveness:
    """What can be said about a run at `now`.

    `lag` is how far the pipeline is behind, in microseconds: while it is more than a lease, signs of life may be
    on their way, and a run that seems dead is 'unknown'. The lease of the submitting process decides where there is
    one; samples from nodes that survived it do not keep a dead run alive. A run that ended has 'failed' when one of its
    tasks did, or its program said so on exit.
    """
    if run.ended is not None:
        return "failed" if run.failed or (run.exit is not None and run.exit not in GOOD_EXITS) else "completed"
    until = alive_until(run)
    if until > now + AHEAD:
        return "unknown"
    if now <= until:
        return "running"
    return "unknown" if lag > LEASE else "lost"


def alive_until(run: Signs) -> int:
    """Until when the signs seen so far keep the run alive."""
    if run.lease_until is not None:
        return run.lease_until
    return (run.last_seen or run.first_seen or 0) + LEASE
