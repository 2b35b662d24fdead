"""Everything that the agents' distribution reads from the environment and from the site's file.

In: environment variables `HELIOGRAPH_…` and one optional JSON file of the site. Out: frozen values; nobody else in this
package looks at the environment. A wrong value never stops a workflow: it is logged once and its default is used.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

log = logging.getLogger("heliograph")

SITE_FILE = "/etc/heliograph/agent.json"
PLACES = ("/tmp", "/var/tmp")  # noqa: S108 - owner and mode are checked
JOB_VARIABLES = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "COBALT_JOBID", "JOB_ID")
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much disk a journal may use, in bytes. Over the caps samples are dropped first, then states."""

    segment: int = 8 * MIB
    process: int = 256 * MIB
    node: int = 1024 * MIB
    reserve: int = 16 * MIB
    """Space on the file system that is left to others."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the operator of the machine decided about agents."""

    off: bool = False
    nice: int = 10
    interval: int = 0
    """Least seconds between samples, whatever runs ask for."""
    memory: int = 512 * MIB
    """An agent above this resident size ends; the next record starts another."""
    process_disk: int = Limits.process
    node_disk: int = Limits.node

    def limits(self) -> Limits:
        return Limits(process=self.process_disk, node=self.node_disk)


@dataclass(frozen=True, kw_only=True)
class BusSetting:
    """Where records go when the environment says so."""

    bus: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    tls_fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Smtp:
    """The mail server. `tls` is 'none', 'starttls' or 'ssl'; `sender` '' takes this user at this host."""

    host: str = "localhost"
    port: int = 25
    tls: str = "none"
    user: str = ""
    password: str = field(default="", repr=False)
    sender: str = ""

    @property
    def where(self) -> str:
        """For people."""
        return f"mail server {self.host}:{self.port}"


def site(environ: Mapping[str, str] = os.environ) -> Site:
    """The site's file (`HELIOGRAPH_SITE_FILE`, else /etc/heliograph/agent.json), or the defaults."""
    path = site_file(environ)
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(65536))
    except FileNotFoundError:
        return Site()
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read, defaults are used: %s", path, error)
        return Site()
    return _checked(found, path)


def site_file(environ: Mapping[str, str] = os.environ) -> str:
    """Where the site's file is, or would be."""
    return environ.get("HELIOGRAPH_SITE_FILE") or SITE_FILE


def _checked(found: object, path: str) -> Site:
    if not isinstance(found, dict):
        log.warning("%s: an object with settings is expected, defaults are used", path)
        return Site()
    result = Site()
    known = {f.name: type(getattr(result, f.name)) for f in fields(Site)}
    for name, value in found.items():
        wanted = known.get(name)
        if wanted is None or type(value) is not wanted or (wanted is int and value < 0):
            log.warning("%s: %s=%r is not a setting or not of the right type; ignored", path, name, value)
            continue
        result = replace(result, **{name: value})
    return result


def agent_off(environ: Mapping[str, str] = os.environ) -> bool:
    """`HELIOGRAPH_AGENT=off` (or 0, no, false) forbids agents."""
    return environ.get("HELIOGRAPH_AGENT", "").strip().lower() in {"off", "0", "no", "false"}


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The state folder of this user. Not TMPDIR: tasks have their own, and one agent must see all journals."""
    named = environ.get("HELIOGRAPH_STATE_DIR")
    if named:
        path = Path(os.path.expanduser(named))
        if path.is_absolute():
            return path
        # Every process and the agent would look at a folder of its own, below wherever each of them stands.
        log.warning("HELIOGRAPH_STATE_DIR=%r is not an absolute path; the default is used", named[:200])
    return default_state_dir(os.getuid())


def default_state_dir(user: int, places: Sequence[str] = PLACES) -> Path:
    """A user's state folder on this node: the first that is there and theirs, else the first that nobody has taken.
    Everybody may make a folder of any name in /tmp, so another user can have been faster."""
    folders = [Path(place) / f"heliograph-{user}" for place in places]
    owners = [_owner(folder) for folder in folders]
    for wanted in (user, None):
        if wanted in owners:
            chosen = owners.index(wanted)
            if chosen:
                _warn_taken(folders[0], folders[chosen])
            return folders[chosen]
    return folders[0]


def _owner(folder: Path) -> int | None:
    """Whose it is, None when it is not there; -1 for what cannot be used."""
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return None
    except OSError:
        return -1
    return found.st_uid if stat.S_ISDIR(found.st_mode) else -1


@lru_cache(maxsize=8)
def _warn_taken(taken: Path, instead: Path) -> None:
    log.warning("%s is not ours; %s is used instead (or what HELIOGRAPH_STATE_DIR names)", taken, instead)


def batch_job(environ: Mapping[str, str] = os.environ) -> str:
    """The id of the batch job that this process is part of, or ''. Job ends kill what they started, agents too."""
    return next((f"{name}={environ[name]}" for name in JOB_VARIABLES if environ.get(name)), "")


def redaction(environ: Mapping[str, str] = os.environ) -> str:
    """`HELIOGRAPH_REDACT`: regular expressions, one a line, of what may not stand in recorded messages."""
    return environ.get("HELIOGRAPH_REDACT", "")


def secret(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The value of a variable, or of the file that `<name>_FILE` names."""
    value = environ.get(name)
    if value:
        return value
    path = environ.get(f"{name}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        log.warning("%s_FILE cannot be read: %s", name, error)
        return None


def bus_setting(environ: Mapping[str, str] = os.environ) -> BusSetting | None:
    """`HELIOGRAPH_BUS`, `HELIOGRAPH_TOKEN`, `HELIOGRAPH_TLS_FINGERPRINT` (or `…_FILE`)."""
    bus = secret("HELIOGRAPH_BUS", environ)
    if not bus:
        return None
    return BusSetting(
        bus=bus,
        token=secret("HELIOGRAPH_TOKEN", environ),
        tls_fingerprint=secret("HELIOGRAPH_TLS_FINGERPRINT", environ),
    )


def join_token(environ: Mapping[str, str] = os.environ) -> str | None:
    """The token that a hub wants before it hands out a run's own token."""
    return secret("HELIOGRAPH_JOIN_TOKEN", environ) or secret("HELIOGRAPH_TOKEN", environ)


def parsl_official_route(environ: Mapping[str, str] = os.environ) -> bool:
    """`HELIOGRAPH_PARSL_ROUTE=official` takes Parsl's own wrapper around tasks instead of ours."""
    return environ.get("HELIOGRAPH_PARSL_ROUTE", "").strip().lower() == "official"


_SMTP_PORTS = {"none": 25, "starttls": 587, "ssl": 465}


def smtp(environ: Mapping[str, str] = os.environ) -> Smtp:
    """`HELIOGRAPH_SMTP_HOST`, `…_PORT`, `…_TLS` (none, starttls, ssl), `…_USER`, `…_PASSWORD` (or `…_PASSWORD_FILE`),
    `…_SENDER`. Each may also be the name of a file: `…_FILE`. Without any of them: localhost, port 25."""
    found = {name: secret(f"HELIOGRAPH_SMTP_{name}", environ) or "" for name in ("HOST", "PORT", "TLS", "USER")}
    tls = found["TLS"].strip().lower() or "none"
    if tls not in _SMTP_PORTS:
        # Not 'none': whoever wrote something here wanted it to be secure.
        log.warning("HELIOGRAPH_SMTP_TLS=%r is none of none, starttls, ssl; starttls is used", found["TLS"][:50])
        tls = "starttls"
    port = _SMTP_PORTS[tls]
    if found["PORT"]:
        if found["PORT"].isdecimal() and 0 < int(found["PORT"][:9]) < 65536:
            port = int(found["PORT"])
        else:
            log.warning("HELIOGRAPH_SMTP_PORT=%r is not a port; %d is used", found["PORT"][:50], port)
    return Smtp(
        host=found["HOST"].strip() or "localhost",
        port=port,
        tls=tls,
        user=found["USER"],
        password=secret("HELIOGRAPH_SMTP_PASSWORD", environ) or "",
        sender=(secret("HELIOGRAPH_SMTP_SENDER", environ) or "").strip(),
    )
