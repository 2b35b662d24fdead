"""One call of a callback, as the engine hands it to the process that makes it.

In: the callback and its files. Out: a value that can be pickled.
"""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.filewatch.config import Callback

LIMIT = 16384
"""Characters of a result that are kept."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """Call it with the files (full paths), in the folder `cwd`. `timeout` in seconds, None for none."""

    callback: Callback
    files: list[str]
    cwd: str
    timeout: float | None
