"""Samples of the node: processors, memory, disks, network, pressure, cgroup limits, GPUs.

In: psutil, /proc/pressure, the cgroup file systems, NVIDIA's library. Out: one NodeSample a call. Whatever cannot be
read here is None, and never a reason to miss the rest.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil

from heliograph import state
from heliograph.agent.cgroup import read_cgroup
from heliograph.agent.gpu import Gpus
from heliograph.messages import NodeSample

T = TypeVar("T")


class NodeSampler:
    """Remembers processor times between samples, for the percentage. Not thread-safe."""

    def __init__(self, *, gpus: Gpus | None = None, proc: Path = Path("/proc")) -> None:
        self._gpus = Gpus() if gpus is None else gpus
        self._proc = proc
        self._before: tuple[float, float] | None = None

    def sample(self, now: tuple[int, int]) -> NodeSample:
        """The node at `now` (`journal.now()`: wall and monotonic microseconds). Never raises."""
        cpu = _try(psutil.cpu_times)
        memory, swap = _try(psutil.virtual_memory), _try(psutil.swap_memory)
        disk, net = _try(psutil.disk_io_counters), _try(psutil.net_io_counters)
        space, load = _try(lambda: shutil.disk_usage("/")), _try(os.getloadavg)
        cgroup = _try(lambda: read_cgroup(self._proc / "self"))
        return NodeSample(
            at=now[0],
            mono=now[1],
            host=state.host(),
            cpu_count=os.cpu_count(),
            cpu_percent=self._busy(cpu),
            cpu_user=_micro(cpu, "user", "nice"),
            cpu_system=_micro(cpu, "system", "irq", "softirq"),
            cpu_idle=_micro(cpu, "idle"),
            cpu_iowait=_micro(cpu, "iowait"),
            load1=load[0] if load else None,
            load5=load[1] if load else None,
            load15=load[2] if load else None,
            memory_total=_whole(memory, "total"),
            memory_available=_whole(memory, "available"),
            memory_used=_whole(memory, "used"),
            swap_used=_whole(swap, "used"),
            disk_read=_whole(disk, "read_bytes"),
            disk_write=_whole(disk, "write_bytes"),
            disk_total=_whole(space, "total"),
            disk_free=_whole(space, "free"),
            net_received=_whole(net, "bytes_recv"),
            net_sent=_whole(net, "bytes_sent"),
            cgroup_memory_limit=cgroup.memory_limit if cgroup else None,
            cgroup_memory_used=cgroup.memory_used if cgroup else None,
            cgroup_cpu_limit=cgroup.cpu_limit if cgroup else None,
            cpu_pressure=self._pressure("cpu"),
            memory_pressure=self._pressure("memory"),
            io_pressure=self._pressure("io"),
            gpus=self._gpus.read(),
            processes=_try(lambda: len(psutil.pids())),
        )

    def close(self) -> None:
        """Let go of the GPUs' driver."""
        self._gpus.close()

    def _busy(self, cpu: object) -> float | None:
        """Percent of all processors' time since the sample before; None at the first one, which has nothing to compare
        with. Guest times are part of user and nice."""
        if cpu is None:
            return None
        times = {name: float(value) for name, value in cpu._asdict().items()}  # type: ignore[attr-defined]
        total = sum(value for name, value in times.items() if not name.startswith("guest"))
        idle = times.get("idle", 0.0) + times.get("iowait", 0.0)
        before, self._before = self._before, (total, idle)
        if before is None or total <= before[0]:
            return None
        # iowait can fall (proc_stat(5)), hence the bounds.
        return round(min(100.0, max(0.0, 100 * (1 - (idle - before[1]) / (total - before[0])))), 2)

    def _pressure(self, what: str) -> float | None:
        """Share of the last ten seconds in which something waited, in percent (Linux PSI: the 'some' line's avg10)."""
        try:
            text = (self._proc / "pressure" / what).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None  # PSI is off, or an older kernel
        for line in text.splitlines():
            if line.startswith("some "):
                for field in line.split():
                    name, _, value = field.partition("=")
                    if name == "avg10":
                        return _finite(value)
        return None


def _try(read: Callable[[], T | None]) -> T | None:
    """The value, or None where this system does not tell it: containers, macOS and old kernels lack many of them."""
    try:
        return read()
    except (psutil.Error, OSError, ValueError, AttributeError, RuntimeError, NotImplementedError):
        return None


def _whole(value: object, name: str) -> int | None:
    found = getattr(value, name, None)
    return None if found is None else int(found)


def _micro(value: object, *names: str) -> int | None:
    """Sum of times in microseconds; those that this system does not have are left out, all missing is None."""
    found = [getattr(value, name) for name in names if hasattr(value, name)]
    return int(sum(found) * 1_000_000) if found else None


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
