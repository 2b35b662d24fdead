"""What is told of a watch itself.

In: its configuration, or how it ended. Out: the records that say so.
"""

from __future__ import annotations

from heliograph import state
from heliograph.filewatch.config import WatchConfig
from heliograph.messages import WatchClosed, WatchOpened
from heliograph.payload import clip, now


def watch_opened(config: WatchConfig) -> WatchOpened:
    at, mono = now()
    return WatchOpened(
        at=at,
        mono=mono,
        watch=config.watch,
        root=clip(config.root, 4096) or "",
        host=state.host(),
        patterns=[clip(p, 1000) or "" for rule in config.rules for p in rule.patterns][:100],
        origin=config.origin,
        number=config.number,
    )


def watch_closed(watch: str, reason: str, *, files: int = 0, unfinished: int = 0) -> WatchClosed:
    """`files`: how many were found, as far as whoever tells it knows."""
    at, mono = now()
    return WatchClosed(
        at=at,
        mono=mono,
        watch=clip(watch, 200) or "",
        files=files,
        unfinished=unfinished,
        reason=clip(reason, 1000) or "",
    )
