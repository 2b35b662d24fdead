"""Settling: a file is ready when its size and modification time have been still for a while.

In: versions of files as they are seen, and the monotonic clock. Out: the files whose time has come to be looked at
again, and among them those that are settled. Stillness is measured by this process's own clock: the file server's may
differ, so a modification time counts only when it is older than any difference of clocks.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from heliograph.filewatch.scan import Version

SKEW = 300.0
"""Seconds by which clocks of one cluster may differ; more breaks its logins, too."""


class _Candidate(NamedTuple):
    version: Version
    due: float


class Settling:
    """Files that were seen and are not yet settled, by path."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._files: dict[str, _Candidate] = {}
        self._queue: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, path: object) -> bool:
        return path in self._files

    def offer(self, path: str, version: Version, now: float, wall: float) -> None:
        """This version was seen now; `wall` is the same moment in seconds since the epoch. A new one begins anew."""
        before = self._files.get(path)
        if before is not None and before.version == version:
            return
        old = wall - version.mtime / 1e9 >= self._settle + SKEW
        due = now if old else now + self._settle
        self._files[path] = _Candidate(version, due)
        heapq.heappush(self._queue, (due, path))

    def due(self, now: float, most: int) -> list[str]:
        """At most so many paths whose time has come; each must be answered with `settled` or `drop`."""
        found: list[str] = []
        while self._queue and self._queue[0][0] <= now and len(found) < most:
            due, path = heapq.heappop(self._queue)
            candidate = self._files.get(path)
            if candidate is not None and candidate.due == due:
                found.append(path)
        return found

    def settled(self, path: str, version: Version, now: float, wall: float) -> bool:
        """Whether a path that was due is still as it was; otherwise its time begins anew."""
        if self._files[path].version == version:
            del self._files[path]
            return True
        self.offer(path, version, now, wall)
        return False

    def again(self, path: str, version: Version, now: float) -> None:
        """What settled could not be written down: it is due once more, at this time."""
        self._files[path] = _Candidate(version, now)
        heapq.heappush(self._queue, (now, path))

    def paths(self) -> set[str]:
        return set(self._files)

    def drop(self, path: str) -> None:
        """It is gone."""
        self._files.pop(path, None)

    def next_due(self) -> float | None:
        """When the next path is due, None for never."""
        while self._queue:
            due, path = self._queue[0]
            candidate = self._files.get(path)
            if candidate is not None and candidate.due == due:
                return due
            heapq.heappop(self._queue)
        return None
