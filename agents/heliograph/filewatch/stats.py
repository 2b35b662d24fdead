"""What an engine says of itself, for metrics and for people.

In: nothing. Out: one frozen value.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stats:
    """An engine's own account, for metrics. Times are in seconds, counters over the engine's life."""

    files: int = 0
    """Files reported."""
    callbacks: int = 0
    failed: int = 0
    """Callbacks that ended in any other way than well."""
    running: int = 0
    waiting: int = 0
    """Files that wait for a callback."""
    settling: int = 0
    scans: int = 0
    entries: int = 0
    """Directory entries that the last complete scan went through."""
    scan_seconds: float = 0.0
    """What the last complete scan cost."""
    interval: float = 0.0
    """The present time between scans: grows with their cost."""
    events: bool = False
    errors: int = 0
    """Folders that the last complete scan could not read."""
