"""Looking at files below a root without following a link, neither at the end of the path nor on the way.

In: a root that is trusted, a path relative to it that is not: whoever may write there can turn a folder into a link at
any moment. Out: the file's version; or whether a link stands in the path.
"""

from __future__ import annotations

import errno
import os
import stat

from heliograph.filewatch.scan import Version

_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
_LINK = {errno.ELOOP, errno.ENOTDIR}
"""What opening a link as a folder is answered with."""


def version_below(root: str, path: str) -> Version | None:
    """The present version of a regular file, None when there is none without a link."""
    try:
        found = _stat(root, path)
    except (OSError, ValueError):
        return None
    return Version(found.st_size, found.st_mtime_ns, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def by_link(root: str, path: str) -> bool:
    """Whether the path leads through a link, or to one. A file that is gone leads nowhere."""
    try:
        return stat.S_ISLNK(_stat(root, path).st_mode)
    except OSError as error:
        return error.errno in _LINK
    except ValueError:
        return False


def _stat(root: str, path: str) -> os.stat_result:
    """Step by step, each from the folder that the last one opened: what is renamed meanwhile changes nothing."""
    *folders, name = path.split("/")
    handle = os.open(root, _FOLDER)
    try:
        for folder in folders:
            inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        return os.stat(name, dir_fd=handle, follow_symlinks=False)
    finally:
        os.close(handle)
