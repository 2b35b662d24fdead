"""Heliograph for Parsl: `from heliograph.parsl import MonitoringHub`, and nothing else changes.

Loaded lazily, because worker processes import parts of this package and must not pay for all of Parsl's monitoring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heliograph.parsl.hub import MonitoringHub

__all__ = ["MonitoringHub"]


def __getattr__(name: str) -> Any:
    if name == "MonitoringHub":
        from heliograph.parsl.hub import MonitoringHub

        return MonitoringHub
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
