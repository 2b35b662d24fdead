"""The writer as a role of its own.

In: settings. Out: a writer that runs until SIGTERM, with metrics and health on a loopback port.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from heliograph.bus import hidden, open_consumer
from heliograph_server import storage
from heliograph_server.given import checked_bus, make_folder, needed, placement_of
from heliograph_server.health import HealthServer
from heliograph_server.lock import WriterLock
from heliograph_server.placement import SCHEME, sqlite_path
from heliograph_server.settings import Settings
from heliograph_store.maintenance import SamplePolicy
from heliograph_writer.config import WriterConfig
from heliograph_writer.loop import WriterLoop
from heliograph_writer.metrics import WriterMetrics, value
from heliograph_writer.stop import Stop
from heliograph_writer.upkeep import Upkeep

log = logging.getLogger("heliograph.writer")
STAND_BY = 1.0
DAY = 86_400_000_000


def config_of(settings: Settings) -> WriterConfig:
    return WriterConfig(
        name=f"writer-{socket.gethostname()}-{os.getpid()}",
        linger=settings.linger,
        max_batches=settings.write_batches,
        prefetch=max(settings.prefetch, settings.write_batches),
    )


def policy_of(settings: Settings) -> SamplePolicy:
    """Nothing is thinned unless the settings say so."""

    def age(days: float | None) -> int | None:
        return None if days is None else int(days * DAY)

    return SamplePolicy(minute_after=age(settings.raw_samples_for), summary_after=age(settings.minute_samples_for))


def run(settings: Settings) -> int:
    """Write until stopped. A SQLite database has one writer: others stand by until its lock is free."""
    database = needed(settings, "database")
    checked_bus(settings)
    config = config_of(settings)
    metrics = WriterMetrics()
    stop = Stop()
    stop.on_signals()
    health = HealthServer(
        host=settings.health_host,
        port=settings.health_port,
        registry=metrics.registry,
        ready=lambda: {"store": bool(value(metrics.store_up)), "bus": bool(value(metrics.bus_up))},
    )
    health.start()
    log.info("metrics and health on %s", health.url)
    try:
        with _alone(database, stop) as alone:
            if alone:
                if database.startswith(SCHEME):
                    metrics.watch_disk(sqlite_path(database).parent)
                _write(settings, config, metrics, stop)
    finally:
        health.stop()
    return 0


@contextmanager
def _alone(database: str, stop: Stop) -> Iterator[bool]:
    """With the writer lock of a SQLite file; False when a stop was asked for before it came free."""
    if not database.startswith(SCHEME):
        yield True
        return
    make_folder(database)
    lock = WriterLock(sqlite_path(database))
    try:
        held = lock.acquire()
        if not held:
            log.warning("standing by: %s is written by %s", database, lock.holder())
        while not held and not stop.wait(STAND_BY):
            held = lock.acquire()
        if held:
            lock.tell({"pid": os.getpid(), "host": socket.gethostname()})
        yield held
    finally:
        lock.release()


def _write(settings: Settings, config: WriterConfig, metrics: WriterMetrics, stop: Stop) -> None:
    database, bus = needed(settings, "database"), needed(settings, "bus")
    placement = placement_of(settings)
    if placement is not None and placement.apart:
        placement.fetch()
        database = placement.live_url
        storage.migrate(database)
    storage.wait_until_usable(database, stop, metrics)
    if stop.asked:
        return
    # A broker hands out no more than `prefetch` before it gets acknowledgements; a spool has no such limit.
    most = None if bus.startswith("spool:") else config.prefetch // 2
    with storage.opened(database) as writer:
        log.info("writing from %s", hidden(bus))
        WriterLoop(
            config=config,
            open_consumer=lambda: open_consumer(bus, name=config.name, prefetch=config.prefetch),
            writer=writer,
            metrics=metrics,
            stop=stop,
            settler=placement.settler(most=most) if placement else None,
            upkeep=Upkeep(writer.store, policy_of(settings), metrics, every=config.retention_every),
        ).run()
    if placement is not None:
        placement.leave()
    log.info("stopped")
