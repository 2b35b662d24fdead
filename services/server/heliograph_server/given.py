"""What a command was given: settings with its arguments first, and the database and bus that they name, checked.

In: parsed arguments, the environment, a TOML file. Out: settings; or a SetupError that says what to give.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heliograph.bus import hidden, open_publisher
from heliograph_server import logs
from heliograph_server.errors import SetupError
from heliograph_server.settings import Settings, load

if TYPE_CHECKING:
    from heliograph_server.placement import Placement

GIVEN = (
    "data",
    "database",
    "bus",
    "hub_host",
    "hub_port",
    "dashboard_host",
    "dashboard_port",
    "health_port",
    "mounts",
    "filewatch_config",
)


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
    """The bus of the server side, whose roles stand between a broker or spool and the database. Raises SetupError and
    BadUrl now, and not only when there is something to take from it."""
    bus = needed(settings, "bus")
    scheme = bus.partition(":")[0].lower()
    if scheme in {"http", "https"}:
        raise SetupError(f"{hidden(bus)}: a server role needs amqp:// or spool:, a hub only takes messages")
    if scheme not in {"spool", "amqp", "amqps"}:
        raise SetupError(f"bus URL {hidden(bus)!r} has no known scheme; use spool:/folder or amqp://host/vhost")
    if scheme != "spool":
        open_publisher(bus, name="check").close()  # reads the URL, and connects only when it publishes
    return bus


def make_folder(database: str) -> None:
    """The folder of a SQLite file must exist before the file can."""
    if database.startswith("sqlite:///"):
        Path(database.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)
