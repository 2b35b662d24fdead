"""`heliograph embedded`: writer and API beside one workflow, for the length of its run.

In: where the database is, a run and its owner process. Out: rows. Of several on one database the lock's holder writes
for all and the others stand by; each ends by itself when its run is over, nothing waits and nothing new has come.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from heliograph.bus import open_consumer
from heliograph.state import process_alive
from heliograph_server import storage
from heliograph_server.http import HubThread, listen, tell_address, url_of
from heliograph_server.lock import WriterLock
from heliograph_server.placement import Placement, ServerPlacement
from heliograph_store.errors import StoreUnavailable
from heliograph_store.maintenance import SamplePolicy
from heliograph_writer.config import WriterConfig
from heliograph_writer.loop import Tick, WriterLoop
from heliograph_writer.metrics import WriterMetrics
from heliograph_writer.pipeline import backoff
from heliograph_writer.stop import Stop
from heliograph_writer.upkeep import Upkeep

log = logging.getLogger("heliograph.embedded")
QUIET = 5.0
"""Seconds without anything new that end it: longer than what a spool takes to find the claims of a dead consumer."""
AGENTS = 60.0
"""How long agents that have not said that they ended are waited for, after the run is over and its file watches are."""
HOPELESS = 600.0
"""How long a run that is over waits for a database that cannot be written; the spool keeps the rest."""
STAND_BY = 1.0


@dataclass(frozen=True, kw_only=True)
class EmbeddedConfig:
    """`run_dir` is where the address is told; the owner is the process whose end ends the run, by pid and start in
    clock ticks since boot."""

    placement: Placement | ServerPlacement
    run: str
    run_dir: Path
    owner_pid: int
    owner_start: int | None = None
    writer: WriterConfig = field(default_factory=WriterConfig)
    quiet: float = QUIET


class Watch:
    """Whether this run is over: its owner is gone, or the store has its end."""

    def __init__(self, config: EmbeddedConfig) -> None:
        self._config = config
        self._over_since: float | None = None

    def over_for(self) -> float | None:
        """Seconds since this run was first seen to be over, None while it goes on."""
        if self._over_since is None and self._over():
            self._over_since = time.monotonic()
            log.info("the run is over", extra={"run": self._config.run})
        return None if self._over_since is None else time.monotonic() - self._over_since

    def _over(self) -> bool:
        config = self._config
        if not process_alive(config.owner_pid, config.owner_start):
            return True
        return storage.run_ended(config.placement.readable_url, config.run)

    def agents_at_work(self) -> bool:
        """Whether agents of this run may still have something to send."""
        return storage.agents_alive(self._config.placement.readable_url, self._config.run)

    def files_watched(self) -> bool:
        """Whether a file watch of this run is still waiting for its last files to settle."""
        return storage.watches_open(self._config.placement.readable_url, self._config.run)

    def may_leave(self, *, quiet: float, waiting: int | None) -> bool:
        over = self.over_for()
        if over is None or waiting or min(over, quiet) < self._config.quiet:
            return False
        return not self.agents_at_work() or (over > AGENTS and not self.files_watched())


def run(config: EmbeddedConfig) -> int:
    """Until the run is over or SIGTERM comes."""
    stop = Stop()
    stop.on_signals()
    lock = WriterLock(config.placement.published)
    watch = Watch(config)
    sock = listen("127.0.0.1", 0)
    url = url_of(sock)
    hub: HubThread | None = None
    try:
        held = lock.acquire()
        if held:
            _prepare(config, lock, sock, watch, stop)
        # The live file of another host cannot be read here, so the API waits for the take-over.
        if held or not config.placement.apart or lock.holder().get("host") == socket.gethostname():
            hub = _start_hub(config, sock)
        else:
            log.info("another host writes %s; the API starts here when it takes over", config.placement.published)
        if not held:
            held = _stand_by(config, lock, watch, stop)
            if held:
                _prepare(config, lock, sock, watch, stop)
                hub = hub or _start_hub(config, sock)
        if held:
            _write(config, watch, stop, hub)
        return 0
    finally:
        _forget_address(config, url)
        if hub is not None:
            hub.stop()
        else:
            sock.close()
        lock.release()
        stop.close()


def _prepare(config: EmbeddedConfig, lock: WriterLock, sock: socket.socket, watch: Watch, stop: Stop) -> None:
    """Ready to write. A full disk or a server that is away can pass while the run goes on, so both are waited for."""
    lock.tell({"pid": os.getpid(), "host": socket.gethostname(), "run": config.run, "api": url_of(sock)})
    log.info("writing %s", config.placement.shown, extra={"run": config.run})
    attempt = 0
    while True:
        try:
            config.placement.fetch()
            storage.migrate(config.placement.live_url)
            return
        except StoreUnavailable as error:
            if stop.asked or (watch.over_for() or 0.0) > HOPELESS:
                raise
            delay = backoff(attempt, first=1.0, last=15.0)
            log.warning("the database cannot be used yet, next try in %.1f s: %s", delay, error)
            attempt += 1
            stop.wait(delay)


def _start_hub(config: EmbeddedConfig, sock: socket.socket) -> HubThread:
    """The API, for who may read the run's folder: on a login node others reach 127.0.0.1, too."""
    from heliograph_hub.config import HubConfig

    read_token = secrets.token_hex(16)
    hub = HubThread(
        HubConfig(
            bus_url=config.placement.spool_url,
            database_url=config.placement.live_url,
            join_token=secrets.token_hex(16),  # nobody joins here: agents use the spool
            read_token=read_token,
        ),
        sock,
    )
    hub.start()
    _tell_address(config, sock, read_token)
    return hub


def _stand_by(config: EmbeddedConfig, lock: WriterLock, watch: Watch, stop: Stop) -> bool:
    """Wait for the lock. True when it is ours now, False when there is nothing left to stand by for."""
    log.info("standing by: %s is written by %s", config.placement.shown, lock.holder(), extra={"run": config.run})
    consumer = open_consumer(config.placement.spool_url, name="standby")
    last_waiting = time.monotonic()
    try:
        while not stop.wait(STAND_BY):
            if lock.acquire():
                log.warning("taking over %s", config.placement.shown, extra={"run": config.run})
                return True
            waiting = consumer.depth()
            if waiting:
                last_waiting = time.monotonic()
            if watch.may_leave(quiet=time.monotonic() - last_waiting, waiting=waiting):
                return False
        return False
    finally:
        consumer.close()


def _write(config: EmbeddedConfig, watch: Watch, stop: Stop, hub: HubThread | None) -> None:
    placement = config.placement
    metrics = WriterMetrics()
    settler = placement.settler()

    def finished(tick: Tick) -> bool:
        if watch.may_leave(quiet=tick.quiet, waiting=tick.waiting):
            return True
        if metrics.ready or (watch.over_for() or 0.0) < HOPELESS:
            return False
        log.error("%s could not be written for long; the rest stays in %s", placement.shown, placement.spool_url)
        return True

    with storage.opened(placement.live_url) as writer:
        WriterLoop(
            config=config.writer,
            open_consumer=lambda: open_consumer(
                placement.spool_url, name=config.writer.name, prefetch=config.writer.prefetch
            ),
            writer=writer,
            metrics=metrics,
            stop=stop,
            settler=settler,
            upkeep=Upkeep(writer.store, SamplePolicy(), metrics, every=config.writer.retention_every),
            finished=finished,
        ).run()
        if hub is not None:
            hub.stop()  # readers first: whoever closes a SQLite file last tidies its log away, and only a writer can
    storage.make_portable(placement.live_url)
    placement.leave()
    log.info("done", extra={"run": config.run})


def address_file(run_dir: Path) -> Path:
    return run_dir / ".heliograph" / "address.json"


def _tell_address(config: EmbeddedConfig, sock: socket.socket, token: str) -> None:
    path = address_file(config.run_dir)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        tell_address(path, {"api": url_of(sock), "token": token, "pid": os.getpid(), "host": socket.gethostname()})
    except OSError as error:
        log.warning("cannot write %s: %s", path, error)


def _forget_address(config: EmbeddedConfig, url: str) -> None:
    """Remove the address, unless it is somebody else's by now."""
    path = address_file(config.run_dir)
    try:
        if json.loads(path.read_bytes()).get("api") == url:
            path.unlink()
    except (OSError, ValueError):
        pass
