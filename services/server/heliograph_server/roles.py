"""One function a role: writer, filewatch, hub, migrate, embedded.

In: parsed arguments. Out: the role, running until it is stopped; the exit status.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from heliograph_server import logs
from heliograph_server.given import make_folder, needed, placement_of, settings_of

if TYPE_CHECKING:
    from heliograph_server.placement import Placement, ServerPlacement
    from heliograph_server.settings import Settings


def migrate(args: argparse.Namespace) -> int:
    from heliograph_server import storage

    settings = settings_of(args)
    database = needed(settings, "database")
    refuse_unusable(settings)
    placement = placement_of(settings)
    if placement is not None and placement.apart:
        print(f"{placement.published} is on a network file system; its writer keeps the schema up to date")
        return 0
    make_folder(database)
    print(f"schema {storage.migrate(database)}")
    return 0


def refuse_unusable(settings: Settings) -> None:
    """Say now what would keep the roles from starting: in a deployment this runs before them, once, and they would be
    started again and again. Raises BadUrl, BadConfig, SetupError."""
    from heliograph.bus import open_publisher
    from heliograph_server import fronting, looking, watching

    if settings.bus:
        for role in (fronting, looking, watching):
            role.config_of(settings)
    if settings.public_bus:
        open_publisher(settings.public_bus, name="check").close()  # reads the URL, and connects only when it publishes


def embedded(args: argparse.Namespace) -> int:
    from heliograph.state import state_folder
    from heliograph_server import embedded as mode
    from heliograph_server.placement import SCHEME, ServerPlacement, mount_table, place

    at: Placement | ServerPlacement
    if args.spool is None:
        logs.setup()
        database = args.database or SCHEME
        at = place(database, table=mount_table(args.mounts), state_folder=state_folder())
    else:
        database = needed(settings_of(args), "database")
        at = ServerPlacement(live_url=database, spool=args.spool.absolute())
    return mode.run(
        mode.EmbeddedConfig(
            placement=at,
            run=args.run,
            run_dir=args.run_dir.absolute(),
            owner_pid=args.owner_pid,
            owner_start=args.owner_start,
        )
    )


def writer(args: argparse.Namespace) -> int:
    from heliograph_server import writing

    return writing.run(settings_of(args))


def filewatch(args: argparse.Namespace) -> int:
    from heliograph_server import watching

    return watching.run(settings_of(args))


def hub(args: argparse.Namespace) -> int:
    from heliograph_server import fronting

    return fronting.run(settings_of(args), address_file=args.address_file, dashboard_url=args.dashboard_url)
