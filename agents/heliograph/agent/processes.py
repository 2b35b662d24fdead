"""The process table, read once a tick: one small row for every process, more only for those that belong to a try.

In: /proc, or psutil where there is none. Out: `Row` by pid, and `Details` of single processes. A process that
vanishes while it is read, or that belongs to somebody else, is left out or has unknown details; neither is an error.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import NamedTuple, Protocol

import psutil

_TICK = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATUS = {
    b"R": psutil.STATUS_RUNNING,
    b"S": psutil.STATUS_SLEEPING,
    b"D": psutil.STATUS_DISK_SLEEP,
    b"T": psutil.STATUS_STOPPED,
    b"t": psutil.STATUS_TRACING_STOP,
    b"Z": psutil.STATUS_ZOMBIE,
    b"X": psutil.STATUS_DEAD,
    b"I": psutil.STATUS_IDLE,
    b"P": psutil.STATUS_PARKED,
}


class Row(NamedTuple):
    """One process. CPU times in microseconds, those of reaped children apart; memory in bytes; `create_time` in clock
    ticks since boot, None where the system does not tell it so."""

    pid: int
    ppid: int
    create_time: int | None
    status: str
    user: int
    system: int
    reaped_user: int
    reaped_system: int
    threads: int
    vms: int
    rss: int
    cpu_num: int | None


class Details(NamedTuple):
    """What costs further reads. `read` and `write` are bytes through system calls (caches and network file systems
    included), those of reaped children too; context switches are of the main thread; `peak` is VmHWM and `rss` VmRSS in
    bytes: the row's figure is a rough one since Linux 6.2, which counts pages for each processor apart."""

    read: int | None = None
    write: int | None = None
    voluntary: int | None = None
    involuntary: int | None = None
    peak: int | None = None
    rss: int | None = None


UNKNOWN = Details()


class ProcessTable(Protocol):
    """Where rows come from; tests hand in their own."""

    def rows(self) -> dict[int, Row]: ...
    def details(self, pid: int) -> Details: ...
    def started(self, mono: int) -> int | None:
        """The CLOCK_MONOTONIC time in microseconds in the unit of `create_time`."""


def process_table() -> ProcessTable:
    """The table of this system."""
    return ProcTable() if sys.platform == "linux" else PsutilTable()


class ProcTable:
    """Linux: one read of /proc/<pid>/stat a process, about 15 microseconds; psutil needs several."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc

    def rows(self) -> dict[int, Row]:
        found: dict[int, Row] = {}
        for name in os.listdir(self._proc):
            if name.isdecimal():
                row = _stat(self._read(name, "stat"))
                if row is not None:
                    found[row.pid] = row
        return found

    def details(self, pid: int) -> Details:
        name = str(pid)
        io = _fields(self._read(name, "io"), {b"rchar", b"wchar"})
        status = _fields(
            self._read(name, "status"), {b"VmHWM", b"VmRSS", b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches"}
        )
        peak, rss = status.get(b"VmHWM"), status.get(b"VmRSS")
        return Details(
            read=io.get(b"rchar"),
            write=io.get(b"wchar"),
            voluntary=status.get(b"voluntary_ctxt_switches"),
            involuntary=status.get(b"nonvoluntary_ctxt_switches"),
            peak=None if peak is None else peak * 1024,
            rss=None if rss is None else rss * 1024,
        )

    def started(self, mono: int) -> int | None:
        # Processes are dated by CLOCK_BOOTTIME, which also runs while the machine sleeps.
        asleep = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)) // 1000
        return (mono + asleep) // _TICK

    def _read(self, pid: str, name: str) -> bytes:
        try:
            handle = os.open(f"{self._proc}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(handle, 8192)
        except OSError:
            return b""
        finally:
            os.close(handle)


class PsutilTable:
    """Everywhere else. Processes have no `create_time` there, because recorders have none to compare it with."""

    def rows(self) -> dict[int, Row]:
        found: dict[int, Row] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError), process.oneshot():
                cpu, memory = process.cpu_times(), process.memory_info()
                found[process.pid] = Row(
                    pid=process.pid,
                    ppid=process.ppid(),
                    create_time=None,
                    status=str(process.status()),
                    user=int(cpu.user * 1e6),
                    system=int(cpu.system * 1e6),
                    reaped_user=int(getattr(cpu, "children_user", 0.0) * 1e6),
                    reaped_system=int(getattr(cpu, "children_system", 0.0) * 1e6),
                    threads=process.num_threads(),
                    vms=memory.vms,
                    rss=memory.rss,
                    cpu_num=None,
                )
        return found

    def details(self, pid: int) -> Details:
        with contextlib.suppress(psutil.Error, OSError):
            switches = psutil.Process(pid).num_ctx_switches()
            return Details(voluntary=switches.voluntary, involuntary=switches.involuntary)
        return UNKNOWN

    def started(self, mono: int) -> int | None:
        return None


def _stat(text: bytes) -> Row | None:
    """A row from proc_pid_stat(5). The name in brackets may hold anything, so fields are counted from its end."""
    head, bracket, tail = text.rpartition(b")")
    if not bracket:
        return None
    fields = tail.split()
    try:
        return Row(
            pid=int(head.partition(b" ")[0]),
            ppid=int(fields[1]),
            create_time=int(fields[19]),
            status=_STATUS.get(fields[0], "unknown"),
            user=int(fields[11]) * _TICK,
            system=int(fields[12]) * _TICK,
            reaped_user=int(fields[13]) * _TICK,
            reaped_system=int(fields[14]) * _TICK,
            threads=int(fields[17]),
            vms=int(fields[20]),
            rss=int(fields[21]) * _PAGE,
            cpu_num=int(fields[36]),
        )
    except (ValueError, IndexError):
        return None


def _fields(text: bytes, wanted: set[bytes]) -> dict[bytes, int]:
    """Numbers of 'name: number' lines."""
    found: dict[bytes, int] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(b":")
        if colon and name in wanted:
            with contextlib.suppress(ValueError, IndexError):
                found[name] = int(value.split()[0])
    return found
