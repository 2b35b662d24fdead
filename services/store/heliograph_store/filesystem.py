"""Is a path on a network file system, where SQLite's locks and shared memory cannot be trusted?

In: a path and the text of a mount table (`/proc/self/mounts`), handed in. Out: the file system's type, or None.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

NETWORK: Final = frozenset(
    {
        "nfs", "nfs3", "nfs4", "lustre", "lustre_lite", "gpfs", "mmfs", "beegfs", "fhgfs", "ceph", "cephfs", "panfs",
        "afs", "9p", "cifs", "smb3", "smbfs", "glusterfs", "orangefs", "pvfs2", "wekafs", "dvs", "gfs2", "ocfs2",
        "coda", "ncpfs", "acfs", "quobyte", "virtiofs", "vboxsf", "shfs",
    }
)  # fmt: skip
LOCAL_FUSE: Final = frozenset(
    {"fuse.fuse-overlayfs", "fuse.squashfuse", "fuse.squashfuse_ll", "fuse.snapfuse", "fuse.portal", "fuse.lxcfs"}
)
"""FUSE file systems that stand on this machine. Any other one (sshfs, rclone, JuiceFS, …) is taken for a network's."""


def network_filesystem(path: Path, mounts: str) -> str | None:
    """The type of the network file system that holds this path, None when it is a local one.

    The path need not exist yet; symbolic links in what exists of it are followed.
    """
    resolved = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        point = Path(_unescaped(parts[1]))
        depth = len(point.parts)
        # Of two mounts on one point the later one hides the earlier.
        if depth >= best and (resolved == point or point in resolved.parents):
            best, kind = depth, parts[2]
    return kind if is_network(kind) else None


def is_network(kind: str) -> bool:
    """Whether a file system type of a mount table is one that several machines share."""
    if kind.startswith("fuse."):
        return kind not in LOCAL_FUSE
    return kind in NETWORK


def _unescaped(field: str) -> str:
    """Blanks, tabs, line ends and backslashes stand as octal numbers in a mount table: proc_pid_mounts(5), fstab(5)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)
