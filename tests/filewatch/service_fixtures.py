"""A service on a site, and what it may be asked for: fixtures for the tests of the service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filewatch.hosting import Filewatch, Site

CALLBACKS = """
import os, sys, time

def names(files):
    return ",".join(sorted(os.path.basename(f) for f in files))

def slow(files):
    with open(os.environ["TRACE"], "a") as trace:
        trace.write("began %s %d\\n" % (names(files), os.getpid()))
    time.sleep(float(open(os.environ["PAUSE"]).read()))
    return names(files)

def secrets(files):
    return ",".join(sorted(n for n in os.environ if n.startswith("HELIOGRAPH_")))
"""


def allowing(root: Path, more: str = "") -> str:
    return f"""
[allow]
roots = ["{root}"]
callbacks = ["jobs:names", "jobs:slow", "jobs:secrets"]
emails = ["@example.org"]
[limits]
interval = 0.1
{more}
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(f"spool:{tmp_path}/spool", f"sqlite:///{tmp_path}/heliograph.db")
    yield one
    one.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def service(tmp_path: Path, site: Site, root: Path) -> Iterator[Filewatch]:
    (tmp_path / "jobs.py").write_text(CALLBACKS)
    (tmp_path / "pause").write_text("0")
    one = Filewatch(tmp_path, site, allowing(root), TRACE=str(tmp_path / "trace"), PAUSE=str(tmp_path / "pause"))
    yield one
    if one.process is not None and one.process.poll() is None:
        one.stop()
    assert one.wait(lambda: not one.hosts(), 20)
