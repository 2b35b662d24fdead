"""Settings of the server side: the one place that reads the environment and files.

In: `HELIOGRAPH_…` variables, `HELIOGRAPH_…_FILE` for what is secret, a TOML file named by `HELIOGRAPH_CONFIG`, and
values given on the command line (which win). Out: one frozen `Settings`; secrets are hidden from its repr.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tomllib
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from heliograph_server.errors import SetupError

PREFIX = "HELIOGRAPH_"
SECRETS = (
    "database",
    "bus",
    "public_bus",
    "join_token",
    "read_token",
    "signing_secret",
    "dashboard_password",
    "dashboard_token",
)
"""Settings that are secret or can hold a password: hidden from repr, and readable from `HELIOGRAPH_<NAME>_FILE`."""


class Settings(BaseSettings):
    """Everything a role may be told. Durations in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data: Path = Field(default=Path("heliograph-data"), description="Folder of `up`: database, spool, logs")
    database: str | None = Field(default=None, repr=False, description="sqlite:///path or postgresql://user:pw@host/db")
    bus: str | None = Field(default=None, repr=False, description="spool:/folder or amqp://user:pw@host/vhost")
    public_bus: str | None = Field(default=None, repr=False, description="The bus as agents reach it, publish only")
    public_url: str | None = Field(default=None, description="The hub as agents reach it")
    hub_host: str = Field(default="127.0.0.1", description="Address on which the hub listens")
    hub_port: int = Field(default=55055, ge=0, le=65535, description="Port of the hub; 0 takes a free one")
    allowed_hosts: tuple[str, ...] = Field(default=(), description="Host names under which requests may come")
    join_token: str | None = Field(default=None, repr=False, description="What agents show to join")
    read_token: str | None = Field(default=None, repr=False, description="What readers of the API show")
    signing_secret: str | None = Field(default=None, repr=False, description="Signs the tokens of runs")
    tls_certificate: Path | None = Field(default=None, description="PEM file of the hub's certificate")
    tls_key: Path | None = Field(default=None, description="PEM file of the certificate's key")
    plain_http: bool = Field(default=False, description="No TLS on an address others can reach (a proxy ends it)")
    metrics_open: bool = Field(default=False, description="Serve the hub's /metrics without a token")
    run_metrics: int = Field(
        default=50, ge=0, description="Running runs that have metrics of their own at a time; 0: none"
    )
    dashboard_host: str = Field(default="127.0.0.1", description="Address on which the dashboard listens")
    dashboard_port: int = Field(default=8080, ge=0, le=65535, description="Port of the dashboard; 0 takes a free one")
    dashboard_password: str | None = Field(default=None, repr=False, description="What people type in to log in")
    dashboard_token: str | None = Field(
        default=None, repr=False, description="Opens the dashboard from a header or, once, from `?token=`"
    )
    dashboard_open: bool = Field(default=False, description="Let everybody look who can reach it")
    dashboard_prefix: str = Field(default="/", description="Path under which a proxy shows the dashboard")
    dashboard_allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Host names under which an open dashboard on loopback may be asked for"
    )
    dashboard_trusted_proxies: tuple[str, ...] = Field(
        default=(), description="Addresses or networks of proxies whose X-Forwarded-… and user header count"
    )
    dashboard_user_header: str | None = Field(
        default=None, description="Header in which a trusted proxy names the user that it let in"
    )
    dashboard_log_roots: tuple[Path, ...] = Field(
        default=(), description="Folders under which the files that tasks wrote (stdout, stderr) may be shown"
    )
    health_host: str = Field(default="127.0.0.1", description="Address of the writer's /metrics, /healthz, /readyz")
    health_port: int = Field(default=55056, ge=0, le=65535, description="Port of it; 0 takes a free one")
    filewatch_config: Path | None = Field(
        default=None, description="Watch file: what is watched, what may be asked for"
    )
    filewatch_state: Path | None = Field(
        default=None, description="Folder of the file-watch service's memory; unset: `filewatch` in the data folder"
    )
    filewatch_port: int = Field(
        default=55057, ge=0, le=65535, description="In `up`: port of the file-watch service's /metrics and health"
    )
    linger: float = Field(default=0.2, ge=0, le=60, description="How long the writer waits to fill a commit")
    write_batches: int = Field(default=128, ge=1, le=100_000, description="Most batches in one commit")
    prefetch: int = Field(default=256, ge=1, le=65535, description="Batches the broker may have under way to a writer")
    raw_samples_for: float | None = Field(
        default=None, gt=0, description="Days after which raw samples thin to one a minute; unset: never"
    )
    minute_samples_for: float | None = Field(
        default=None, gt=0, description="Days after which samples thin to one summary a try; unset: never"
    )
    mounts: Path | None = Field(default=None, description="Mount table to go by instead of the system's")
    log_format: Literal["text", "json"] = Field(default="text", description="How log lines look")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged")

    @classmethod
    def settings_customise_sources(  # type: ignore[no-untyped-def]
        cls, settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del cls, settings_cls, dotenv_settings, file_secret_settings
        return init_settings, env_settings


def load(given: Mapping[str, Any] | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings: given → environment → `…_FILE` → TOML → defaults. Raises SetupError, one line, without secrets."""
    from_files = secrets_from_files(environment)
    values = from_toml(environment.get(PREFIX + "CONFIG"))
    values.update(from_files)
    # The environment outranks both of these, so what it sets is left to it.
    values = {name: value for name, value in values.items() if not environment.get(PREFIX + name.upper())}
    values.update({name: value for name, value in (given or {}).items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SetupError(_one_line(error)) from None


def secrets_from_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Values of `HELIOGRAPH_<SECRET>_FILE`. Naming a value both ways is an error: nobody could say which one counts."""
    found: dict[str, str] = {}
    for name in SECRETS:
        variable = PREFIX + name.upper()
        path = environment.get(variable + "_FILE")
        if not path:
            continue
        if environment.get(variable):
            raise SetupError(f"both {variable} and {variable}_FILE are set; keep one of them")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(f"{variable}_FILE names {path}, which cannot be read: {error}") from None
    return found


def from_toml(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SetupError(f"HELIOGRAPH_CONFIG names {path}, which cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} is not a TOML file: {error}") from None


def _one_line(error: ValidationError) -> str:
    """Which settings are wrong and why, without their values: those can be secrets."""
    parts = []
    for detail in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            parts.append(f"{name}: no such setting")
        else:
            parts.append(f"{name} ({PREFIX}{name.upper()}): {detail['msg']}")
    return "wrong settings: " + "; ".join(parts)
