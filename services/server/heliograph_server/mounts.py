"""Which file systems of this machine are shared over a network.

In: a mount table (proc_pid_mounts(5): device, mount point, type, …) and a path. Out: the type, when it is a shared one.
"""

from __future__ import annotations

import re
from pathlib import Path

SYSTEM_TABLE = Path("/proc/self/mounts")
NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "auristorfs", "9p", "virtiofs", "dvs"),
        *(
            "lustre",
            "gpfs",
            "beegfs",
            "ceph",
            "panfs",
            "orangefs",
            "pvfs2",
            "glusterfs",
            "wekafs",
            "vastnfs",
            "quobyte",
        ),
        *("ocfs2", "gfs", "gfs2", "moosefs", "objectivefs", "cvmfs"),
    }
)
"""Types on which SQLite's WAL cannot work (its shared memory needs one host), or whose locks are not to be trusted."""
_ESCAPE = re.compile(r"\\([0-7]{3})")


def network_type(path: Path, table: str) -> str | None:
    """The network file system's type under `path` (which need not exist yet), None when it is a local one."""
    target = path.resolve()
    best, kind = -1, ""
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[1]))
        # Of two mounts on one point the later one is on top.
        if target.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind if is_network(kind) else None


def is_network(kind: str) -> bool:
    return kind in NETWORK or (
        kind.startswith("fuse.") and kind not in {"fuse.lxcfs", "fuse.overlayfs", "fuse.fuse-overlayfs"}
    )


def read_table(path: Path | None) -> str:
    """The text of a mount table; empty (everything counts as local) where the system has none."""
    try:
        return (path or SYSTEM_TABLE).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        if path is not None:
            raise
        return ""
