"""Callbacks for the tests: modules of a user, as the processes of callbacks import them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def names(files: list[str]) -> str:
    return " ".join(os.path.basename(path) for path in files)


def nothing(files: list[str]) -> None:
    return None


def fails(files: list[str]) -> None:
    raise ValueError(f"cannot read {len(files)} files")


def leaves(files: list[str]) -> None:
    sys.exit(3)


def is_killed(files: list[str]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text in here")


def unprintable(files: list[str]) -> Unprintable:
    return Unprintable()


def endless(files: list[str]) -> str:
    return "x" * 5_000_000


def sleeps(files: list[str]) -> None:
    """Leaves a note with the pids of itself and of a process that it starts, then takes its time."""
    note = Path(files[0]).parent.parent / "notes"
    child = subprocess.Popen(["sleep", "600"])
    (note / f"{os.getpid()}-{child.pid}").touch()
    time.sleep(600)


def holds_on(files: list[str]) -> str:
    """Waits for a file `go` beside the notes; says each time that it began."""
    notes = Path(files[0]).parent.parent / "notes"
    (notes / f"began-{os.getpid()}-{time.monotonic_ns()}").write_text("\n".join(files))
    while not (notes / "go").exists():
        time.sleep(0.02)
    return names(files)


def tells(files: list[str]) -> str:
    """Leaves a note that says how long the file was, for the task that waits for it; see test_watched_files."""
    (path,) = map(Path, files)
    size = path.stat().st_size
    (path.parent.parent.parent / "notes" / f"{path.parent.name.partition('-')[2]}-{size}").touch()
    return f"{path.name} written {size} times"
