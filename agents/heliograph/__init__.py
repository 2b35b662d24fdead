"""Heliograph: see what a workflow is doing. This package is what runs beside the workflow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heliograph.filewatch import FileMonitor, watch
    from heliograph.plain import Run, monitored, run, task

__version__ = "0.1.0"
__all__ = ["FileMonitor", "Run", "monitored", "run", "task", "watch"]


def __getattr__(name: str) -> Any:
    # Loaded when used: every task process imports this package, and few of them need the plain-Python part.
    if name in __all__:
        home = "heliograph.filewatch" if name in {"FileMonitor", "watch"} else "heliograph.plain"
        return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
