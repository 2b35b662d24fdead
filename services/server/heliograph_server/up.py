"""`heliograph up`: every role on this machine, each as a child process of the same command.

In: settings. Out: a process tree; sinks start first and stop last; a child that dies is started again.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

from heliograph_server import looking, storage
from heliograph_server.fronting import config_of
from heliograph_server.given import make_folder, placement_of, settings_of
from heliograph_server.http import listen
from heliograph_server.settings import PREFIX, Settings
from heliograph_server.watching import check as check_watch_file
from heliograph_writer.pipeline import backoff
from heliograph_writer.stop import Stop

log = logging.getLogger("heliograph.up")
POLL = 0.5
DRAIN = 20.0
"""Seconds that a role gets to finish after SIGTERM."""
STEADY = 60.0
"""A role that lived this long starts again without delay."""
BAD_SETUP = 2


@dataclass
class Role:
    """A child process, and what its restarts were."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    failures: int = 0
    not_before: float = 0.0
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    listener: socket.socket | None = None
    """A socket that is handed down: its port is known before the role is, and stays over its restarts."""

    def start(self) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            pass_fds=() if self.listener is None else (self.listener.fileno(),),
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads in this process
        )
        log.info("%s started (pid %d)", self.name, self.process.pid)

    def look_after(self) -> int | None:
        """Start it again when it ended; its exit status when that would be of no use."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.not_before:
                self.start()
            return None
        status = self.process.poll()
        if status is None:
            return None
        if status == BAD_SETUP:
            return status
        self.failures = 0 if now - self.began > STEADY else self.failures + 1
        delay = backoff(self.failures, first=0.5, last=15.0) if self.failures else 0.0
        log.error("%s ended with status %s; it starts again in %.1f s", self.name, status, delay)
        self.process, self.not_before = None, now + delay
        return None

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DRAIN)
        except subprocess.TimeoutExpired:
            log.error(  # noqa: TRY400 - the traceback would say nothing
                "%s did not finish within %.0f s and is killed",
                self.name,
                DRAIN,
            )
            self.process.kill()
            self.process.wait()


def up(args: argparse.Namespace) -> int:
    settings = with_defaults(settings_of(args))
    assert settings.database is not None and settings.bus is not None  # noqa: PT018, S101 - defaults are filled in
    make_folder(settings.database)
    config_of(settings)  # says at once what would open a door by accident
    if settings.filewatch_config is not None:
        check_watch_file(settings.filewatch_config)
    looking.config_of(settings)
    _check_port(settings)
    placement = placement_of(settings)
    if placement is None or not placement.apart:
        storage.migrate(settings.database)
    stop = Stop()
    stop.on_signals()
    # The live file is on this node, whoever looks at the database from elsewhere sees what is published.
    readable = placement.live_url if placement else settings.database
    listener = listen(settings.dashboard_host, settings.dashboard_port)
    roles = roles_of(settings, readable=readable, listener=listener)
    status = 0
    try:
        for role in roles:
            role.start()
        log.info("look at %s", looking.address_of(settings, listener))
        log.info("database %s", settings.data.absolute() if "sqlite" in settings.database else "on its server")
        while not status and not stop.wait(POLL):
            status = next((code for role in roles if (code := role.look_after())), 0)
    finally:
        for role in reversed(roles):
            role.stop()
        listener.close()
    return status


def with_defaults(settings: Settings) -> Settings:
    """SQLite and a spool in the data folder, where nothing else is named."""
    data = settings.data.absolute()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = settings.database or f"sqlite:///{data / 'heliograph.db'}"
    bus = settings.bus or f"spool:{data / 'spool'}"
    # Whoever asks for any free port wants nothing on a fixed one.
    free = {
        name: 0
        for name in ("health_port", "filewatch_port", "dashboard_port")
        if settings.hub_port == 0 and name not in settings.model_fields_set
    }
    return settings.model_copy(update={"data": data, "database": database, "bus": bus, **free})


def roles_of(settings: Settings, *, readable: str, listener: socket.socket) -> list[Role]:
    """Sinks first: the writer before whoever brings it work. `readable` is the database as readers here open it;
    `listener` is the dashboard's."""
    base = [sys.executable, "-m", "heliograph_server"]
    writer = [*base, "writer"]
    hub = [*base, "hub", "--host", settings.hub_host, "--port", str(settings.hub_port)]
    hub += ["--address-file", str(settings.data / "address.json")]
    hub += ["--dashboard-url", looking.address_of(settings, listener)]
    dashboard = [*base, "dashboard", "--listener", str(listener.fileno())]
    environment = environment_for(settings)
    health = {f"{PREFIX}HEALTH_PORT": str(settings.health_port)}
    reads = {**environment, f"{PREFIX}DATABASE": readable}
    roles = [
        Role(name="writer", command=writer, environment={**environment, **health}),
        Role(name="dashboard", command=dashboard, environment=reads, listener=listener),
        Role(name="hub", command=hub, environment=reads),
    ]
    if settings.filewatch_config is not None:
        own_health = {f"{PREFIX}HEALTH_PORT": str(settings.filewatch_port)}
        roles.append(Role(name="filewatch", command=[*base, "filewatch"], environment={**reads, **own_health}))
    return roles


def environment_for(settings: Settings) -> dict[str, str]:
    """The children's environment: URLs can hold passwords, and command lines can be read by everybody."""
    environment = dict(os.environ)
    for name in ("database", "bus"):
        environment.pop(f"{PREFIX}{name.upper()}_FILE", None)
        environment[f"{PREFIX}{name.upper()}"] = str(getattr(settings, name))
    environment[f"{PREFIX}DATA"] = str(settings.data)
    for name in ("mounts", "filewatch_config"):
        if getattr(settings, name) is not None:
            environment[f"{PREFIX}{name.upper()}"] = str(getattr(settings, name))
    return environment


def _check_port(settings: Settings) -> None:
    """Say at once, in one line, when the hub's port is taken, instead of restarting a child for ever."""
    for host, port in ((settings.hub_host, settings.hub_port), (settings.health_host, settings.health_port)):
        if port:
            listen(host, port).close()


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to end a child whose parent was killed: nobody would look after it."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
