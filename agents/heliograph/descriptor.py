"""How a journal's descriptor is written to and looked at.

In: a descriptor and bytes. Out: how much was written, and which file it is, by the interpreter's own calls; after
`keep_interpreter`, by calls that do not let go of the interpreter, which a process of busy threads wants.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def _file_of(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_ino, found.st_dev


write: Callable[[int, bytes], int] = os.write
"""How many bytes were written. Raises OSError."""
file_of: Callable[[int], tuple[int, int]] = _file_of
"""Inode and device of the open file. Raises OSError."""


def keep_interpreter() -> bool:
    """From now on this process writes without letting go of the interpreter; False where that cannot be had."""
    global write, file_of
    from heliograph.kept import kept  # which wants ctypes: not for every worker

    way = kept()
    if way is None:
        return False
    write, file_of = way.write, way.file_of
    return True
