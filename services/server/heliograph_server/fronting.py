"""The hub as a role of its own.

In: settings. Out: the hub's application, served until SIGTERM.
"""

from __future__ import annotations

import os
from pathlib import Path

from heliograph_hub.config import HubConfig
from heliograph_server import storage
from heliograph_server.given import checked_bus, needed, placement_of
from heliograph_server.http import listen, serve, tell_address, url_of
from heliograph_server.settings import Settings

KEY_FILE = "hub-secret"


def config_of(settings: Settings) -> HubConfig:
    """Raises BadConfig for what would open a door by accident."""
    placement = placement_of(settings)
    return HubConfig(
        bus_url=checked_bus(settings),
        database_url=placement.readable_url if placement else needed(settings, "database"),
        public_bus_url=settings.public_bus,
        public_url=settings.public_url,
        host=settings.hub_host,
        port=settings.hub_port,
        allowed_hosts=settings.allowed_hosts,
        join_token=settings.join_token,
        read_token=settings.read_token,
        signing_secret=settings.signing_secret,
        signing_secret_file=settings.data / KEY_FILE if settings.data.is_dir() else None,
        tls_certificate=settings.tls_certificate,
        tls_key=settings.tls_key,
        plain_http=settings.plain_http,
        metrics_open=settings.metrics_open,
        run_metrics=settings.run_metrics,
    )


def run(settings: Settings, *, address_file: Path | None = None, dashboard_url: str | None = None) -> int:
    config = config_of(settings)
    storage.refuse_unusable(config.database_url)
    sock = listen(config.host, config.port)
    url = url_of(sock, tls=config.tls_certificate is not None)
    if address_file is not None:
        about: dict[str, object] = {"api": url, "hub": url, "database": settings.database or "", "pid": os.getpid()}
        tell_address(address_file, about | ({"dashboard": dashboard_url} if dashboard_url else {}))
    try:
        return serve(config, sock)
    finally:
        if address_file is not None:
            address_file.unlink(missing_ok=True)
