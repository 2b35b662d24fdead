"""A notice as an engine makes it, for the tests of what becomes of it."""

from __future__ import annotations

from typing import Any

from heliograph.filewatch.config import Notice

ABOUT = {"run": "climate/42", "task": "7"}


def notice(**changes: Any) -> Notice:
    values: dict[str, Any] = {
        "watch": "plots",
        "root": "/scr/run1",
        "callback": "analysis.plots:summarise",
        "sequence": 3,
        "outcome": "ok",
        "result": "two plots\n.\nFrom here on: ü",
        "paths": ("/scr/run1/a.png", "/scr/run1/b.png"),
        "files": 2,
        "at": 1_790_000_000_000_000,
        "elapsed": 1_500_000,
        "repeat": False,
    }
    return Notice(**{**values, **changes})
