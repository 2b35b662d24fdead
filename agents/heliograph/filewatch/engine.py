"""The engine of a watch: scan, settle, match, remember, call back.

In: a watch's configuration, and time. Out: records through `report` (FileFound, FileCallback, WatchOpened, WatchClosed)
and notices through `notify`. It has no thread of its own: its owner calls `step` when it is due, always from the same
thread, and `finish` or `close` at the end. It changes nothing that belongs to the whole process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from heliograph.filewatch.config import Notify, WatchConfig
from heliograph.messages import Record

Report = Callable[[Record], None]


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
    """Folders that could not be read."""


class Engine:
    """One watch. Raises BadWatch or OSError when it is made and the root or the memory cannot be used."""

    def __init__(self, config: WatchConfig, *, report: Report, notify: Notify | None = None) -> None:
        self.config = config
        self._report = report
        self._notify = notify

    def step(self, now: float) -> float:
        """Do what is due at this time of the monotonic clock, for a moment at most; seconds until the next step is.
        Never raises."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until the file system says that something happened, or a callback ended."""
        raise NotImplementedError

    def end(self, now: float) -> None:
        """From now on, finish: one last scan, its files settle, callbacks end. `step` goes on; `finished` tells."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Whether, after `end`, nothing is left to do."""
        raise NotImplementedError

    @property
    def stats(self) -> Stats:
        raise NotImplementedError

    def finish(self, deadline: float, reason: str = "ended") -> int:
        """`end`, all steps, and `close`: at the latest at this time of the monotonic clock. What could not be finished
        is counted in WatchClosed and returned."""
        raise NotImplementedError

    def close(self, reason: str) -> int:
        """End at once: running callbacks are killed, WatchClosed says how much was left unfinished. Never raises."""
        raise NotImplementedError
