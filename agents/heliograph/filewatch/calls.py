"""One call of a callback, as the engine hands it to the process that makes it, and what that process answers.

In: the callback and its files; the answer's bytes. Out: bytes that `keeper` reads without importing anything of ours;
outcome and text.
"""

from __future__ import annotations

import marshal
from dataclasses import dataclass

from heliograph.filewatch.config import Callback
from heliograph.filewatch.keeper import OUTCOMES


@dataclass(frozen=True, kw_only=True)
class Call:
    """Call it with the files (full paths), in the folder `cwd`. `timeout` in seconds, None for none."""

    callback: Callback
    files: list[str]
    cwd: str
    timeout: float | None

    def to_bytes(self) -> bytes:
        """For a process of this very Python."""
        callback = self.callback
        return marshal.dumps({
            "kind": callback.kind,
            "name": callback.name,
            "payload": callback.payload,
            "argv": tuple(callback.argv),
            "search": tuple(callback.search),
            "files": self.files,
            "cwd": self.cwd,
            "timeout": None if self.timeout is None else float(self.timeout),
        })  # fmt: skip


def answer(data: bytes) -> tuple[str, str | None] | None:
    """Outcome and text; None where the process was killed before it had said all of it."""
    line, end, rest = data.partition(b"\n")
    outcome, _, size = line.decode("ascii", "replace").partition(" ")
    if not end or outcome not in OUTCOMES:
        return None
    if size == "-":
        return outcome, None
    if not size.isdecimal() or len(rest) < int(size):
        return None
    return outcome, rest[: int(size)].decode("utf-8", "replace")
