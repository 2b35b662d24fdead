"""Where the records of a run go.

In: the environment, or the file `<run_dir>/.heliograph/route.json` that the submitting process wrote. Out: a bus URL
with its publish-only token. Neither ever stands in a journal, a message or a log.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from heliograph import settings

log = logging.getLogger("heliograph")

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Route:
    """How an agent finds the bus of a run. Stands in every segment's head, so it never holds a secret."""

    run: str
    run_dir: str = ""
    """Folder on the shared file system; may hold .heliograph/route.json."""
    hub: str | None = None
    """'host:port' to ask when the run directory is not visible."""
    owner: bool = False
    """True in the submitting process: its life is the run's."""
    sample_interval: float = 10.0


@dataclass(frozen=True, kw_only=True)
class RouteFile:
    """The content of a route file, which is also a hub's answer."""

    bus: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    tls_fingerprint: str | None = None
    interval: float = 10.0
    version: int = VERSION
    clock_offset: int | None = field(default=None, compare=False)
    """This host's clock minus that of the hub that answered, in microseconds; never in the file."""


def route_path(run_dir: str | Path) -> Path:
    return Path(run_dir) / ".heliograph" / "route.json"


def spool_path(run_dir: str | Path) -> Path:
    """The spool of agents that have no way to the bus; the submitting node's agent ships it on."""
    return Path(run_dir) / ".heliograph" / "spool"


def write_route(run_dir: str | Path, route: RouteFile) -> Path:
    """Write the route file, readable by its owner only, whole or not at all. Raises OSError."""
    path = route_path(run_dir)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = {
        "version": route.version,
        "bus": route.bus,
        "token": route.token,
        "tls_fingerprint": route.tls_fingerprint,
        "interval": route.interval,
    }
    passing = path.with_name(f".route.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        passing.replace(path)
    except BaseException:
        passing.unlink(missing_ok=True)
        raise
    return path


def read_route(run_dir: str | Path) -> RouteFile | None:
    """The route file of a run, or None when there is none that is ours. A bad one is logged, without its content."""
    if not str(run_dir):
        return None
    path = route_path(run_dir)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(handle, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            log.warning("%s is not used: it must be a file of ours that only we can read (mode 0600)", path)
            return None
        try:
            return _route_file(json.loads(file.read(65536)))
        except (OSError, ValueError) as error:
            log.warning("%s is not used: %s", path, type(error).__name__)
            return None


def _route_file(content: object) -> RouteFile:
    if not isinstance(content, dict) or not isinstance(content.get("bus"), str):
        raise ValueError("no bus")  # noqa: TRY004 - for the reader it is one thing: a bad file
    token, fingerprint, interval = (content.get(name) for name in ("token", "tls_fingerprint", "interval"))
    return RouteFile(
        bus=content["bus"],
        token=token if isinstance(token, str) else None,
        tls_fingerprint=fingerprint if isinstance(fingerprint, str) else None,
        interval=float(interval) if isinstance(interval, (int, float)) else 10.0,
    )


def environment_route() -> RouteFile | None:
    """The route that the environment gives: `HELIOGRAPH_BUS`, `HELIOGRAPH_TOKEN`, or `…_FILE`."""
    found = settings.bus_setting()
    if found is None:
        return None
    return RouteFile(bus=found.bus, token=found.token, tls_fingerprint=found.tls_fingerprint)
