"""The last lines of a task's output file, for people who may look at the run but not at the machine.

In: a path that a workflow named, and the folders that the operator allowed. Out: text, or why there is none. Nothing
outside of those folders is ever opened, whatever links or races a path leads through, and no more than `MAX_BYTES` of
it is read.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heliograph_dashboard.components.text import plain

MAX_BYTES: Final = 64 << 10
MAX_LINES: Final = 400
MAX_LINE: Final = 2000
"""Characters of one line: a progress bar or a dump of JSON may be one line of megabytes."""
_MISSING: Final = "There is no such file on this server, or it may not be read here."
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a named pipe in the place of a log must not hold the server.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The end of a file. `cut` when it does not begin with the file's first byte; `modified` in microseconds UTC."""

    path: str
    text: str
    size: int
    modified: int
    cut: bool


@dataclass(frozen=True, kw_only=True)
class NotShown:
    """Why a file is not shown, in a sentence for people."""

    reason: str


def tail(path: str, roots: Sequence[Path], *, owner: str | None, run_dir: str | None = None) -> Tail | NotShown:
    """The last lines of the regular file at `path` when it lies under one of `roots`, all links resolved.

    The file must belong to `owner` (the run's, by name) or to the user that runs this server. A relative path is taken
    from the run directory, or else from where the run was started, which is two levels above it as Parsl has it.
    """
    if not roots:
        return NotShown(reason="The operator allowed no folder of logs; only the path is shown.")
    if "\0" in path:
        return NotShown(reason="This is not a path.")
    if os.path.isabs(path):
        return _tail(path, roots, owner)
    if not run_dir or "\0" in run_dir or not os.path.isabs(run_dir):
        return NotShown(reason="The path is relative to a folder that was not recorded.")
    places = [os.path.join(folder, path) for folder in (run_dir, os.path.dirname(os.path.dirname(run_dir)))]
    found = [_tail(place, roots, owner) for place in places]
    return next((one for one in found if isinstance(one, Tail)), found[0])


def _tail(path: str, roots: Sequence[Path], owner: str | None) -> Tail | NotShown:
    tops = [(str(root), top) for root in roots if (top := _real(root)) is not None]
    real = _real(path)
    for _, top in tops:
        if real is not None and _under(top, real):
            return _opened(top, os.path.relpath(real, top).split(os.sep), owner)
    if real is None and any(_under(name, os.path.normpath(path)) for pair in tops for name in pair):
        return NotShown(reason=_MISSING)
    # Whether a file is there is told only of the allowed folders.
    return NotShown(reason="The file lies outside of the folders whose logs the operator allowed.")


def _real(path: str | Path) -> str | None:
    """The path with all links resolved, None when that leads nowhere."""
    with suppress(OSError, RuntimeError):
        return os.path.realpath(path, strict=True)
    return None


def _under(folder: str, path: str) -> bool:
    return path != folder and os.path.commonpath([folder, path]) == folder


def _opened(top: str, parts: Sequence[str], owner: str | None) -> Tail | NotShown:
    """Step by step from the root, never through a link: a path that is changed meanwhile leads nowhere."""
    try:
        file = _descend(top, parts)
    except OSError:
        return NotShown(reason=_MISSING)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            return NotShown(reason="This is not a regular file.")
        if about.st_uid not in _allowed_users(owner):
            return NotShown(reason="The file belongs neither to the run's owner nor to this server's user.")
        start = max(0, about.st_size - MAX_BYTES)
        text, cut = readable(os.pread(file, MAX_BYTES, start), cut=start > 0)
        path = os.path.join(top, *parts)
        return Tail(path=path, text=text, size=about.st_size, modified=about.st_mtime_ns // 1000, cut=cut)
    except OSError as error:
        return NotShown(reason=f"The file could not be read: {error.strerror}.")
    finally:
        os.close(file)


def _descend(top: str, parts: Sequence[str]) -> int:
    folder = os.open(top, _FOLDER)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(parts[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _allowed_users(owner: str | None) -> set[int]:
    users = {os.geteuid()}
    if owner:
        with suppress(KeyError, ValueError):
            users.add(pwd.getpwnam(owner).pw_uid)
    return users


def readable(data: bytes, *, cut: bool) -> tuple[str, bool]:
    """Bytes of a file's end as text: whole last lines, no control characters, no endless lines; and whether it is cut.

    What is not UTF-8 becomes U+FFFD, a control character its picture (U+2400…), a carriage return a new line.
    """
    if cut:
        line_end = data.find(b"\n")
        # One line longer than what was read stays as it is: half a line is better than none.
        data = data[line_end + 1 :] if 0 <= line_end < len(data) - 1 else data
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    lines = plain(text).split("\n")
    if lines[-1] == "":
        lines.pop()
    shown = [line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}… (+{len(line) - MAX_LINE})" for line in lines]
    return "\n".join(shown[-MAX_LINES:]), cut or len(shown) > MAX_LINES
