"""Descriptors without letting go of the interpreter: the same answers and the same errors as the usual calls."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from heliograph import descriptor
from heliograph.kept import Kept


class Way(Protocol):
    def write(self, fd: int, data: bytes, /) -> int: ...
    def file_of(self, fd: int, /) -> tuple[int, int]: ...


WAYS = ["usual", "kept"] if sys.platform == "linux" else ["usual"]
CHOICE = {"usual": "", "kept": "assert descriptor.keep_interpreter()"}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return Kept() if request.param == "kept" else descriptor


ASKED = """
import os, sys
from heliograph import descriptor
assert "ctypes" not in sys.modules and descriptor.write is os.write
print(descriptor.keep_interpreter(), type(getattr(descriptor.write, "__self__", None)).__name__)
"""


def test_the_interpreter_is_kept_where_that_is_asked_for_and_only_there() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == (["True", "Kept"] if sys.platform == "linux" else ["False", "module"])


def test_bytes_with_zeros_arrive_whole(way: Way, tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    with open(tmp_path / "file", "wb", buffering=0) as file:
        assert way.write(file.fileno(), data) == len(data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_file_is_told_from_another(way: Way, tmp_path: Path) -> None:
    with open(tmp_path / "one", "wb") as one, open(tmp_path / "two", "wb") as two:
        found = os.fstat(one.fileno())
        assert way.file_of(one.fileno()) == (found.st_ino, found.st_dev)
        assert way.file_of(one.fileno()) != way.file_of(two.fileno())


def test_a_closed_descriptor_says_so(way: Way, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    for call in (lambda: way.write(fd, b"x"), lambda: way.file_of(fd)):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            call()


def test_a_full_device_says_so(way: Way) -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        way.write(full.fileno(), b"x")


SHORT = """
import os, resource, signal, sys
from heliograph import descriptor
{choice}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print(descriptor.write(fd, b"x" * 300))
"""


@pytest.mark.parametrize("choice", WAYS)
def test_a_write_that_finds_less_room_says_how_much_it_was(choice: str, tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    assert hard == resource.RLIM_INFINITY or hard > 300
    program = SHORT.format(choice=CHOICE[choice])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "100\n"


LEFT_OPEN = """
from heliograph import descriptor
{choice}
from heliograph.segment import Segment
from heliograph.route import Route
from pathlib import Path
import sys
kept = Segment.first(Path(sys.argv[1]), Route(run="r", run_dir="/x"), "")
class Ring: pass
ring = Ring(); ring.kept, ring.me = kept, ring
sys.keep = ring
"""


@pytest.mark.parametrize("choice", WAYS)
def test_a_segment_left_open_ends_the_interpreter_without_a_word(choice: str, tmp_path: Path) -> None:
    program = LEFT_OPEN.format(choice=CHOICE[choice])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "j")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
