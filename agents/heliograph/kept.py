"""Writing to a descriptor without letting go of the interpreter.

In: a descriptor and bytes. Out: what `os.write` and `os.fstat` would give. Those let other threads run during the call,
which is right for slow files. A journal is a file on the node's own disk, its write a copy into the page cache of some
microseconds, and a thread that lets go of the interpreter for that long gets it back only when another's turn is over:
in a busy kernel of Parsl, with a thread for each direction, that costs many times the call itself. Where no thread
waits, as in a worker, the usual calls cost less.
"""

from __future__ import annotations

import ctypes
import os
import sys

_AT_EMPTY_PATH = 0x1000
_STATX_INO = 0x100
_INODE, _MAJOR, _MINOR, _SIZE = 0x20, 0x88, 0x8C, 0x100
"""Places in struct statx, the same on every Linux: statx(2)."""


class _Statx(ctypes.Structure):
    """The fields of struct statx that say which file this is; the rest is room for the kernel to fill."""

    _fields_ = (
        ("_head", ctypes.c_ubyte * _INODE),
        ("inode", ctypes.c_uint64),
        ("_middle", ctypes.c_ubyte * (_MAJOR - _INODE - 8)),
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("_tail", ctypes.c_ubyte * (_SIZE - _MINOR - 4)),
    )


class Kept:
    """Through the C library, the interpreter's lock kept. Raises AttributeError where the library lacks statx."""

    def __init__(self) -> None:
        library = ctypes.PyDLL(None, use_errno=True)
        self._write, self._statx = library.write, library.statx
        self._write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self._write.restype = ctypes.c_ssize_t
        self._statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)

    def write(self, fd: int, data: bytes) -> int:
        """How many bytes were written. Raises OSError."""
        written: int = self._write(fd, data, len(data))
        if written < 0:
            raise _error()
        return written

    def file_of(self, fd: int) -> tuple[int, int]:
        """Inode and device of the open file. Raises OSError."""
        answer = _Statx()
        if self._statx(fd, b"", _AT_EMPTY_PATH, _STATX_INO, ctypes.byref(answer)) < 0:
            raise _error()
        return answer.inode, os.makedev(answer.major, answer.minor)


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))


def kept() -> Kept | None:
    """This way, if it says of a file what the usual one says; None on another system than Linux, with an old C library
    or kernel (no statx), and in a sandbox that forbids it."""
    if sys.platform != "linux":
        return None
    try:
        way = Kept()
        with open(os.devnull, "rb") as file:
            found = os.fstat(file.fileno())
            same = way.file_of(file.fileno()) == (found.st_ino, found.st_dev)
    except (OSError, AttributeError):
        return None
    return way if same else None
