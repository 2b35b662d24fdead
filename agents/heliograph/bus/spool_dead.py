"""What consumers of a spool put aside: the letters, and an operator's access to them.

In: batches and files that nobody can use, with a reason. Out: `<id>.body` beside `<id>.json` (reason, route, time), and
the same back among the files that wait.
"""

from __future__ import annotations

import heapq
import json
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from heliograph.bus import DeadLetter, Outgoing
from heliograph.bus.spool_file import sync_folder, write
from heliograph.bus.spool_folder import Spool, away, entries, private_folder
from heliograph.messages import Class

REPLAYED = "replayed"
"""Sender folder of what an operator put back."""
_CLASSES = frozenset(c.value for c in Class)
_REASON_LIMIT = 4000
_DEAD_ID = re.compile(r"\d{20}-[0-9a-f]{8}")


def bury(spool: Spool, *, route: str, reason: str, body: bytes) -> None:
    """Put a batch aside. Raises OSError."""
    letter = _write_head(spool, route=route, reason=reason)
    write(spool.dead, f"{letter}.body", [body])


def bury_file(spool: Spool, path: Path, reason: str) -> None:
    """Put a whole file aside that nobody could read, whatever it is and however large. Raises OSError."""
    letter = _write_head(spool, route="", reason=reason)
    os.rename(path, spool.dead / f"{letter}.body")
    sync_folder(spool.dead)


def _write_head(spool: Spool, *, route: str, reason: str) -> str:
    letter = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    head = {"version": 1, "reason": reason[:_REASON_LIMIT], "route": route, "at": time.time_ns() // 1000}
    write(spool.dead, f"{letter}.json", [json.dumps(head).encode()])
    return letter


class SpoolDeadLetters:
    """What consumers of this spool put aside."""

    def __init__(self, url: str) -> None:
        self._spool = Spool.at(url)
        self._spool.prepare_early()

    def count(self) -> int:
        return len(self._ids())

    def list(self, limit: int = 100) -> Iterator[DeadLetter]:
        """The oldest `limit` letters."""
        for letter in heapq.nsmallest(limit, self._ids()):
            with away(self._spool):
                found = self._read(letter)
            if found is not None:
                yield found

    def replay(self, ids: Sequence[str]) -> int:
        """Put these back among the files that wait. What is still bad comes back here."""
        with away(self._spool):
            return sum(self._put_back(letter) for letter in self._known(ids))

    def drop(self, ids: Sequence[str]) -> int:
        """Delete these for good."""
        with away(self._spool):
            return sum(self._forget(letter) for letter in self._known(ids))

    def close(self) -> None:
        pass

    def _put_back(self, letter: str) -> int:
        found = self._read(letter)
        if found is None:
            return 0
        cls, _, run = found.route.partition(".")
        if run and cls in _CLASSES:
            self._spool.put(REPLAYED, [Outgoing(run=run, cls=Class(cls), body=found.body)])
            return self._forget(letter)
        private_folder(self._spool.new / REPLAYED)
        os.rename(self._path(letter, "body"), self._spool.new / REPLAYED / f"{letter}.foreign")
        self._path(letter, "json").unlink(missing_ok=True)
        return 1

    def _ids(self) -> Sequence[str]:
        names = [entry.name for entry in entries(self._spool.dead)]
        return [name[: -len(".body")] for name in names if name.endswith(".body")]

    @staticmethod
    def _known(ids: Sequence[str]) -> Sequence[str]:
        return [letter for letter in ids if _DEAD_ID.fullmatch(letter)]

    def _path(self, letter: str, part: str) -> Path:
        return self._spool.dead / f"{letter}.{part}"

    def _read(self, letter: str) -> DeadLetter | None:
        path = self._path(letter, "body")
        try:
            body = path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b""
        except FileNotFoundError:
            return None
        try:
            head = json.loads(self._path(letter, "json").read_bytes())
        except (OSError, ValueError):  # a letter without its head is still a letter
            head = {}
        return DeadLetter(
            id=letter,
            reason=str(head.get("reason", "unknown")),
            route=str(head.get("route", "")),
            at=int(head.get("at", 0)),
            size=len(body),
            body=body,
        )

    def _forget(self, letter: str) -> int:
        existed = os.path.lexists(self._path(letter, "body"))
        for part in ("body", "json"):
            self._path(letter, part).unlink(missing_ok=True)
        return int(existed)
