"""State folders that nobody should have: the program goes on at once, and nothing appears where it should not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heliograph import settings

PROGRAM = """
import os, heliograph
@heliograph.task
def square(x):
    return x * x
with heliograph.run("squares"):
    print([square(n) for n in range(5)])
"""


def other_user(folder: Path) -> Path:
    path = folder / "other"
    path.mkdir()
    if os.geteuid() != 0:
        return Path("/root/heliograph")
    os.chown(path, 65534, 65534)
    return path


def link(folder: Path) -> Path:
    (folder / "secret").mkdir()
    (folder / "link").symlink_to(folder / "secret")
    return folder / "link"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


ODD = {
    "another user's": other_user,
    "a link": link,
    "a link to nowhere": lambda folder: (folder / "dangling").symlink_to(folder / "nowhere") or folder / "dangling",
    "a pipe": pipe,
    "a device": lambda _: Path("/dev/full"),
    "in /proc": lambda _: Path("/proc/self/state"),
    "too long": lambda folder: folder / ("x" * 300),
}


@pytest.mark.parametrize("what", ODD)
def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path, what: str) -> None:
    named = ODD[what](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "HELIOGRAPH_STATE_DIR": str(named), "HELIOGRAPH_BUS": f"spool:{tmp_path}/bus"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout == "[0, 1, 4, 9, 16]\n"
    assert "What is not recorded is counted" in done.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if "runinfo" not in path.parts] == before


@pytest.mark.parametrize("named", ["here", "../up", "~nobody-of-this-name/x", "\n", "-rf", "$HOME"])
def test_a_relative_folder_is_not_used(named: str, caplog: pytest.LogCaptureFixture) -> None:
    """The agent stands in `/`, and tasks change their directory."""
    assert settings.state_dir({"HELIOGRAPH_STATE_DIR": named}) == settings.state_dir({})
    assert "not an absolute path" in caplog.text


def test_the_home_directory_may_be_named_in_short() -> None:
    assert settings.state_dir({"HELIOGRAPH_STATE_DIR": "~/state"}) == Path("~/state").expanduser()
