"""File watching: know that results appeared, and act on them. In: a folder. Out: files found, callbacks called."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heliograph.filewatch.attach import watch
    from heliograph.filewatch.config import BadWatch
    from heliograph.filewatch.monitor import FileMonitor

_WHERE = {"FileMonitor": "monitor", "BadWatch": "config", "watch": "attach"}
__all__ = ["BadWatch", "FileMonitor", "watch"]


def __getattr__(name: str) -> Any:
    # Loaded when used: the process of every callback imports this package, and needs little of it.
    if name in _WHERE:
        return getattr(importlib.import_module(f"heliograph.filewatch.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
