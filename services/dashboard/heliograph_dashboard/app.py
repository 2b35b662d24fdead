"""Puts a dashboard together: pages, shell, store, live updates, routes.

In: a DashboardConfig. Out: a FastAPI app; the composition root serves it.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from dash import Dash
from fastapi import FastAPI

from heliograph_dashboard.access import Guard, security_headers
from heliograph_dashboard.backend import Backend
from heliograph_dashboard.config import DashboardConfig
from heliograph_dashboard.data import Data
from heliograph_dashboard.export import Export
from heliograph_dashboard.health import Health, Meters
from heliograph_dashboard.index import TEMPLATE, Index
from heliograph_dashboard.live import Live, Versions, run_finder
from heliograph_dashboard.login import Login
from heliograph_dashboard.pages import PAGES
from heliograph_dashboard.pipeline import Pipeline
from heliograph_dashboard.sessions import Guesses, Sessions
from heliograph_dashboard.shell import build
from heliograph_dashboard.urls import Urls
from heliograph_store.migrate import check
from heliograph_store.read.pipeline import newest
from heliograph_store.store import Store, connect

ASSETS = Path(__file__).with_name("assets")
COLLECT_AFTER: Final = 100_000
"""More objects than a page's answer is made of."""


def create_app(
    config: DashboardConfig,
    *,
    locate: Callable[[], str] | None = None,
    waiting: Callable[[], int | None] | None = None,
) -> FastAPI:
    """The dashboard as an ASGI app. `locate` says where the database is now, for one whose file moves; `waiting` how
    many batches wait on the bus, None when that does not answer."""
    holder = StoreHolder(locate or (lambda: config.database_url))
    versions = Versions(holder.get, every=config.poll)
    pipeline = Pipeline(waiting, lambda: newest(holder.get()))
    data = Data(holder.get, versions, config, pipeline)
    live = Live(versions, run_finder(holder.get), every=config.poll)
    dash = Dash(
        "heliograph_dashboard",
        backend=Backend,
        assets_folder=str(ASSETS),
        assets_ignore=r"login\.css",  # of a page of its own, which names it itself
        use_pages=False,
        serve_locally=True,
        suppress_callback_exceptions=True,  # most components stand on one page only
        index_string=TEMPLATE,
        title="Heliograph",
        update_title="",
        add_log_handler=False,
        requests_pathname_prefix="/",
        routes_pathname_prefix="/",
    )
    dash.backend.versions = versions
    build(dash, data, Urls(PAGES))
    for page in PAGES:
        page.callbacks(dash, data)
    dash._setup_server()
    app: FastAPI = dash.server
    app.state.live, app.state.versions, app.state.data = live, versions, data

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        collect_seldom()
        polling = asyncio.create_task(live.poll())
        try:
            yield
        finally:
            polling.cancel()
            versions.close()
            holder.close()

    sessions, guesses = Sessions(config), Guesses()
    login = Login(config, sessions, guesses)
    app.router.lifespan_context = lifespan
    health = Health(holder.get, Meters(live=live, versions=versions, data=data, answers=app.state.answers))
    for name in ("healthz", "readyz", "metrics"):
        app.add_api_route(f"/{name}", getattr(health, name), methods=["GET"])
    app.add_api_route("/login", login.show, methods=["GET"])
    app.add_api_route("/login", login.take, methods=["POST"])
    app.add_api_route("/logout", login.leave, methods=["POST"])
    app.add_api_route("/live", live.answer, methods=["GET"])
    app.add_api_websocket_route("/live", live.serve)
    app.add_api_route("/export/{file}", Export(data).serve, methods=["GET"])
    app.add_api_route("/{path:path}", Index(dash).serve, methods=["GET"])
    headers = security_headers(tuple(dash.csp_hashes()), tls=config.tls_certificate is not None)
    app.add_middleware(Guard, config=config, sessions=sessions, guesses=guesses, headers=headers)
    return app


class StoreHolder:
    """The store, opened at the first use and kept as long as it stands there. Raises StoreError while it is away."""

    def __init__(self, locate: Callable[[], str]) -> None:
        self._locate = locate
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._url = ""

    def get(self) -> Store:
        with self._lock:
            gone = self._store is not None and self._store.path is not None and not self._store.path.exists()
            if self._store is None or gone:
                self._open()
            assert self._store is not None  # noqa: S101
            return self._store

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _open(self) -> None:
        store = connect(self._locate(), read_only=True)
        try:
            check(store)
        except BaseException:
            store.close()
            raise
        if self._store is not None:
            self._store.close()
        self._store = store


def collect_seldom() -> None:
    """Keep the collector of garbage out of answers, in the middle of which it would stop the world for 50 ms or more.

    What libraries and pages consist of stays until the end, so it is never gone through; and a page's thousands of
    rows, which go by themselves when it is answered, are fewer than what the collector waits for.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
