"""Puts a dashboard together: pages, shell, store, routes.

In: a DashboardConfig. Out: a FastAPI app; `serve` in the composition root runs it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dash import Dash
from fastapi import FastAPI, Request, Response

from heliograph_dashboard.backend import Backend, reset_current_request, set_current_request
from heliograph_dashboard.config import DashboardConfig
from heliograph_dashboard.data import Data, Versions
from heliograph_dashboard.pages import PAGES
from heliograph_dashboard.shell import build
from heliograph_dashboard.urls import Urls
from heliograph_store.migrate import check
from heliograph_store.store import Store, connect

ASSETS = Path(__file__).with_name("assets")


def create_app(config: DashboardConfig, *, locate: Callable[[], str] | None = None) -> FastAPI:
    """The dashboard as an ASGI app. `locate` says where the database is now, for one whose file moves."""
    holder = StoreHolder(locate or (lambda: config.database_url))
    data = Data(holder.get, Versions(of=lambda _run: int(time.monotonic())), config)
    urls = Urls(PAGES)
    dash = Dash(
        "heliograph_dashboard",
        backend=Backend,
        assets_folder=str(ASSETS),
        use_pages=False,
        serve_locally=True,
        suppress_callback_exceptions=True,  # most components stand on one page only
        title="Heliograph",
        update_title="",
        add_log_handler=False,
        requests_pathname_prefix="/",
        routes_pathname_prefix="/",
    )
    build(dash, data, urls)
    for page in PAGES:
        page.callbacks(dash, data)
    dash._setup_server()
    app: FastAPI = dash.server

    async def index(request: Request) -> Response:
        return Response(_index(dash, request), media_type="text/html")

    app.add_api_route("/{path:path}", index, methods=["GET"], include_in_schema=False)
    return app


def _index(dash: Dash, request: Request) -> Any:
    token = set_current_request(request)
    try:
        return dash.index()
    finally:
        reset_current_request(token)


class StoreHolder:
    """The store, opened at the first use and kept. Raises StoreError while it cannot be used."""

    def __init__(self, locate: Callable[[], str]) -> None:
        self._locate = locate
        self._lock = threading.Lock()
        self._store: Store | None = None

    def get(self) -> Store:
        with self._lock:
            if self._store is None:
                store = connect(self._locate(), read_only=True)
                try:
                    check(store)
                except BaseException:
                    store.close()
                    raise
                self._store = store
            return self._store

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None
