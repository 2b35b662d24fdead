"""What the service remembers over its own end: a folder for each watch under way, a small file for each that ended.

In: the service's state folder. Out: what was asked for, by the key of (run, watch); all of it written whole or not at
all, and on the disk before a request is acknowledged.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from heliograph.messages import WatchStart

MOST_ENDED = 10_000
_ABOUT, _STOP, _CLOSED = "about", "stop", "closed"


class StateInUse(Exception):
    """Another service works in this folder."""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Whose a folder is. `asked` is the request, None for a watch of the watch file and for a run of our own, whose
    `watch` is ''."""

    run: str
    watch: str
    asked: WatchStart | None = None


def key_of(run: str, watch: str) -> str:
    return hashlib.sha256(f"{run}\0{watch}".encode(errors="replace")).hexdigest()[:32]


class Kept:
    """The state folder. `close` gives it free."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError and StateInUse."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            text = f"another file-watch service works in {folder}; give each a state folder of its own"
            raise StateInUse(text) from None
        self._folder = folder
        self.watches, self._ended = folder / "watches", folder / "ended"
        for one in (self.watches, self._ended):
            one.mkdir(mode=0o700, exist_ok=True)

    def close(self) -> None:
        os.close(self._lock)

    def folder(self, key: str) -> Path:
        return self.watches / key

    def begin(self, about: About) -> Path:
        """The folder of a watch, made if need be."""
        folder = self.folder(key_of(about.run, about.watch))
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / _ABOUT).exists():
            _write(folder / _ABOUT, msgspec.msgpack.encode(about))
        return folder

    def all(self) -> Iterator[tuple[str, About]]:
        for entry in sorted(os.listdir(self.watches)):
            about = self.about(entry)
            if about is not None:
                yield entry, about

    def about(self, key: str) -> About | None:
        try:
            return msgspec.msgpack.decode((self.folder(key) / _ABOUT).read_bytes(), type=About)
        except (OSError, msgspec.DecodeError):
            return None

    def ask_to_stop(self, key: str, reason: str) -> None:
        _write(self.folder(key) / _STOP, reason.encode())

    def stop_asked(self, key: str) -> str | None:
        return _read(self.folder(key) / _STOP)

    def close_watch(self, key: str) -> None:
        """The watch has ended; what it has to say may still wait."""
        _write(self.folder(key) / _CLOSED, b"")

    def age(self, key: str) -> float:
        """Seconds since the watch was asked for."""
        try:
            return time.time() - (self.folder(key) / _ABOUT).stat().st_mtime
        except OSError:
            return 0.0

    def is_closed(self, key: str) -> bool:
        return (self.folder(key) / _CLOSED).exists()

    def forget(self, key: str, why: str) -> None:
        """All was said: only that there was such a watch is kept."""
        self.remember_end(key, why)
        shutil.rmtree(self.folder(key), ignore_errors=True)

    def remember_end(self, key: str, why: str) -> None:
        _write(self._ended / key, why.encode(errors="replace"))

    def ended(self, key: str) -> str | None:
        """Why the watch ended, None when it did not, or long ago."""
        return _read(self._ended / key)

    def prune(self, older: float) -> None:
        """Forget ends of more than so many seconds ago, and the oldest when there are too many."""
        before = time.time() - older
        with os.scandir(self._ended) as listing:
            found = sorted(((entry.stat().st_mtime, entry.path) for entry in listing), reverse=True)
        for number, (at, path) in enumerate(found):
            if at < before or number >= MOST_ENDED:
                with contextlib.suppress(OSError):
                    os.unlink(path)

    def run_ids(self) -> dict[str, str]:
        """Ids of our own runs, by name."""
        text = _read(self._folder / "runs.json")
        try:
            return msgspec.json.decode(text or "{}", type=dict[str, str])
        except msgspec.DecodeError:
            return {}

    def keep_run_ids(self, ids: dict[str, str]) -> None:
        _write(self._folder / "runs.json", msgspec.json.encode(ids))


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    passing = path.with_name(f".{path.name}.new")
    with open(passing, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    passing.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
