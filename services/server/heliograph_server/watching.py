"""The file-watch service as a role of its own.

In: settings. Out: the service, running until SIGTERM, with metrics and health on a loopback port.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from heliograph.bus import Consumer, Publisher, hidden, open_consumer, open_publisher
from heliograph.messages import Class
from heliograph_filewatch.config import BadWatchFile, ServiceConfig, WatchFile, load
from heliograph_filewatch.kept import StateInUse
from heliograph_filewatch.metrics import FilewatchMetrics
from heliograph_filewatch.service import Service
from heliograph_server import storage
from heliograph_server.errors import SetupError
from heliograph_server.given import checked_bus, needed, placement_of
from heliograph_server.health import HealthServer
from heliograph_server.settings import Settings
from heliograph_writer.stop import Stop

log = logging.getLogger("heliograph.filewatch")
STATE = "filewatch"


def config_of(settings: Settings) -> ServiceConfig:
    """Raises SetupError for a watch file that cannot be used."""
    placement = placement_of(settings)
    try:
        watches = WatchFile() if settings.filewatch_config is None else load(settings.filewatch_config)
    except BadWatchFile as error:
        raise SetupError(str(error)) from None
    return ServiceConfig(
        state=(settings.filewatch_state or settings.data / STATE).absolute(),
        bus=checked_bus(settings),
        database=placement.readable_url if placement else needed(settings, "database"),
        watches=watches,
    )


def run(settings: Settings) -> int:
    config = config_of(settings)
    storage.refuse_unusable(config.database)
    metrics = FilewatchMetrics()
    stop = Stop()
    stop.on_signals()
    name = f"filewatch-{socket.gethostname()}-{os.getpid()}"

    def consumer() -> Consumer:
        return open_consumer(config.bus, name=name, prefetch=50, classes=[Class.COMMANDS])

    def publisher(who: str) -> Publisher:
        return open_publisher(config.bus, name=f"{who}-{socket.gethostname()}")

    try:
        service = Service(config, open_consumer=consumer, open_publisher=publisher, metrics=metrics, stop=stop)
    except (BadWatchFile, StateInUse) as error:
        raise SetupError(str(error)) from None
    health = HealthServer(
        host=settings.health_host, port=settings.health_port, registry=metrics.registry, ready=service.ready
    )
    health.start()
    log.info("metrics and health on %s", health.url)
    if not config.watches.allow.roots and not config.watches.entries:
        log.warning("nothing may be watched: name a watch file (HELIOGRAPH_FILEWATCH_CONFIG); requests are refused")
    log.info("taking requests from %s", hidden(config.bus))
    try:
        service.run()
    finally:
        health.stop()
    log.info("stopped")
    return 0


def check(path: Path) -> None:
    """Read a watch file, to say early what is wrong with it. Raises SetupError."""
    try:
        load(path)
    except BadWatchFile as error:
        raise SetupError(str(error)) from None
