"""What a dashboard needs to know, checked where it is made.

In: values from the composition root (never the environment). Out: a frozen `DashboardConfig` that cannot open a door by
accident, and that hides its secrets from `repr`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


class BadConfig(ValueError):
    """These settings cannot work or would open a door. The text says which, and what to set instead."""


@dataclass(frozen=True, kw_only=True)
class DashboardConfig:
    """Settings of one dashboard. Durations are seconds."""

    database_url: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    log_roots: tuple[Path, ...] = ()
    """Folders under which files that tasks wrote (stdout, stderr) may be shown."""
    poll: float = 1.0
    """How often the store is asked whether something changed, in the runs that somebody looks at."""
