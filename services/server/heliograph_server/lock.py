"""One writer for each SQLite database: a lock file beside it, held by flock for as long as the holder lives.

In: the database's path. Out: held or not, and who holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from heliograph_server.errors import SetupError


class WriterLock:
    """`<database>.lock`. The file stays; the lock goes with the process, however it ends."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Try once. Raises SetupError where the file system has no locks or does not let us write."""
        if self._handle is not None:
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SetupError(f"cannot make the lock file {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError as error:
            os.close(handle)
            raise SetupError(
                f"{self.path.parent} is on a file system without locks ({error.strerror}); put the database elsewhere"
            ) from error
        self._handle = handle
        return True

    def tell(self, about: dict[str, Any]) -> None:
        """Write who holds it, for those who wait and for people. Only the holder may."""
        assert self._handle is not None  # noqa: S101 - a mistake of ours
        body = json.dumps(about).encode()
        os.pwrite(self._handle, body, 0)
        os.ftruncate(self._handle, len(body))

    def holder(self) -> dict[str, Any]:
        """What the last holder wrote; empty when nothing readable."""
        try:
            found = json.loads(self.path.read_bytes() or b"{}")
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
