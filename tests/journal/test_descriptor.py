"""Descriptors without letting go of the interpreter: the same answers and the same errors as the usual calls."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph import descriptor
from heliograph.descriptor import _Kept, _Usual

WAYS = {"kept": _Kept, "usual": _Usual}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> _Kept | _Usual:
    return WAYS[request.param]()


def test_the_fast_way_is_taken_on_linux() -> None:
    assert isinstance(descriptor._chosen, _Kept if sys.platform == "linux" else _Usual)


def test_bytes_with_zeros_arrive_whole(way: _Kept | _Usual, tmp_path: Path) -> None:
    data = bytes(range(256)) * 100
    with open(tmp_path / "file", "wb", buffering=0) as file:
        assert way.write(file.fileno(), data) == len(data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_file_is_told_from_another(way: _Kept | _Usual, tmp_path: Path) -> None:
    with open(tmp_path / "one", "wb") as one, open(tmp_path / "two", "wb") as two:
        found = os.fstat(one.fileno())
        assert way.file_of(one.fileno()) == (found.st_ino, found.st_dev)
        assert way.file_of(one.fileno()) != way.file_of(two.fileno())


def test_a_closed_descriptor_says_so(way: _Kept | _Usual, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    for call in (lambda: way.write(fd, b"x"), lambda: way.file_of(fd)):
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            call()


def test_a_full_device_says_so(way: _Kept | _Usual) -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        way.write(full.fileno(), b"x")


SHORT = """
import os, resource, signal, sys
from heliograph import descriptor
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print(descriptor.write(fd, b"x" * 300))
"""


def test_a_write_that_finds_less_room_says_how_much_it_was(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    assert hard == resource.RLIM_INFINITY or hard > 300
    done = subprocess.run(
        [sys.executable, "-c", SHORT, str(tmp_path / "file")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "100\n"


LEFT_OPEN = """
from heliograph.segment import Segment
from heliograph.route import Route
from pathlib import Path
import sys
kept = Segment.first(Path(sys.argv[1]), Route(run="r", run_dir="/x"), "")
class Ring: pass
ring = Ring(); ring.kept, ring.me = kept, ring
sys.keep = ring
"""


def test_a_segment_left_open_ends_the_interpreter_without_a_word(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, str(tmp_path / "j")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
