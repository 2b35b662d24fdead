"""`heliograph doctor`: what is reachable from this node and what is not, and what to do about it.

In: a run directory and a hub's address, if they are named. Out: one line a check; exit status 1 when something needs
doing. With `heliograph-server` installed the same command also looks at the bus and the database.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from heliograph import settings
from heliograph.bus import BadUrl, BusUnavailable, hidden, open_publisher
from heliograph.handshake import NoHub, Refused, connect
from heliograph.route import environment_route, read_route, route_path
from heliograph.state import namespace_folder, own_folder, state_folder
from heliograph.watchman import AGENT_LOCK, agent_present

TESTED_PARSL = (2026, 10, 26)
LITTLE_SPACE = 256 << 20
HUB = "127.0.0.1:55055"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line. `ok` None is for what is neither good nor bad; `advice` says what to do."""

    what: str
    ok: bool | None
    text: str
    advice: str = ""

    def line(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "--  "}[self.ok]
        return f"{mark}  {self.what:<13} {self.text}" + (f" → {self.advice}" if self.advice else "")


Check = Callable[[], Iterator[Finding]]


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "what is reachable from here and what is not"
    parser = subparsers.add_parser("doctor", help=summary, description=summary)
    options(parser)
    parser.set_defaults(handler=doctor)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hub", metavar="HOST:PORT", help=f"hub to ask (default: the settings' or {HUB})")
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="folder of a run, to check its route file")


def doctor(args: argparse.Namespace) -> int:
    return report([versions, state, lambda: route(args.run_dir), lambda: handshake(args.hub)])


def report(checks: Iterable[Check]) -> int:
    """Print what the checks find; the exit status."""
    good = True
    for check in checks:
        for finding in _guarded(check):
            print(finding.line(), flush=True)
            good = good and finding.ok is not False
    return 0 if good else 1


def _guarded(check: Check) -> list[Finding]:
    """A doctor that breaks on what it finds would help nobody."""
    try:
        return list(check())
    except Exception as error:
        return [Finding(what="doctor", ok=False, text=f"{type(error).__name__}: {error}", advice="report this")]


def versions() -> Iterator[Finding]:
    yield Finding(what="heliograph", ok=True, text=importlib.metadata.version("heliograph"))
    try:
        found = importlib.metadata.version("parsl")
    except importlib.metadata.PackageNotFoundError:
        yield Finding(what="parsl", ok=None, text="not installed here (needed only beside workflows)")
        return
    numbers = tuple(int(part) for part in found.split(".")[:3] if part.isdigit())
    if numbers < TESTED_PARSL:
        wanted = ".".join(map(str, TESTED_PARSL))
        yield Finding(what="parsl", ok=False, text=f"{found} is older than tested", advice=f"install {wanted} or newer")
    else:
        yield Finding(what="parsl", ok=True, text=found)


def state() -> Iterator[Finding]:
    """The state folder, its disk, and whether an agent is at work."""
    folder = state_folder()
    try:
        own_folder(folder, ours=False)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = "make it a folder of yours with mode 0700, or set HELIOGRAPH_STATE_DIR"
        yield Finding(what="state folder", ok=False, text=f"{folder}: {error.strerror or error}", advice=advice)
        return
    yield Finding(what="state folder", ok=True, text=f"{folder} can be written")
    free = shutil.disk_usage(folder).free
    enough = free >= LITTLE_SPACE
    advice = "" if enough else "free some: records are dropped, samples first, when it is full"
    yield Finding(what="disk", ok=enough, text=f"{free >> 20} MiB free under {folder}", advice=advice)
    yield _agent(namespace_folder())


def _agent(folder: Path) -> Finding:
    forbidden = "HELIOGRAPH_AGENT" if settings.agent_off() else settings.site_file() if settings.site().off else ""
    if forbidden:
        text = f"turned off by {forbidden}: records stay on this node, and what does not fit is dropped"
        return Finding(what="agent", ok=None, text=text)
    if not (folder / AGENT_LOCK).exists():
        return Finding(what="agent", ok=None, text="none has run here yet (the first record starts one)")
    if agent_present(folder):
        return Finding(what="agent", ok=True, text="at work")
    waiting = sum(1 for _ in folder.glob("journals/*/*.seg"))
    if not waiting:
        return Finding(what="agent", ok=None, text="none running, and nothing to ship")
    return Finding(
        what="agent",
        ok=False,
        text=f"none running, and {waiting} segments wait in {folder / 'journals'}",
        advice="run `heliograph agent`, and see that HELIOGRAPH_AGENT is not off",
    )


def route(run_dir: Path | None) -> Iterator[Finding]:
    """How agents here would find the bus."""
    found = environment_route()
    if found is not None:
        yield Finding(what="route", ok=True, text=f"the environment names {hidden(found.bus)}")
        yield from publishing("route's bus", found.bus, token=found.token, fingerprint=found.tls_fingerprint)
        return
    if run_dir is None:
        yield Finding(
            what="route", ok=None, text="the environment names no bus; --run-dir DIR checks a run's route file"
        )
        return
    found = read_route(run_dir)
    if found is None:
        yield Finding(
            what="route",
            ok=False,
            text=f"no usable {route_path(run_dir)}",
            advice="see that this node sees the run directory, and that the file is yours with mode 0600",
        )
        return
    yield Finding(what="route", ok=True, text=f"{route_path(run_dir)} names {hidden(found.bus)}")
    yield from publishing("route's bus", found.bus, token=found.token, fingerprint=found.tls_fingerprint)


def publishing(what: str, url: str, *, token: str | None = None, fingerprint: str | None = None) -> Iterator[Finding]:
    """Whether something could be published there; nothing is."""
    try:
        with closing(open_publisher(url, name="doctor", token=token, tls_fingerprint=fingerprint)) as publisher:
            publisher.publish([])
        yield Finding(what=what, ok=True, text=f"{hidden(url)} answers")
    except BadUrl as error:
        yield Finding(what=what, ok=False, text=str(error), advice="correct the URL")
    except BusUnavailable as error:
        advice = "see that it runs, that this node may reach it, and that name and password are right"
        yield Finding(what=what, ok=False, text=f"{hidden(url)}: {error}", advice=advice)


def handshake(named: str | None, default: str = HUB) -> Iterator[Finding]:
    """Whether a hub answers. One that is missing is wrong only where it was named."""
    address = named or default
    try:
        answer = connect(address, run="doctor")
        yield Finding(what="hub", ok=True, text=f"{address} answers and names {hidden(answer.bus)}")
    except Refused as error:
        yield Finding(what="hub", ok=False, text=f"{address}: {error}")
    except NoHub as error:
        text = f"nobody answers the handshake at {address} ({error})"
        advice = "start `heliograph hub` or `up`; without one a workflow brings its own writer"
        yield Finding(what="hub", ok=False if named else None, text=text, advice=advice)
