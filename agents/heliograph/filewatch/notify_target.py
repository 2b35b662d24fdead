"""What mail and webhook share: the error, time limits, and text that is safe to put into a header.

In: sockets, texts. Out: sockets that are cut off in time; texts on one line.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from heliograph.filewatch.config import Notice

PATIENCE = 10.0
"""Seconds for a server to answer one thing."""
LONGEST = 45.0
"""Seconds for all of one notification: a server that sends a byte every few seconds is cut off."""


class NotSent(Exception):
    """A target did not take a notice. `again`: it might, later."""

    def __init__(self, text: str, *, again: bool) -> None:
        super().__init__(text)
        self.again = again


class Target(Protocol):
    """Where notices go. `name` is for people and holds no secret."""

    @property
    def name(self) -> str: ...
    def send(self, notice: Notice, about: Mapping[str, str]) -> None:
        """Deliver, within some seconds. Raises NotSent."""


@contextlib.contextmanager
def cut_off(sock: Callable[[], socket.socket | None], seconds: float) -> Iterator[None]:
    """Shut the socket when the block takes longer: whoever waits on it then gets an OSError."""

    def shut() -> None:
        found = sock()
        if found is not None:
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def one_line(text: str, limit: int) -> str:
    """The text without control characters and line breaks of any kind, cut, encodable."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    flat = flat.encode(errors="replace").decode()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def key_of(notice: Notice, about: Mapping[str, str]) -> str:
    """The same for a repeat of the same notice: receivers can drop it."""
    parts = (about.get("run", ""), notice.watch, notice.callback, str(notice.sequence), notice.outcome)
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:32]
