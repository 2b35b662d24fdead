"""Heliograph for Parsl: `from heliograph.parsl import MonitoringHub`, and nothing else changes.

Loaded lazily, because worker processes import parts of this package and must not pay for all of Parsl's monitoring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heliograph.parsl.hub import MonitoringHub

__all__ = ["TESTED", "MonitoringHub"]
TESTED = "2026.10.26"
"""The Parsl release that the tests run with, and the oldest that is supported."""


def __getattr__(name: str) -> Any:
    if name == "MonitoringHub":
        try:
            from heliograph.parsl.hub import MonitoringHub
        except ImportError as error:
            raise ImportError(_why(error)) from error
        return MonitoringHub
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _why(error: ImportError) -> str:
    """An import of ours failed: most likely this Parsl has not yet, or no longer, what is imported."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("parsl")
    except PackageNotFoundError:
        return f"heliograph.parsl needs Parsl, which is not installed in this environment ({error})"
    return f"Parsl {found} is not supported by Heliograph, which was tested with {TESTED} ({error})"
