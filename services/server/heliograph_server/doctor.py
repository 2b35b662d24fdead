"""`heliograph doctor`: the checks of a node, and beside them the bus and the database as the server sees them.

In: settings, a run directory if one is named. Out: one line a check; exit status 1 when something needs doing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from heliograph.bus import hidden, open_dead_letters
from heliograph.doctor import Finding, handshake, publishing, report, route, state, versions
from heliograph.state import state_folder
from heliograph_server.given import settings_of
from heliograph_server.placement import SCHEME, mount_table
from heliograph_store.filesystem import network_filesystem


def doctor(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    return report(
        [
            versions,
            state,
            state_filesystem,
            lambda: route(args.run_dir),
            lambda: bus(settings.bus),
            lambda: handshake(args.hub or settings.public_url, f"127.0.0.1:{settings.hub_port}"),
            lambda: database(settings.database),
        ]
    )


def state_filesystem() -> Iterator[Finding]:
    """Locks and appends in the state folder have to be quick, and known to every process of this node only."""
    folder = state_folder()
    kind = network_filesystem(folder, mount_table())
    if kind:
        text = f"{folder} is on a network file system ({kind})"
        advice = "set HELIOGRAPH_STATE_DIR to a folder on this node"
        yield Finding(what="state folder", ok=False, text=text, advice=advice)


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
