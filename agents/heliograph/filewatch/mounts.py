"""May file events be trusted below a folder?

In: the folder and the text of a mount table (`/proc/self/mounts`). Out: yes only where the whole tree stands on file
systems of this machine: a network file system reports no writes of other nodes, and says nothing about it.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import Final

LOCAL: Final = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "tmpfs", "ramfs"}
)
"""File systems whose every write passes the kernel that is asked for events. An overlay is not among them: its events
can miss files that were copied up."""
TABLE = "/proc/self/mounts"


def mount_table() -> str:
    """The mount table, '' where there is none (macOS)."""
    try:
        with open(TABLE, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def events_trusted(root: str, mounts: str) -> bool:
    """Whether every write below this folder makes an event here."""
    resolved = PurePosixPath(os.path.realpath(root))
    deepest, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        point = PurePosixPath(_unescaped(parts[1]))
        if resolved in point.parents and parts[2] not in LOCAL:
            return False  # something else is mounted within the tree
        depth = len(point.parts)
        # Of two mounts on one point the later one hides the earlier.
        if depth >= deepest and (resolved == point or point in resolved.parents):
            deepest, kind = depth, parts[2]
    return kind in LOCAL


def _unescaped(text: str) -> str:
    """Blanks, tabs, line ends and backslashes stand as octal numbers in a mount table: proc_pid_mounts(5)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)
