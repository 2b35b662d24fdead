"""The engine of a watch: scan, settle, match, remember, call back.

In: a watch's configuration, and time. Out: records through `report` (FileFound, FileCallback, WatchOpened, WatchClosed)
and notices through `notify`. It has no thread of its own: its owner calls `step` when it is due, always from the same
thread, and `finish` or `close` at the end. It changes nothing that belongs to the whole process.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress

from heliograph.filewatch.below import version_below
from heliograph.filewatch.config import BadWatch, Notify, WatchConfig
from heliograph.filewatch.deliver import Deliveries, Report
from heliograph.filewatch.events import Events
from heliograph.filewatch.match import Matcher
from heliograph.filewatch.memory import Memory, MemoryFailed, Settled
from heliograph.filewatch.mounts import events_trusted, mount_table
from heliograph.filewatch.owner import owner_alive, owner_of_this
from heliograph.filewatch.rounds import Rounds
from heliograph.filewatch.scan import Scan, Version, version_of
from heliograph.filewatch.settle import Settling
from heliograph.filewatch.stats import Stats
from heliograph.filewatch.told import watch_closed, watch_opened

__all__ = ["Engine", "Report", "Stats"]
log = logging.getLogger("heliograph.filewatch")

SLICE = 0.1
"""Seconds of scanning in one step; the step after it is due as much later."""
CHUNK = 1000
"""Settled files in one step."""
AGAIN = 1.0
"""Seconds until what failed (memory, processes) is tried again."""


class Engine:
    """One watch. Raises BadWatch or OSError when it is made and the root or the memory cannot be used."""

    def __init__(self, config: WatchConfig, *, report: Report, notify: Notify | None = None) -> None:
        if not os.path.isdir(config.root):
            raise BadWatch("working_dir", f"{config.root!r} is not a folder that can be seen from here")
        self.config = config
        self._prefix = config.root.rstrip("/") + "/"
        self._matcher = Matcher(config.rules)
        self._memory = Memory(config.memory, owner=owner_of_this(), session=config.session, on_change=config.on_change)
        self._deliveries = Deliveries(config, self._memory, report=report, notify=notify)
        self._report = report
        self._settling = Settling(config.settle)
        self._rounds = Rounds(asked=config.interval)
        self._scan: Scan | None = None
        self._began = 0.0
        self._go_on = 0.0
        self._last: Scan | None = None
        self._scans = 0
        self._events: Events | None = None
        self._events_asked = config.events is False
        self._ending = self._closed = False
        self._last_scan_done = False
        self._complaints: set[str] = set()
        report(watch_opened(config))
        self._guarded(self._take_over)

    def step(self, now: float) -> float:
        """Do what is due at this time of the monotonic clock, for a moment at most; seconds until the next step is.
        Never raises."""
        if self._closed:
            return 3600.0
        if not self._guarded(lambda: self._step(now)):
            return AGAIN
        return max(0.0, self._next(now) - now)

    def wait(self, seconds: float) -> None:
        """Sleep so long, or until the file system says that something happened, or a callback ended."""
        if self._deliveries.running:
            self._deliveries.wait(min(seconds, 0.25))
        elif self._events is not None and self._events.alive:
            self._events.wait(seconds)
        else:
            time.sleep(seconds)

    def end(self, now: float) -> None:
        """From now on, finish: one last scan, its files settle, callbacks end. `step` goes on; `finished` tells."""
        if self._ending:
            return
        self._ending = True
        if self._scan is not None:  # it may have passed by what was written meanwhile
            self._scan.close()
            self._scan = None
        self._rounds.next = now

    @property
    def finished(self) -> bool:
        """Whether, after `end`, nothing is left to do."""
        return self._closed or (
            self._ending and self._last_scan_done and not self._settling and not self._deliveries.unfinished
        )

    @property
    def stats(self) -> Stats:
        last, deliveries = self._last, self._deliveries
        return Stats(
            files=deliveries.files,
            callbacks=deliveries.callbacks,
            failed=deliveries.failed,
            running=deliveries.running,
            waiting=deliveries.waiting,
            settling=len(self._settling),
            scans=self._scans,
            entries=0 if last is None else last.entries,
            scan_seconds=0.0 if last is None else last.seconds,
            interval=self._rounds.interval,
            events=self._events is not None and self._events.alive,
            errors=0 if last is None else last.errors,
        )

    def finish(self, deadline: float, reason: str = "ended") -> int:
        """`end`, all steps, and `close`: at the latest at this time of the monotonic clock. What could not be finished
        is counted in WatchClosed and returned."""
        self.end(time.monotonic())
        while not self.finished:
            moment = time.monotonic()
            if moment >= deadline:
                break
            pause = self.step(moment)
            if not self.finished:
                self.wait(max(0.0, min(pause, deadline - time.monotonic())))
        return self.close(reason)

    def close(self, reason: str) -> int:
        """End at once: running callbacks are killed, WatchClosed says how much was left unfinished. Never raises."""
        if self._closed:
            return 0
        self._closed = True
        unfinished = 0

        def ending() -> None:
            nonlocal unfinished
            left = self._deliveries.kill() | self._settling.paths()
            unfinished = len(left)
            self._report(watch_closed(self.config.watch, reason, files=self._deliveries.files, unfinished=unfinished))

        self._guarded(ending)
        if self._scan is not None:
            self._scan.close()
        if self._events is not None:
            self._events.close()
        self._memory.close()
        return unfinished

    def _step(self, now: float) -> None:
        self._deliveries.reap()
        if self._events is not None and not self._ending:
            if self._events.astray:  # a scan, and after it new events
                self._forget_events(now)
                self._events_asked = False
                return
            for path in self._events.take():
                self._happened(path, now)
            self._rounds.events = self._events.alive
        if self._scan is None and now >= self._rounds.next and not (self._ending and self._last_scan_done):
            self._begin_scan(now)
        if self._scan is not None and now >= self._go_on:
            self._scan_on(now)
        if not self._settle(now):
            self._deliveries.dispatch()

    def _next(self, now: float) -> float:
        """When the next step is due."""
        times = [self._deliveries.next_look(now)]
        if self._scan is not None:
            times.append(self._go_on)
        elif not (self._ending and self._last_scan_done):
            times.append(self._rounds.next)
        due = self._settling.next_due()
        return min(times) if due is None else min(*times, due)

    def _begin_scan(self, now: float) -> None:
        self._began = self._go_on = now
        self._scan = Scan(self.config.root, lambda path, entry: self._saw(path, entry, now))

    def _scan_on(self, now: float) -> None:
        scan = self._scan
        assert scan is not None  # noqa: S101 - for the type checker
        began = time.monotonic()
        if not scan.advance(SLICE):
            self._go_on = now + 2 * (time.monotonic() - began)
            return
        self._scan, self._last = None, scan
        self._scans += 1
        self._last_scan_done = self._ending
        if scan.error is not None:
            self._complain(f"{scan.errors} folders cannot be read, the first: {scan.error}")
        self._rounds.scanned(self._began, scan.seconds, scan.entries)
        if not self._ending:
            self._decide_on_events(scan, now)
            self._take_over()

    def _saw(self, path: str, entry: os.DirEntry[str], now: float) -> None:
        """A scan came by this path."""
        if self._memory.done_with(path) or not self._matcher(path):
            return
        with suppress(OSError):
            if not (entry.is_file(follow_symlinks=False) or (self.config.links and entry.is_file())):
                return
        self._look(path, now)

    def _happened(self, full: str, now: float) -> None:
        """There was an event at this path."""
        if not full.startswith(self._prefix):
            return
        path = full[len(self._prefix) :]
        if self._memory.done_with(path):
            return
        if self._matcher(path):
            self._look(path, now)
        elif os.path.isdir(full) and not os.path.islink(full):
            # Files can be in a new folder before its events are asked for.
            inner = Scan(self.config.root, lambda path, entry: self._saw(path, entry, now), below=path)
            if not inner.advance(SLICE):
                inner.close()
                self._rounds.next = now

    def _look(self, path: str, now: float) -> None:
        version = self._version(path)
        if version is not None and not self._memory.knows(path, version):
            self._settling.offer(path, version, now, time.time())

    def _version(self, path: str) -> Version | None:
        if self.config.links:
            return version_of(self._prefix + path)
        return version_below(self.config.root, path)

    def _settle(self, now: float) -> bool:
        """Look again at what is due; True when there is more."""
        due = self._settling.due(now, CHUNK)
        wall = time.time()
        settled: list[tuple[str, Version]] = []
        for path in due:
            version = self._version(path)
            if version is None:
                self._settling.drop(path)
            elif self._settling.settled(path, version, now, wall):
                settled.append((path, version))
        if settled:
            keys = self._deliveries.keys
            files = [
                Settled(path, version, tuple((keys[rule], text) for rule, text in self._matcher(path)))
                for path, version in settled
            ]
            try:
                self._deliveries.found(files)
            except MemoryFailed:
                for path, version in settled:
                    self._settling.again(path, version, now + AGAIN)
                raise
        return len(due) == CHUNK

    def _take_over(self) -> None:
        """What a process that is dead left undone."""
        self._deliveries.take_over(self._memory.left_behind(owner_alive))

    def _decide_on_events(self, scan: Scan, now: float) -> None:
        """Events after the first scan, because watchfiles follows links to folders: no tree with such links."""
        if scan.linked and self._events is not None:
            self._forget_events(now + self.config.interval)
        if self._events_asked or scan.linked:
            return
        self._events_asked = True
        if self.config.events or events_trusted(self.config.root, mount_table()):
            self._events = Events.open(self.config.root)
            if self._events is not None:
                self._rounds.events = True
                self._rounds.next = now  # what was written before there were events

    def _forget_events(self, scan: float) -> None:
        """From now on without; the next scan begins then."""
        if self._events is not None:
            self._events.close()
        self._events, self._rounds.events, self._rounds.next = None, False, scan

    def _guarded(self, work: Callable[[], None]) -> bool:
        """The border: whatever goes wrong here is told once, and tried again by the next step."""
        try:
            work()
        except Exception as error:
            self._complain(f"{type(error).__name__}: {error}", error)
            return False
        return True

    def _complain(self, text: str, error: Exception | None = None) -> None:
        if text not in self._complaints and len(self._complaints) < 100:
            self._complaints.add(text)
            unexpected = error is not None and not isinstance(error, (MemoryFailed, OSError))
            log.warning("Watch %s of %s: %s", self.config.watch, self.config.root, text, exc_info=unexpected)
