"""Records of the class `samples`: resources over time. The first to be thinned when space runs out.

In: what an agent measured. Out: frozen structs.
"""

from __future__ import annotations

import msgspec

from heliograph.messages.base import Record, TaskRecord


class TaskSample(TaskRecord, tag="sample.task", frozen=True, kw_only=True, array_like=True):
    """Resources of a try: its process and all descendants that belong to no other task. Counters (`cpu_*`, `read_*`,
    `write_*`, `ctx_*`) are totals since the try began and never fall; `last` marks the sample taken at the end."""

    try_: int
    host: str
    pid: int
    cpu_user: int | None = None
    cpu_system: int | None = None
    rss: int | None = None
    peak_rss: int | None = None
    vms: int | None = None
    threads: int | None = None
    children: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    ctx_voluntary: int | None = None
    ctx_involuntary: int | None = None
    memory_percent: float | None = None
    status: str | None = None
    cpu_num: int | None = None
    shared: bool = False
    last: bool = False
    interval: float = 0.0


class Gpu(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One GPU: utilisation in percent, memory in bytes, power in watts, temperature in degrees Celsius."""

    index: int
    name: str = ""
    utilisation: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    power: float | None = None
    temperature: float | None = None


class NodeSample(Record, tag="sample.node", frozen=True, kw_only=True, array_like=True):
    """Resources of a node. `cpu_*` are microseconds summed over its processors since boot; disk and network are totals
    since boot; pressure is avg10 in percent (Linux PSI); cgroup limits are those of the agent's own cgroup."""

    host: str
    cpu_count: int | None = None
    cpu_percent: float | None = None
    cpu_user: int | None = None
    cpu_system: int | None = None
    cpu_idle: int | None = None
    cpu_iowait: int | None = None
    load1: float | None = None
    load5: float | None = None
    load15: float | None = None
    memory_total: int | None = None
    memory_available: int | None = None
    memory_used: int | None = None
    swap_used: int | None = None
    disk_read: int | None = None
    disk_write: int | None = None
    disk_total: int | None = None
    disk_free: int | None = None
    net_received: int | None = None
    net_sent: int | None = None
    cgroup_memory_limit: int | None = None
    cgroup_memory_used: int | None = None
    cgroup_cpu_limit: float | None = None
    cpu_pressure: float | None = None
    memory_pressure: float | None = None
    io_pressure: float | None = None
    gpus: list[Gpu] = []
    processes: int | None = None
