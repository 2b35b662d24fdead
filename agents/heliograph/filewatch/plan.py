"""Plans: what a detached watch needs to know, and the folders in which they wait.

In: a monitor, opened somewhere. Out: a folder for each watch, `<state>/<namespace>/watches/<kind>/<id>/`, with the plan
in it; a file `end` beside it asks the watch to finish, and the folder goes when all is done.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heliograph import __version__, background, state, watchman
from heliograph.filewatch.config import Rule, WatchConfig, rule_key
from heliograph.route import Route

PLAN, END, TAKEN = "plan", "end", "taken"
LOCK = "warden.lock"
"""In the folder of the watches: held by the process that starts them."""
START_GRACE = 5.0
"""Seconds that a started warden has to take its lock before somebody else tries."""
FORGOTTEN = 182 * 86400.0
"""Seconds after which a memory that no watch has opened is deleted."""
_MAKING = "making-"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A watch to be. `owner_*` is the process whose end ends it, `linger` how many seconds it may go on after that."""

    config: WatchConfig
    route: Route | None
    owner_pid: int
    owner_start: int | None
    linger: float
    log: str
    email: str | None = None
    webhook: str | None = field(default=None, repr=False)
    environ: dict[str, str] = field(default_factory=dict, repr=False)


def watches_folder() -> Path:
    """Where plans wait that this very Python can carry out, made if missing. Raises OSError."""
    kind = hashlib.sha256(f"{sys.executable}\n{__version__}\n{__file__}".encode()).hexdigest()[:12]
    return state.own_folder(state.own_folder(state.namespace_folder() / "watches") / kind)


def memory_path(root: str, rules: Sequence[Rule], name: str) -> str:
    """The file in which watches for the same thing remember together. Raises OSError."""
    keys = [name] if name else [root, *(rule_key(rule) for rule in rules)]
    what = (state.host(), "name" if name else "rules", *keys)
    key = hashlib.sha256("\n".join(what).encode("utf-8", "backslashreplace")).hexdigest()[:24]
    top = state.own_folder(state.state_folder(), ours=False)
    return str(state.own_folder(state.own_folder(top / "watched") / "files") / f"{key}.db")


def forget_old(now: float) -> None:
    """Delete memories that no watch has used for half a year. Raises OSError."""
    for path in (state.state_folder() / "watched" / "files").glob("*.db"):
        if now - path.stat().st_mtime > FORGOTTEN:
            for ending in ("-wal", "-shm", ""):
                path.with_name(path.name + ending).unlink(missing_ok=True)


def put(plan: Plan, folder: Path) -> Path:
    """Lay the plan down, whole or not at all; its folder. Raises OSError."""
    making = folder / f"{_MAKING}{os.urandom(8).hex()}"
    making.mkdir(mode=0o700)
    try:
        handle = os.open(making / PLAN, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            pickle.dump(plan, file)
        placed = folder / making.name.removeprefix(_MAKING)
        making.rename(placed)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return placed


def ensure_warden(folder: Path) -> bool:
    """Start a warden unless there is one; True when one was started. Call it after the plan was laid down.
    Raises OSError and what starting a process raises."""
    handle = watchman.open_lock(folder / LOCK)
    try:
        if not watchman.try_lock(handle, shared=True):
            return False
        found = os.fstat(handle)
        if found.st_size and 0 <= time.time() - found.st_mtime < START_GRACE:
            return False  # somebody else has just started one
        os.pwrite(handle, b"started", 0)
        os.utime(handle)
    finally:
        os.close(handle)
    background.start("heliograph.filewatch.warden", str(folder), environ=os.environ)
    return True


def take(place: Path) -> Plan:
    """The plan. Raises OSError, and what a damaged one raises."""
    handle = os.open(place / PLAN, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with open(handle, "rb") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise PermissionError(f"{place / PLAN} is not ours")
        plan: Plan = pickle.load(file)  # noqa: S301 - our own, from a folder that is ours alone
    return plan


def places(folder: Path) -> list[Path]:
    """The folders of all watches that are not done."""
    return [one for one in sorted(folder.iterdir()) if one.is_dir() and not one.name.startswith(_MAKING)]


def ask_to_end(place: Path) -> None:
    """The watch shall finish. Raises OSError when it has already."""
    os.close(os.open(place / END, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
