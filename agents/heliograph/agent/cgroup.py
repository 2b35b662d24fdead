"""The limits that a batch system or container puts on this process, and how much of them is used.

In: /proc/self/cgroup, /proc/self/mountinfo and the cgroup file systems, version 1 and 2. Out: one frozen value; what is
unlimited or unknown is None. A limit counts wherever in the hierarchy it stands: the smallest one bites.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED = 1 << 60
"""Version 1 says 'unlimited' with a number near 2^63."""


@dataclass(frozen=True, kw_only=True)
class Cgroup:
    """Memory in bytes, `cpu_limit` in processors. `memory_used` belongs to the group whose limit is told (else to the
    process's own group)."""

    memory_limit: int | None = None
    memory_used: int | None = None
    cpu_limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """A group's folder, and the folder of the hierarchy as it is mounted here."""

    folder: Path
    top: Path
    version: int


def read_cgroup(proc: Path = Path("/proc/self")) -> Cgroup:
    """Limits of the process of this /proc folder. Never raises: no cgroups means no limits known."""
    memory, cpu = _find(proc, "memory"), _find(proc, "cpu")
    limit, used = _memory(memory) if memory else (None, None)
    return Cgroup(memory_limit=limit, memory_used=used, cpu_limit=_cpu(cpu) if cpu else None)


def _memory(group: _Group) -> tuple[int | None, int | None]:
    names = (
        ("memory.max", "memory.current") if group.version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    )
    smallest: tuple[int, int | None] | None = None
    for folder in _upwards(group):
        limit = _number(folder / names[0])
        if limit is not None and limit < _UNLIMITED and (smallest is None or limit < smallest[0]):
            smallest = (limit, _number(folder / names[1]))
    return smallest if smallest is not None else (None, _number(group.folder / names[1]))


def _cpu(group: _Group) -> float | None:
    limits = [limit for folder in _upwards(group) if (limit := _cpu_limit(folder, group.version)) is not None]
    return min(limits, default=None)


def _cpu_limit(folder: Path, version: int) -> float | None:
    if version == 2:
        quota, _, period = _text(folder / "cpu.max").partition(" ")
    else:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None  # 'max', -1, or no such file
    return int(quota) / int(period)


def _find(proc: Path, controller: str) -> _Group | None:
    """The group that holds this process for a controller: version 1 where the controller is mounted so, else 2."""
    unified: _Group | None = None
    for line in _text(proc / "cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        version = 2 if controllers == "" else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        group = _mounted(proc, controller, path, version)
        if group is not None and version == 1:
            return group
        unified = unified or group
    return unified


def _mounted(proc: Path, controller: str, path: str, version: int) -> _Group | None:
    """Where the group's folder is: the mount's root is cut from the path, and a path outside of it (seen from within
    a container) is taken to be the mount itself."""
    for line in _text(proc / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or not kind or kind[0] != ("cgroup2" if version == 2 else "cgroup"):
            continue
        if version == 1 and controller not in kind[-1].split(","):
            continue
        root, top = _unescaped(fields[3]), Path(_unescaped(fields[4]))
        inside = path == root or path.startswith(root.rstrip("/") + "/")
        below = path[len(root.rstrip("/")) :].strip("/") if inside else ""
        folder = top / below
        return _Group(folder=folder if folder.is_dir() else top, top=top, version=version)
    return None


def _upwards(group: _Group) -> Iterator[Path]:
    folder = group.folder
    while True:
        yield folder
        if folder in (group.top, folder.parent):
            return
        folder = folder.parent


def _unescaped(text: str) -> str:
    """mountinfo writes blanks and the like as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
