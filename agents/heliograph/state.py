"""The state folder of a user on a node, and who this process is.

In: the environment's choice of folder, /proc. Out: folders that are ours alone (0700, owner checked, no symbolic link),
and the key that separates one boot, container or batch job from another.
"""

from __future__ import annotations

import hashlib
import os
import stat
from functools import lru_cache
from pathlib import Path

from heliograph import settings


class StateError(OSError):
    """The state folder cannot be used: somebody else's, a symbolic link, or not to be made."""


def state_folder() -> Path:
    """Where this user's journals live on this node (not yet made, not yet checked)."""
    return settings.state_dir()


def own_folder(path: Path, *, ours: bool = True) -> Path:
    """Make the folder (0700) if it is missing, and check that it is a real folder of this user. Raises StateError.

    One that was there is closed to others when it is `ours`, called so, or empty; one that holds other things (a home,
    a scratch folder) stays as it is, and what we make in it is closed.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError as error:
        raise StateError(error.errno, "the folder above does not exist", str(path)) from error
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{path} is not a folder (a symbolic link is not followed)")
    if found.st_uid != os.geteuid():
        raise StateError(f"{path} belongs to user {found.st_uid}, not to us; set HELIOGRAPH_STATE_DIR to one of yours")
    if found.st_mode & 0o077 and (ours or path.name.startswith("heliograph") or not os.listdir(path)):
        os.chmod(path, 0o700)
    elif found.st_mode & 0o022:
        raise StateError(f"others may write into {path}; name a folder that is for Heliograph alone")
    return path


def namespace_folder(state: Path | None = None) -> Path:
    """The folder of this boot, namespace and batch job, made if missing. Raises OSError."""
    named = state if state is not None else state_folder()
    if not named.parent.exists():
        named.parent.mkdir(parents=True)
    folder = own_folder(own_folder(named, ours=False) / namespace_key())
    own_folder(folder / "journals")
    return folder


def namespace_key() -> str:
    """Hash of what processes must share for one agent to watch over all of them."""
    parts = (boot_id(), _namespace("pid"), _namespace("mnt"), settings.batch_job())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _namespace(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/ns/{name}")
    except OSError:  # no /proc (macOS), or not ours to read
        return ""


@lru_cache(maxsize=1)
def boot_id() -> str:
    """The kernel's random id of this boot; '' where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def host() -> str:
    return os.uname().nodename


def process_start(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (field 22 of proc_pid_stat(5)); None when unknown or gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            after_name = file.read().rpartition(b")")[2].split()  # the name may hold spaces and brackets
        return int(after_name[19])
    except (OSError, IndexError, ValueError):
        return None


def process_alive(pid: int, start: int | None) -> bool:
    """Whether this very process lives. A zombie is dead; without a start time the number alone decides."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0] not in {b"Z", b"X"} and (start is None or int(fields[19]) == start)
    except (FileNotFoundError, ProcessLookupError):
        if os.path.exists("/proc/self/stat"):
            return False
    except (OSError, IndexError, ValueError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
