"""What a hub needs to know, checked where it is made.

In: values from the composition root (never the environment). Out: a frozen `HubConfig` that cannot open a door by
accident, and that hides its secrets from `repr`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from heliograph.bus import MAX_BODY

DEFAULT_PORT = 55055
MIN_TOKEN = 16
"""Shortest token or secret that is accepted on an address others can reach, in characters."""


class BadConfig(ValueError):
    """These settings cannot work or would open a door. The text says which, and what to set instead."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`. Names other than localhost count as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class HubConfig:
    """Settings of one hub. Durations are seconds, sizes bytes.

    `bus_url` is where the intake publishes; `public_bus_url` is the broker as agents see it, with publish-only
    credentials (None: agents post to the hub itself). `public_url` is the hub as agents see it (None: what the
    request's Host header says). Without `signing_secret` and `signing_secret_file` the tokens end with the process.
    """

    bus_url: str = field(repr=False)
    database_url: str = field(repr=False)
    public_bus_url: str | None = field(default=None, repr=False)
    public_url: str | None = None
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    allowed_hosts: tuple[str, ...] = ()
    """Host names (no port) under which requests may come. Empty: loopback names, or any name on other addresses."""
    join_token: str | None = field(default=None, repr=False)
    read_token: str | None = field(default=None, repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    signing_secret_file: Path | None = None
    token_lifetime: float = 90 * 86400.0
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    plain_http: bool = False
    """Serve without TLS on an address others can reach: only behind a proxy that ends TLS, or on a trusted network."""
    metrics_open: bool = False
    """Serve /metrics without a token (the network in front of it decides who may scrape)."""
    max_body: int = MAX_BODY
    """What every bus takes: smaller would refuse batches that an agent may send by the broker."""
    max_in_flight: int = 64 << 20
    """Bytes of intake bodies held in memory at once, over all requests."""
    publishers: int = 2
    queue_length: int = 64
    publish_timeout: float = 30.0
    read_timeout: float = 30.0
    """For one intake body to arrive."""
    label_values: int = 200
    """Values of one label in /metrics before the rest is counted as 'other'."""
    run_metrics: int = 50
    """Runs that have metrics of their own at a time; 0: none."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BadConfig(f"hub port {self.port} is not between 0 and 65535")
        for name in ("max_body", "max_in_flight", "publishers", "queue_length", "label_values"):
            if getattr(self, name) < 1:
                raise BadConfig(f"hub setting {name} must be at least 1")
        if self.run_metrics < 0:
            raise BadConfig("hub setting run_metrics must be 0 (none) or more")
        for name in ("token_lifetime", "publish_timeout", "read_timeout"):
            if not getattr(self, name) > 0:
                raise BadConfig(f"hub setting {name} must be more than 0 seconds")
        for name in ("join_token", "read_token", "signing_secret"):
            self._check_secret(name)
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise BadConfig("TLS needs both a certificate and its key: set tls_certificate and tls_key")
        if not self.loopback:
            self._check_open_address()

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def join_open(self) -> bool:
        """Whether agents may connect without a token."""
        return self.loopback and self.join_token is None

    @property
    def read_open(self) -> bool:
        """Whether the API may be read without a token."""
        return self.loopback and self.read_token is None

    def _check_secret(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not value or not value.isascii() or not value.isprintable() or " " in value:
            raise BadConfig(f"{name} must be printable ASCII without spaces (it travels in an HTTP header)")
        if not self.loopback and len(value) < MIN_TOKEN:
            raise BadConfig(f"{name} is shorter than {MIN_TOKEN} characters; use for example `openssl rand -hex 32`")

    def _check_open_address(self) -> None:
        missing = [name for name in ("join_token", "read_token") if getattr(self, name) is None]
        if missing:
            raise BadConfig(
                f"the hub would listen on {self.host}, which others can reach, without {' and '.join(missing)}; "
                "set them, or listen on 127.0.0.1"
            )
        if self.tls_certificate is None and not self.plain_http:
            raise BadConfig(
                f"the hub would listen on {self.host} without TLS; set tls_certificate and tls_key, or plain_http "
                "when a proxy in front ends TLS"
            )
