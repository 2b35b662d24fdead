"""Asks the file-watch service to watch for a run, and to stop.

In: a journal of the run, what is to be watched. Out: a command in the journal, which the node's agent ships past the
writer to the service. Nobody waits for an answer: the watch's record says whether it began, or why not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from heliograph import state
from heliograph.messages import Record, WatchStart, WatchStop
from heliograph.payload import clip, now


class Journal(Protocol):
    """What a command is written to."""

    def append(self, record: Record) -> bool: ...


def ask(
    journal: Journal,
    *,
    watch: str,
    root: str,
    patterns: Sequence[str] = (),
    filetypes: Sequence[str] = (),
    path: str | None = None,
    callbacks: Sequence[str] = (),
    email: str | None = None,
    webhook: str | None = None,
    interval: float = 0.0,
    settle: float = 0.0,
    timeout: float | None = None,
    on_change: bool = False,
    origin: str | None = None,
    number: int | None = None,
) -> bool:
    """Ask for a watch; `callbacks` are 'package.module:function', '' for none. False when it could not be written
    down, which the journal then counts."""
    at, mono = now()
    return journal.append(
        WatchStart(
            at=at,
            mono=mono,
            watch=watch,
            root=root,
            patterns=list(patterns),
            filetypes=list(filetypes),
            path=path or "",
            callbacks=list(callbacks),
            email=email or "",
            webhook=webhook or "",
            interval=interval,
            settle=settle,
            timeout=timeout or 0.0,
            on_change=on_change,
            origin=origin,
            number=number,
            host=state.host(),
        )
    )


def withdraw(journal: Journal, watch: str, reason: str = "") -> bool:
    """Ask that a watch ends, after one last scan."""
    at, mono = now()
    return journal.append(WatchStop(at=at, mono=mono, watch=watch, reason=clip(reason, 200) or ""))
