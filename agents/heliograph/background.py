"""Starts a module of ours as a process of its own that is nobody's child.

In: the module, its arguments, an environment. Out: a process that goes on without this one. A shell puts it into the
background and ends, and only the shell is awaited: otherwise the user's program would have a child that it never
started, and could wait for it by mistake.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PATIENCE = 5.0
"""Seconds for a shell that has nothing to do but to fork."""


def start(module: str, *arguments: str, environ: Mapping[str, str]) -> None:
    """Start `python -m module`. What the environment names relative to here is named absolutely, because the process
    stands in `/`, where no file of the user's can be called like a module of ours. Raises OSError and what a shell
    that hangs raises."""
    import subprocess  # here, because most recording processes never start anything

    if not sys.executable:
        raise FileNotFoundError("this Python does not know its own program")
    shell = subprocess.Popen(
        ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=settled(environ),
        start_new_session=True,
    )
    shell.wait(PATIENCE)


def settled(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as it must be to mean the same from anywhere."""
    found = dict(environ)
    for name, value in environ.items():
        if name.startswith("HELIOGRAPH_") and name.endswith(("_FILE", "_CONFIG")) and value:
            found[name] = os.path.abspath(value)
    paths = [os.path.abspath(path) for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    home = str(Path(__file__).resolve().parent.parent)
    if not home.endswith(("site-packages", "dist-packages")):
        paths.insert(0, home)
    if paths:
        found["PYTHONPATH"] = os.pathsep.join(paths)
    return found
