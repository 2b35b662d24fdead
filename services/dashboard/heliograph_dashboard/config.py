"""What a dashboard needs to know, checked where it is made.

In: values from the composition root (never the environment). Out: a frozen `DashboardConfig` that cannot open a door by
accident, and that hides its secrets from `repr`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

MIN_SECRET: Final = 12
"""Shortest password or token that is accepted on an address others can reach, in characters."""
PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~@:+-]+)*/")
HEADER: Final = re.compile(r"[A-Za-z0-9-]+")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
class DashboardConfig:
    """Settings of one dashboard. Durations are seconds."""

    database_url: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    allowed_hosts: tuple[str, ...] = ()
    """Host names (no port) under which an open dashboard on loopback may be asked for, beside loopback's own."""
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    """Signs the cookies of those who are logged in; without it they end with the process."""
    session_lifetime: float = 7 * 86400.0
    open: bool = False
    """Anybody may look who can reach it; on loopback: every user of this machine."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies that may say who asks and under which prefix."""
    user_header: str | None = None
    """The header in which a trusted proxy names the user that it let in."""
    prefix: str = "/"
    """The path under which the browser sees the dashboard; whether the proxy takes it away makes no difference."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    plain_http: bool = False
    metrics_open: bool = False
    """Serve /metrics to everybody (the network in front decides who may scrape)."""
    log_roots: tuple[Path, ...] = ()
    """Folders under which files that tasks wrote (stdout, stderr) may be shown."""
    poll: float = 1.0
    """How often the store is asked whether something changed, in the runs that somebody looks at."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise BadConfig(f"dashboard port {self.port} is not between 0 and 65535")
        for name in ("poll", "session_lifetime"):
            if not getattr(self, name) > 0:
                raise BadConfig(f"dashboard setting {name} must be more than 0 seconds")
        if not self.prefix.startswith("/"):
            raise BadConfig(f"dashboard prefix {self.prefix!r} must begin with a slash")
        object.__setattr__(self, "prefix", self.prefix.rstrip("/") + "/")
        if not PREFIX.fullmatch(self.prefix):
            raise BadConfig(f"dashboard prefix {self.prefix!r} holds what a path of a proxy does not")
        if self.user_header is not None:
            if not HEADER.fullmatch(self.user_header):
                raise BadConfig(f"{self.user_header!r} is not the name of a header")
            if not self.trusted_proxies:
                raise BadConfig("a user header needs trusted_proxies: else anybody could send it")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise BadConfig("TLS needs both a certificate and its key: set tls_certificate and tls_key")
        _ = self.proxy_networks
        for name in ("password", "token"):
            self._check_secret(name)
        if not self.loopback:
            self._check_open_address()

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def has_secret(self) -> bool:
        return self.password is not None or self.token is not None

    @property
    def guarded(self) -> bool:
        """Whether one has to show something to get in."""
        return not self.open and (self.has_secret or self.user_header is not None)

    @cached_property
    def proxy_networks(self) -> tuple[Network, ...]:
        try:
            return tuple(ipaddress.ip_network(text, strict=False) for text in self.trusted_proxies)
        except ValueError as error:
            raise BadConfig(f"trusted_proxies: {error}; write addresses or networks such as 10.0.0.0/8") from None

    def _check_secret(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not value or not value.isprintable():
            raise BadConfig(f"the dashboard's {name} must be printable and not empty")
        if name == "token" and (not value.isascii() or " " in value):
            raise BadConfig("the dashboard's token must be ASCII without spaces (it travels in an HTTP header)")
        if not self.loopback and len(value) < MIN_SECRET:
            raise BadConfig(
                f"the dashboard's {name} is shorter than {MIN_SECRET} characters; see `openssl rand -hex 16`"
            )

    def _check_open_address(self) -> None:
        if not self.open and not self.guarded:
            raise BadConfig(
                f"the dashboard would listen on {self.host}, which others can reach, and let everybody in; set "
                "HELIOGRAPH_DASHBOARD_PASSWORD_FILE (or a token, or a trusted proxy's user header), listen on "
                "127.0.0.1, or set HELIOGRAPH_DASHBOARD_OPEN=true"
            )
        if self.has_secret and not self.open and self.tls_certificate is None and not self.plain_http:
            raise BadConfig(
                f"the dashboard would ask for a secret on {self.host} without TLS; set tls_certificate and tls_key, or "
                "plain_http when a proxy in front ends TLS"
            )
