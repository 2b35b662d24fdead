"""Disks that are full: a small file system for root, a limit on file size for everybody."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

WAYS = ["no file may grow", *(["tmpfs"] if os.geteuid() == 0 else [])]


class FullDisk:
    """A state folder on a disk that can be filled and freed."""

    def __init__(self, folder: Path, way: str) -> None:
        self.folder, self._way = folder, way
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        if self._way != "tmpfs":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, self._limits[1]))
            return
        with open(self.folder / "filler", "wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                return

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        (self.folder / "filler").unlink(missing_ok=True)


@pytest.fixture(params=WAYS)
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FullDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = FullDisk(folder, request.param)
    if request.param == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(folder)], check=True)
    try:
        yield disk
    finally:
        disk.free()
        if request.param == "tmpfs":
            subprocess.run(["umount", "-l", str(folder)], check=True)
