"""One function a role: writer, hub, migrate, embedded.

In: parsed arguments. Out: the role, running until it is stopped; the exit status.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliograph.bus import hidden
from heliograph_server import logs
from heliograph_server.errors import SetupError
from heliograph_server.settings import Settings, load

if TYPE_CHECKING:
    from heliograph_server.placement import Placement, ServerPlacement

log = logging.getLogger("heliograph.server")
GIVEN = ("data", "database", "bus", "hub_host", "hub_port", "health_port", "mounts")


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings, with what stands on the command line first."""
    given: dict[str, Any] = {name: getattr(args, name, None) for name in GIVEN}
    settings = load(given)
    logs.setup(form=settings.log_format, level=settings.log_level)
    return settings


def needed(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    if not value:
        raise SetupError(f"no {name} is named: give --{name} URL or set HELIOGRAPH_{name.upper()}")
    return str(value)


def placement_of(settings: Settings) -> Placement | None:
    """Where a SQLite database is written, None for a server's."""
    from heliograph.state import state_folder
    from heliograph_server.placement import SCHEME, mount_table, place

    database = needed(settings, "database")
    if not database.startswith(SCHEME):
        return None
    return place(database, table=mount_table(settings.mounts), state_folder=state_folder())


def checked_bus(settings: Settings) -> str:
    """The bus of the server side, whose roles stand between a broker or spool and the database."""
    bus = needed(settings, "bus")
    scheme = bus.partition(":")[0].lower()
    if scheme in {"http", "https"}:
        raise SetupError(f"{hidden(bus)}: a server role needs amqp:// or spool:, a hub only takes messages")
    if scheme not in {"spool", "amqp", "amqps"}:
        raise SetupError(f"bus URL {hidden(bus)!r} has no known scheme; use spool:/folder or amqp://host/vhost")
    return bus


def migrate(args: argparse.Namespace) -> int:
    from heliograph_server import storage

    settings = settings_of(args)
    database = needed(settings, "database")
    placement = placement_of(settings)
    if placement is not None and placement.apart:
        print(f"{placement.published} is on a network file system; its writer keeps the schema up to date")
        return 0
    make_folder(database)
    print(f"schema {storage.migrate(database)}")
    return 0


def make_folder(database: str) -> None:
    """The folder of a SQLite file must exist before the file can."""
    if database.startswith("sqlite:///"):
        Path(database.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)


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


def hub(args: argparse.Namespace) -> int:
    from heliograph_server import fronting

    return fronting.run(settings_of(args), address_file=args.address_file)
