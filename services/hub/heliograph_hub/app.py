"""Puts a hub together: routes, guard, publishers, store.

In: a HubConfig. Out: a FastAPI app; its publishers start with the lifespan and end, drained, with it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from heliograph import __version__
from heliograph.bus import Publisher, open_consumer, open_publisher
from heliograph_hub import errors, handshake, health, intake, pages, rest, scrape
from heliograph_hub.bodies import Budget
from heliograph_hub.config import BadConfig, HubConfig
from heliograph_hub.guard import Guard
from heliograph_hub.lag import Lag, Waiting
from heliograph_hub.meters import Meters
from heliograph_hub.parts import Parts, StoreHolder
from heliograph_hub.publishing import PublisherPool
from heliograph_hub.tokens import Signer, secret_from_file
from heliograph_hub.workload import Workload
from heliograph_store.migrate import check
from heliograph_store.read.pipeline import newest
from heliograph_store.store import Store, connect

log = logging.getLogger("heliograph.hub")

DESCRIPTION = """Read-only access to what Heliograph recorded, and the front door for its agents.

Times are RFC 3339 in UTC, durations microseconds, sizes bytes; null is 'unknown'. Lists come in pages: follow `next`
until it is null. Errors have one shape: `{"error": {"status", "what", "where", "what_to_do"}}`."""


def create_app(config: HubConfig) -> FastAPI:
    """The hub as an ASGI app. Raises BadConfig for a signing secret that cannot be used."""
    parts = _parts(config)
    app = FastAPI(
        title="Heliograph hub",
        version=__version__,
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's own pages load scripts from a CDN; ours need no network
        redoc_url=None,
        responses=errors.ERROR_RESPONSES,
    )
    app.state.parts = parts
    errors.install(app)
    for module in (pages, rest, handshake, intake, health, scrape):
        app.include_router(module.router)
    app.add_middleware(Guard, config=config, meters=parts.meters)
    return app


def _parts(config: HubConfig) -> Parts:
    name = f"hub-{socket.gethostname()}-{os.getpid()}"

    def open_one(number: int) -> Publisher:
        return open_publisher(config.bus_url, name=f"{name}-{number}")

    pool = PublisherPool(open_one, threads=config.publishers, length=config.queue_length)
    budget = Budget(config.max_in_flight)
    meters = Meters()
    meters.watch(waiting=lambda: pool.waiting, held=lambda: budget.used)
    store = StoreHolder(lambda: _open_store(config.database_url))
    waiting = Waiting(lambda: open_consumer(config.bus_url, name=f"{name}-depth"))
    lag = Lag(waiting=waiting, newest=lambda: newest(store.get()))
    return Parts(
        config=config,
        signer=Signer(_secret(config)),
        pool=pool,
        budget=budget,
        store=store,
        meters=meters,
        waiting=waiting,
        lag=lag,
        workload=Workload(
            meters.registry,
            store=store.get,
            lag=lag.micros,
            label_values=config.label_values,
            run_metrics=config.run_metrics,
        ),
    )


def _open_store(url: str) -> Store:
    """A store that has this version's schema. Raises StoreError."""
    store = connect(url, read_only=True)
    try:
        check(store)
    except Exception:
        store.close()
        raise
    return store


def _secret(config: HubConfig) -> str | bytes:
    if config.signing_secret is not None:
        return config.signing_secret
    if config.signing_secret_file is not None:
        try:
            return secret_from_file(config.signing_secret_file)
        except OSError as error:
            raise BadConfig(f"the signing secret cannot be used: {error}") from error
    log.warning("no signing secret is set: agents have to connect again after a restart of this hub")
    return secrets.token_bytes(32)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    parts.pool.start()
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(parts.pool.stop)
        parts.waiting.close()
        parts.store.close()
