"""The worker half: what is taken around a user's function, in the process that runs it.

In: a journal and the try. Out: TaskRunning, TaskEnded and NodeSeen records in that journal. Nothing here raises into
the caller (with a journal that keeps its own promise never to raise or block), and nothing is shared with the network:
a few system calls before and after, 40 to 70 µs a try. What failed here is counted in `failures` and said once.

    began = worker.began(journal, Try(origin="", number=7, try_=0, executor="htex"))
    try:
        result = f(*args, **kwargs)
    except BaseException as error:
        worker.ended(journal, began, error)
        raise
    worker.ended(journal, began, result, returned=True)
"""

from __future__ import annotations

import itertools
import logging
import os
import resource
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from heliograph import state
from heliograph.failure import Failure, describe, is_wrapper
from heliograph.interrupts import is_the_programs
from heliograph.messages import NodeSeen, Record, TaskEnded, TaskRunning

_log = logging.getLogger("heliograph")
_THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_OK = Failure()
failures = 0
"""Calls in this process that recorded nothing because of an error here."""


class Appends(Protocol):
    """The part of `heliograph.journal.Journal` that this half uses."""

    @property
    def id(self) -> str: ...
    def append(self, record: Record, /) -> bool: ...


class Try(NamedTuple):
    """Which try this is. `shared`: other tasks run in the same process (threads)."""

    origin: str
    number: int
    try_: int
    executor: str | None
    shared: bool = False


class Usage(NamedTuple):
    """CPU times in microseconds; ru_maxrss of this process and the largest of any reaped child, in bytes."""

    user: int
    system: int
    maxrss: int
    child_peak: int


class Began(NamedTuple):
    """What `ended` needs to know about the beginning."""

    try_: Try
    token: int
    pid: int
    mono: int
    usage: Usage | None
    reset: bool
    shared: bool


class Mark:
    """The high-water mark of this process. ru_maxrss is the larger of it and of what the process was before exec, the
    floor (getrusage(2)), and comes with the CPU times; /proc/self/status has the mark itself, but its forty lines cost
    half of all that is done around a try. So that is read only where ru_maxrss may be the floor."""

    NEAR = 4 << 20
    """Bytes by which a floor may be above the process as it began. Below such a floor the floor is told."""

    def __init__(self) -> None:
        self._near_floor = -1
        self._above = 1 << 63
        """From here on ru_maxrss is the mark."""
        began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
        found = self.of(began)
        if found is not None and 0 < began - found <= self.NEAR:
            self._near_floor = began

    def of(self, maxrss: int) -> int | None:
        """The mark in bytes (or a floor that is near), by ru_maxrss in bytes."""
        if maxrss >= self._above or maxrss == self._near_floor:
            return maxrss
        found = high_water()
        if found is None:
            return maxrss
        self._above = maxrss + (found < maxrss)
        return found


@dataclass
class _Process:
    """What does not change in one process, and which tries run in it now. A forked child makes its own."""

    pid: int
    host: str
    create_time: int | None
    worker: str | None
    pool: str | None
    block: str | None
    can_reset: bool = True
    mark: Mark = field(default_factory=Mark)
    active: set[int] = field(default_factory=set)
    latest: int = 0
    told: set[tuple[str, str]] = field(default_factory=set)
    trying: dict[int, tuple[int, Appends, Try]] = field(default_factory=dict)
    """The try that each thread is in, by the thread's identity, with its token."""


_process: _Process | None = None
_tokens = itertools.count(1)


def began(journal: Appends, try_: Try) -> Began:
    """The try starts now: call this last before the user's function. Never raises."""
    try:
        return _began(journal, try_)
    except Exception as error:
        note_failure(error)
        return Began(try_, 0, os.getpid(), time.monotonic_ns() // 1000, None, reset=False, shared=True)


def ended(journal: Appends, began: Began, outcome: object, *, returned: bool = False) -> None:
    """The try ended: call this first after the user's function. Never raises.

    `outcome` is the exception that was raised, or what was returned; Parsl's RemoteExceptionWrapper counts as the
    failure it carries. With `returned` an exception object is a value like any other, and the try succeeded.
    """
    try:
        _ended(journal, began, outcome, returned=returned)
    except Exception as error:
        note_failure(error)


def node_seen(journal: Appends, executor: str | None) -> None:
    """Tell once for each process, run and executor where this is. Never raises; later calls cost a microsecond."""
    try:
        here = _here()
        key = (journal.id, executor or "")
        if key not in here.told:
            here.told.add(key)
            journal.append(_node(here, executor or ""))
    except Exception as error:
        note_failure(error)


def current_try() -> tuple[Appends, Try] | None:
    """The journal and the try that this thread is in; None outside of any, and in a child that the try forked."""
    if _process is None or _process.pid != os.getpid():
        return None
    found = _process.trying.get(threading.get_ident())
    return None if found is None else found[1:]


def _began(journal: Appends, try_: Try) -> Began:
    here = _here()
    token = next(_tokens)
    shared = try_.shared or bool(here.active)
    here.latest = token
    usage = _usage(resource.RUSAGE_SELF)
    journal.append(
        TaskRunning(
            at=time.time_ns() // 1000,
            mono=time.monotonic_ns() // 1000,
            origin=try_.origin,
            number=try_.number,
            try_=try_.try_,
            host=here.host,
            pid=here.pid,
            create_time=here.create_time,
            thread=threading.get_native_id(),
            worker=here.worker,
            pool=here.pool,
            block=here.block,
            executor=try_.executor,
            shared=shared,
            cpu_user=usage.user,
            cpu_system=usage.system,
        )
    )
    reset = not shared and here.can_reset and _reset_peak(here)
    if shared:
        usage = _usage(_THREAD)
    here.trying[threading.get_ident()] = token, journal, try_
    here.active.add(token)  # last: what fails above does not count as running for ever
    return Began(try_, token, here.pid, time.monotonic_ns() // 1000, usage, reset, shared)


def _ended(journal: Appends, began: Began, outcome: object, *, returned: bool) -> None:
    mono = time.monotonic_ns() // 1000
    here = _here()
    if here.pid != began.pid:
        return  # the user's function forked and this is the child: the try ends in its parent
    now = _usage(_THREAD if began.shared else resource.RUSAGE_SELF)
    alone = here.latest == began.token
    here.active.discard(began.token)
    trying = here.trying.get(threading.get_ident())
    if trying is not None and trying[0] == began.token:
        del here.trying[threading.get_ident()]
    failed = is_wrapper(outcome) or (not returned and isinstance(outcome, BaseException))
    failure = describe(outcome) if failed else _OK
    try_, before = began.try_, began.usage
    journal.append(
        TaskEnded(
            at=time.time_ns() // 1000,
            mono=mono,
            origin=try_.origin,
            number=try_.number,
            try_=try_.try_,
            host=here.host,
            pid=here.pid,
            ok=not failed,
            elapsed=max(0, mono - began.mono),
            exit=failure.exit,
            exc_type=failure.exc_type,
            exc_message=failure.exc_message,
            exc_place=failure.exc_place,
            traceback=failure.traceback,
            cpu_user=None if before is None else max(0, now.user - before.user),
            cpu_system=None if before is None else max(0, now.system - before.system),
            peak_rss=_peak(here, before, now),
            peak_exact=began.reset and alone,
        )
    )


def _usage(who: int) -> Usage:
    """Of the process with its reaped children, or (RUSAGE_THREAD) of this thread alone: where threads share a process,
    only the thread's own time is certainly the try's."""
    own = resource.getrusage(who)
    maxrss = own.ru_maxrss * _MAXRSS_UNIT
    if who != resource.RUSAGE_SELF:
        return Usage(int(own.ru_utime * 1e6), int(own.ru_stime * 1e6), maxrss, 0)
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(
        int((own.ru_utime + reaped.ru_utime) * 1e6),
        int((own.ru_stime + reaped.ru_stime) * 1e6),
        maxrss,
        reaped.ru_maxrss * _MAXRSS_UNIT,
    )


def _peak(here: _Process, before: Usage | None, now: Usage) -> int | None:
    """Largest resident size of one process of the try: this one since its mark was reset, or a child reaped during
    the try that was larger (known only when it was the largest ever reaped here)."""
    own = here.mark.of(now.maxrss)
    if before is not None and now.child_peak > before.child_peak:
        return max(own or 0, now.child_peak)
    return own


def high_water() -> int | None:
    """VmHWM in bytes."""
    try:
        status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if is_the_programs(error):
            raise
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    try:
        text = os.read(status, 8192)
    finally:
        os.close(status)
    start = text.find(b"VmHWM:")
    return None if start < 0 else int(text[start + 6 : text.index(b"kB", start)]) * 1024


def _reset_peak(here: _Process) -> bool:
    """Let the high-water mark begin again at the present size (proc_pid_clear_refs(5)). The descriptor is not kept:
    a program that closes all of its descriptors would have us write into a file of its own."""
    try:
        handle = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        if is_the_programs(error):
            raise
        here.can_reset = False
        return False
    try:
        os.write(handle, b"5")
        return True
    except OSError as error:
        if is_the_programs(error):
            raise
        here.can_reset = False
        return False
    finally:
        os.close(handle)


def _here() -> _Process:
    global _process  # noqa: PLW0603 (one cache a process; the pid tells a forked child)
    if _process is None or _process.pid != os.getpid():
        env = os.environ.get
        made = _Process(
            pid=os.getpid(),
            host=state.host(),
            create_time=state.process_start(os.getpid()),
            worker=env("PARSL_WORKER_RANK"),
            pool=env("PARSL_WORKER_POOL_ID"),
            block=env("PARSL_WORKER_BLOCK_ID"),
        )
        if _process is None or _process.pid != made.pid:  # else another thread was faster, and its tries stand there
            _process = made
    return _process


def _node(here: _Process, executor: str) -> NodeSeen:
    system = os.uname()
    count = os.environ.get("PARSL_WORKER_COUNT", "")
    return NodeSeen(
        at=time.time_ns() // 1000,
        mono=time.monotonic_ns() // 1000,
        host=here.host,
        # Outside a pool of workers the process is one, for each executor that uses it.
        pool=here.pool or f"{here.host}/{here.pid}/{executor}",
        executor=executor,
        block=here.block,
        workers=int(count) if count.isdecimal() else None,
        cpu_count=os.cpu_count(),
        memory_total=_memory_total(),
        python=".".join(map(str, sys.version_info[:3])),
        platform=f"{system.sysname} {system.release} {system.machine}",
        pid=here.pid,
    )


def _memory_total() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def note_failure(error: Exception) -> None:
    """Count an error of ours, and say the first one of this process. Raises what a signal handler of the program's
    raised: that is no error of ours."""
    if is_the_programs(error):
        raise error
    global failures  # noqa: PLW0603 (a count for the process)
    failures += 1
    if failures == 1:
        _log.warning("Heliograph could not record something in this process; the program goes on: %r", error)
