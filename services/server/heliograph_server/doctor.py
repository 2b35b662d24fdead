"""`heliograph doctor`: what is reachable from this machine and what is not, and what to do about it.

In: settings, a run directory if one is named. Out: one line a check; exit status 1 when something needs doing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from heliograph.bus import BadUrl, BusUnavailable, hidden, open_dead_letters, open_publisher
from heliograph_server.given import settings_of
from heliograph_server.placement import SCHEME, mount_table
from heliograph_server.settings import Settings
from heliograph_store.filesystem import network_filesystem

TESTED_PARSL = (2026, 10, 26)
LITTLE_SPACE = 256 << 20


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


def doctor(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    good = True
    for check in checks(settings, hub=args.hub, run_dir=args.run_dir):
        for finding in _guarded(check):
            print(finding.line(), flush=True)
            good = good and finding.ok is not False
    return 0 if good else 1


Check = Callable[[], Iterator[Finding]]


def checks(settings: Settings, *, hub: str | None, run_dir: Path | None) -> list[Check]:
    asked = bool(hub or settings.public_url)
    hub = hub or settings.public_url or f"127.0.0.1:{settings.hub_port}"
    return [
        versions,
        state,
        lambda: route(run_dir),
        lambda: bus(settings.bus),
        lambda: handshake(hub, asked=asked),
        lambda: database(settings.database),
    ]


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
    from heliograph.state import namespace_folder, own_folder, state_folder

    folder = state_folder()
    try:
        own_folder(folder, ours=False)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = "make it a folder of yours with mode 0700, or set HELIOGRAPH_STATE_DIR"
        yield Finding(what="state folder", ok=False, text=f"{folder}: {error.strerror or error}", advice=advice)
        return
    kind = network_filesystem(folder, mount_table())
    yield Finding(
        what="state folder",
        ok=kind is None,
        text=f"{folder} can be written" + (f", but is on a network file system ({kind})" if kind else ""),
        advice="set HELIOGRAPH_STATE_DIR to a folder on this node" if kind else "",
    )
    free = shutil.disk_usage(folder).free
    enough = free >= LITTLE_SPACE
    advice = "" if enough else "free some: records are dropped, samples first, when it is full"
    yield Finding(what="disk", ok=enough, text=f"{free >> 20} MiB free under {folder}", advice=advice)
    yield _agent(namespace_folder())


def _agent(folder: Path) -> Finding:
    from heliograph.watchman import AGENT_LOCK, agent_present

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
    from heliograph.route import environment_route, read_route, route_path

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


def bus(url: str | None) -> Iterator[Finding]:
    """The bus as the server side sees it, and what was put aside there."""
    if not url:
        yield Finding(what="bus", ok=None, text="none is set (HELIOGRAPH_BUS or --bus)")
        return
    found = list(publishing("bus", url))
    yield from found
    if not all(f.ok for f in found) or url.startswith("http"):
        return
    with closing(open_dead_letters(url)) as letters:
        count = letters.count()
    advice = "look with `heliograph dead list`" if count else ""
    yield Finding(what="dead letters", ok=not count, text=f"{count}", advice=advice)


def handshake(address: str, *, asked: bool) -> Iterator[Finding]:
    from heliograph.handshake import NoHub, Refused, connect

    try:
        answer = connect(address, run="doctor")
        yield Finding(what="hub", ok=True, text=f"{address} answers and names {hidden(answer.bus)}")
    except Refused as error:
        yield Finding(what="hub", ok=False, text=f"{address}: {error}")
    except NoHub as error:
        text = f"nobody answers the handshake at {address} ({error})"
        advice = "start `heliograph hub` or `up`; without one a workflow brings its own writer"
        yield Finding(what="hub", ok=False if asked else None, text=text, advice=advice)


def database(url: str | None) -> Iterator[Finding]:
    from heliograph_store.errors import NeedsMigration, StoreError, StoreUnavailable
    from heliograph_store.migrate import check
    from heliograph_store.store import connect

    if not url:
        yield Finding(what="database", ok=None, text="none is set (HELIOGRAPH_DATABASE or --database)")
        return
    shown = hidden(url)
    try:
        with closing(connect(url, read_only=True)) as store:
            check(store)
        yield Finding(what="database", ok=True, text=f"{shown} has this version's schema")
    except NeedsMigration as error:
        yield Finding(what="database", ok=False, text=str(error))
    except StoreError as error:
        advice = "correct the URL or start the database" if isinstance(error, StoreUnavailable) else ""
        yield Finding(what="database", ok=False, text=f"{shown}: {error}", advice=advice)
    if url.startswith(SCHEME):
        kind = network_filesystem(Path(url.removeprefix(SCHEME)).absolute(), mount_table())
        if kind:
            text = f"the database is on {kind}: its writer keeps the live file on its own node and publishes copies"
            yield Finding(what="file system", ok=None, text=text)
