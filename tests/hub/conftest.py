"""A hub as agents meet it: a real database, a real bus, a real server on a free port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from msgspec import Raw

from heliograph.bus import open_consumer
from heliograph.messages import SCHEMA_VERSION, Batch, Class, RunHeartbeat, Source, encode
from heliograph_hub.app import create_app
from heliograph_hub.config import HubConfig
from heliograph_store.migrate import migrate

JOIN, READ = "join-token-0123456789", "read-token-0123456789"
LOCKED = {"join_token": JOIN, "read_token": READ}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def batch(run: str, number: int = 0, *, cls: Class = Class.CONTROL, records: int = 1) -> bytes:
    """An encoded batch; `number` tells batches apart."""
    return encode(
        Batch(
            version=SCHEMA_VERSION,
            run=run,
            cls=cls.value,
            agent="agent-1",
            host="node-1",
            boot="boot-1",
            sources=[Source(f"journal-{number}", list(range(records)))],
            records=[Raw(encode(RunHeartbeat(at=number)))] * records,
        )
    )


def drain(url: str) -> list[bytes]:
    """Everything that waits on this bus."""
    consumer = open_consumer(url, name="test")
    try:
        bodies: list[bytes] = []
        while deliveries := consumer.receive(100, 0.3):
            bodies += [delivery.body for delivery in deliveries]
            consumer.ack(deliveries)
        return bodies
    finally:
        consumer.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("empty") / "heliograph.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def config(tmp_path: Path, empty_database: Path) -> HubConfig:
    """An open loopback hub on a spool and an empty database of its own."""
    path = tmp_path / "heliograph.db"
    path.write_bytes(empty_database.read_bytes())
    return HubConfig(
        bus_url=f"spool:{tmp_path}/spool", database_url=f"sqlite:///{path}", signing_secret="s" * 32, port=0
    )


Serving = Callable[..., TestClient]


@pytest.fixture
def serving(config: HubConfig) -> Iterator[Serving]:
    """`serving(setting=value, …)` → a client in this process of a hub with these settings changed."""
    clients: list[TestClient] = []

    def serve(**settings: Any) -> TestClient:
        client = TestClient(
            create_app(replace(config, **settings)), base_url="http://127.0.0.1", raise_server_exceptions=False
        )
        client.__enter__()
        clients.append(client)
        return client

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


@contextmanager
def server(config: HubConfig) -> Iterator[httpx.Client]:
    """A hub under uvicorn on a free port, and a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    web = uvicorn.Server(uvicorn.Config(create_app(config), log_level="warning", lifespan="on"))
    thread = threading.Thread(target=web.run, args=([listener],), daemon=True)
    thread.start()
    ends = time.monotonic() + 20
    while not web.started and time.monotonic() < ends:
        time.sleep(0.01)
    try:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield client
    finally:
        web.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the hub did not stop"
        listener.close()
