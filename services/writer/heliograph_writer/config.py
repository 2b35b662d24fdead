"""What a writer may be told.

In: values from the settings. Out: one frozen object, validated where it is made.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WriterConfig:
    """`linger` and the backoffs are in seconds, `max_bytes` in bytes of encoded batches, `prefetch` in batches."""

    name: str = "writer"
    linger: float = 0.2
    """How long the first batch in hand waits for company: one commit for many batches."""
    max_batches: int = 128
    max_bytes: int = 16 << 20
    prefetch: int = 256
    target_write: float = 2.5
    """A commit that takes longer makes the next one smaller, so that others get at the store."""
    idle_wait: float = 0.5
    """Longest wait in one receive: also how long a stop request can take to be noticed."""
    backoff_first: float = 0.1
    backoff_last: float = 5.0
    drain: float = 10.0
    """After a stop request, how long batches in hand may still try to reach the store."""
    retention_every: float = 3600.0

    def __post_init__(self) -> None:
        if self.linger < 0 or self.target_write <= 0 or self.idle_wait <= 0:
            raise ValueError("linger must be >= 0, target_write and idle_wait > 0 (seconds)")
        if self.max_batches < 1 or self.max_bytes < 1 or self.prefetch < 1:
            raise ValueError("max_batches, max_bytes and prefetch must be at least 1")
        if not 0 < self.backoff_first <= self.backoff_last:
            raise ValueError("backoff_first must be > 0 and not above backoff_last (seconds)")
