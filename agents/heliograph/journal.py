"""The journal: where a process writes down its records, for the node's agent to ship.

In: records. Out: frames in a file of this process alone, on the node's own disk. `append` costs microseconds, never
raises, never waits for anybody and starts no thread; what cannot be written is counted, and told by a `Dropped` record
before the next one that can. A forked child gets a journal of its own at its first append.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from heliograph import settings, state, usage, watchman
from heliograph.frames import CLOSED, CODES, framed
from heliograph.interrupts import is_the_programs
from heliograph.messages import CLASS_OF, MAX_RECORD, Class, Dropped, Record
from heliograph.payload import clip, now, payload_of
from heliograph.route import Route
from heliograph.segment import DescriptorLost, Segment
from heliograph.settings import Limits

__all__ = ["Journal", "Limits", "Route", "clip", "close_run", "journal_for", "now"]

log = logging.getLogger("heliograph.journal")

LOOK_SECONDS = 2.0
"""How often an appending process looks for an agent and at its disk use."""
REOPEN_SECONDS = 1.0
"""How often opening a file is tried again where it failed."""
SHED = {Class.SAMPLES: 0.75, Class.STATES: 0.95, Class.CONTROL: 1.0, Class.COMMANDS: 1.0}
"""At which fullness records of a class are dropped: samples first."""


class Journal:
    """Appends records; never raises, never blocks, no thread, no lock held across I/O.

    Threads append side by side: the kernel puts whole writes behind each other (O_APPEND). The lock below is only ever
    tried, never waited for; who does not get it leaves the turning of segments to who did.
    """

    def __init__(self, route: Route, *, folder: Path | None, limits: Limits, start_agent: bool, maker: str) -> None:
        self.route = route
        self._state, self._limits, self._start_agent, self._maker = folder, limits, start_agent, maker
        self._logged: set[str] = set()
        self._segment: Segment | None = None
        self._namespace: Path | None = None
        self._pid = 0
        self._total = self._told = 0
        self._begin()

    @classmethod
    def open(
        cls,
        route: Route,
        *,
        folder: Path | None = None,
        limits: Limits | None = None,
        start_agent: bool = True,
        maker: str = "",
    ) -> Journal:
        """A journal under the state folder (`folder`, else this user's). Where that is not to be had, appends are
        counted as dropped until it is. `maker` names an agent that writes records of its own."""
        journal = cls(
            route,
            folder=folder,
            limits=limits if limits is not None else _site_limits(),
            start_agent=start_agent,
            maker=maker,
        )
        _open_journals.add(journal)
        try:
            journal._next_segment(time.monotonic())
        except Exception as error:
            journal._complain(error)
        return journal

    def append(self, record: Record, *more: Record) -> bool:
        """Write the record down, and `more` of the same class with it, in one go. False when one of them was dropped
        (and counted)."""
        cls = CLASS_OF.get(type(record))
        if cls is None:
            return self._drop(Class.STATES, f"{type(record).__name__} is no record")
        records = (record, *more)
        frames: list[bytes] | None = None
        try:
            if os.getpid() != self._pid:
                self._forked()
            frames = self._framed(cls, records)
            return bool(frames) and self._put(cls, frames) and len(frames) == len(records)
        except Exception as error:  # the border: the user's program must not notice
            theirs = is_the_programs(error)
            lost = len(records if frames is None else frames)
            self._drop(cls, "the program's signal handler interrupted" if theirs else error, lost)
            if theirs:
                raise
            return False

    def close(self) -> None:
        """Mark the clean end. A record that comes later all the same begins a new journal."""
        segment, self._segment = self._segment, None
        if segment is None or os.getpid() != self._pid:
            return
        try:
            segment.write(self._untold() + framed(CLOSED, b"end"))
            self._told = self._total
        except Exception as error:
            self._complain(error)
        self._look_for_agent()
        self._begin()

    def _begin(self) -> None:
        """A journal that nothing was written to yet: at first, in a forked child, and after the end."""
        pid = os.getpid()
        if pid != self._pid or self._told == self._total:  # else what was dropped is yet to be told, here
            self.dropped: dict[Class, int] = dict.fromkeys(Class, 0)
            self._total, self._reason = 0, ""
        self._told = 0
        self._pid = pid
        self.id = os.urandom(8).hex()
        self._segment = None
        self._namespace = None
        self._turning = threading.Lock()
        self._counting = threading.RLock()
        self._fullness = 0.0
        self._look_at = 0.0
        self._retry_at = 0.0
        self._since_look = 0
        self._look_bytes = min(1 << 20, self._limits.process // 16)

    def _framed(self, cls: Class, records: Sequence[Record]) -> list[bytes]:
        """The records' frames, but for those that are too large: these are dropped."""
        code, frames = CODES[cls], []
        for record in records:
            payload = payload_of(record)
            if len(payload) > MAX_RECORD:
                self._drop(cls, f"a record over {MAX_RECORD} bytes")
            else:
                frames.append(framed(code, payload))
        return frames

    def _put(self, cls: Class, frames: Sequence[bytes], *, again: bool = True) -> bool:
        """Write these frames. Few calls deep: between a program's own work, each comes from cold caches."""
        moment = time.monotonic()
        if moment >= self._look_at or self._since_look >= self._look_bytes:
            self._look(moment)
        segment = self._segment or self._next_segment(moment)
        if segment is None:
            return self._drop(cls, "", len(frames))
        if self._fullness >= SHED[cls]:
            return self._drop(cls, "the journals' space is used up", len(frames))
        total = self._total
        pieces = frames if total == self._told else [self._untold(), *frames]
        data = b"".join(pieces)
        try:
            written = segment.write(data)
        except OSError as error:
            if again and isinstance(error, DescriptorLost):  # its lock is gone, too: a reader may take it for ended
                self._complain(error)
                self._begin()
                return self._put(cls, frames, again=False)
            if error.errno != errno.EFBIG:
                raise
            written = 0
        self._since_look += written
        if written < len(data):
            segment, whole = self._go_on(segment, pieces, written, moment)
            if whole < len(pieces):
                return self._drop(cls, "no space left for a whole record", min(len(frames), len(pieces) - whole))
        self._told = total
        if segment.size >= self._limits.segment:
            self._next_segment(moment, full=segment)
        return True

    def _go_on(self, segment: Segment, pieces: Sequence[bytes], written: int, moment: float) -> tuple[Segment, int]:
        """Write to the next segment what found no room (RLIMIT_FSIZE) in this one. Also returns how many of the pieces
        are whole."""
        whole = _whole(pieces, written)
        following = self._next_segment(moment, full=segment)
        if following is None or following is segment:
            return segment, whole
        written = following.write(b"".join(pieces[whole:]))
        self._since_look += written
        return following, whole + _whole(pieces[whole:], written)

    def _next_segment(self, moment: float, full: Segment | None = None) -> Segment | None:
        """Open the first segment, or the one after `full`. None when it cannot be (or another thread is at it)."""
        # Far before the time to try again: somebody has set the clock itself back, as tests do that freeze it.
        waits = self._retry_at - REOPEN_SECONDS <= moment < self._retry_at
        turning = self._turning  # this very one is given back, should another thread end the journal meanwhile
        if waits or not turning.acquire(blocking=False):
            return self._segment
        try:
            if self._segment is not full:
                return self._segment  # another thread was faster
            if full is None:
                self._segment = self._first_segment()
            else:
                self._segment = Segment.after(full, self.route, self._maker)
            self._retry_at = 0.0
        except OSError as error:
            if is_the_programs(error):
                raise
            self._retry_at = moment + REOPEN_SECONDS
            self._complain(error)
        finally:
            turning.release()
        return self._segment

    def _first_segment(self) -> Segment:
        self._namespace = state.namespace_folder(self._state)
        with watchman.at_the_gate(self._namespace) as seen:
            segment = Segment.first(self._namespace / "journals" / self.id, self.route, self._maker)
            self._look_for_agent(leaving=not seen)
        _close_at_exit()  # not at the fork: multiprocessing forgets what was registered before its child's own start
        return segment

    def _look(self, moment: float) -> None:
        """Every few seconds of appending: is there an agent, and how full is the disk?"""
        self._look_at, self._since_look = moment + LOOK_SECONDS, 0
        segment = self._segment
        if self._namespace is None or segment is None:
            return
        self._look_for_agent()
        try:
            if segment.removed():
                self._complain("the journal was deleted under its process; a new one is begun")
                self._begin()
            else:
                self._fullness = usage.fullness(self._namespace, segment.folder, self._limits)
        except OSError as error:  # no descriptor left to look with: there is one to write with
            if is_the_programs(error):
                raise
            self._complain(error)

    def _look_for_agent(self, *, leaving: bool = False) -> None:
        if not self._start_agent or self._namespace is None:
            return
        try:
            watchman.ensure_agent(self._namespace, leaving=leaving)
        except Exception as error:  # the records stand in the journal, whoever ships them later
            if is_the_programs(error):
                raise
            self._complain(error)

    def _untold(self) -> bytes:
        """The frame that tells what was dropped so far, if anything."""
        if self._total == self._told:
            return b""
        at, mono = now()
        record = Dropped(
            at=at,
            mono=mono,
            journal=self.id,
            host=state.host(),
            samples=self.dropped[Class.SAMPLES],
            states=self.dropped[Class.STATES],
            control=self.dropped[Class.CONTROL] + self.dropped[Class.COMMANDS],
            reason=self._reason,
        )
        return framed(CODES[Class.CONTROL], payload_of(record))

    def _drop(self, cls: Class, reason: str | Exception, count: int = 1) -> bool:
        with self._counting:  # re-entrant: a signal handler may append, too; nothing is written in here
            self.dropped[cls] += count
            self._total += count
        if reason:
            self._complain(reason)
        return False

    def _complain(self, reason: str | Exception) -> None:
        """One log line for each reason in a journal's life."""
        self._reason = clip(str(reason), 200) or ""
        kind = reason if isinstance(reason, str) else f"{type(reason).__name__} {getattr(reason, 'errno', '')}"
        if kind in self._logged:
            return
        self._logged.add(kind)
        with contextlib.suppress(Exception):  # a user's log handler must not reach the user's program through us
            log.warning("Journal of run %s: %s. What is not recorded is counted.", self.route.run, self._reason)

    def _forked(self) -> None:
        """In a child: leave the parent's journal (its lock stays with the parent) and begin a new one."""
        if self._segment is not None:
            self._segment.close()
        self._segment = None
        self.route = replace(self.route, owner=False)
        self._begin()


def _whole(pieces: Sequence[bytes], written: int) -> int:
    """How many of the pieces are whole in so many bytes of them."""
    return sum(end <= written for end in accumulate(map(len, pieces)))


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_by_run: dict[str, Journal] = {}
_exit_pid = 0


def journal_for(route: Route) -> Journal:
    """The journal of this process for a run; the same one at every call. A fork gets its own underneath."""
    journal = _by_run.get(route.run)
    if journal is None:
        opened = Journal.open(route)
        journal = _by_run.setdefault(route.run, opened)
        if journal is not opened:  # another thread was faster; unclosed, this one would look like a process that died
            opened.close()
    return journal


def journal_of(run: str) -> Journal | None:
    """The journal of this process for a run, if `journal_for` was asked for it before."""
    return _by_run.get(run)


def only_route() -> Route | None:
    """The route of the one run that this process has a journal of; None when there are none or several."""
    routes = [journal.route for journal in _by_run.values()]
    return routes[0] if len(routes) == 1 else None


def close_run(run: str) -> None:
    """The run is over in this process: close the journal that `journal_for` gave out, if it did."""
    journal = _by_run.pop(run, None)
    if journal is not None:
        journal.close()


def _site_limits() -> Limits:
    try:
        return settings.site().limits()
    except Exception:  # an odd site file must not reach the user's program
        log.exception("The site's settings cannot be used")
        return Limits()


def _after_fork() -> None:
    for journal in list(_open_journals):
        journal._forked()


def _close_at_exit() -> None:
    """Close cleanly where the interpreter, or a multiprocessing child (which ends without atexit), ends in order."""
    global _exit_pid  # noqa: PLW0603
    pid = os.getpid()
    if _exit_pid == pid:
        return
    if not _exit_pid:
        atexit.register(_close_all)
    _exit_pid = pid
    process_module = sys.modules.get("multiprocessing.util")
    if process_module is not None:
        process_module.Finalize(None, _close_all, exitpriority=0)


def _close_all() -> None:
    for journal in list(_open_journals):
        journal.close()


os.register_at_fork(after_in_child=_after_fork)
