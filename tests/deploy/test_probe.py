"""The probe of the containers: healthy is who answers 200, and nobody else."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from heliograph_server.health import HealthServer
from tests.deploy.stack import free_ports

READY = {"store": True}


@pytest.fixture
def url() -> Iterator[str]:
    """A role's health page, which says what stands in READY."""
    server = HealthServer(host="127.0.0.1", port=0, registry=CollectorRegistry(), ready=lambda: READY)
    server.start()
    yield f"{server.url}/readyz"
    server.stop()
    READY["store"] = True


def probe(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heliograph_server.probe", url]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_tells_ready_from_not_ready(url: str) -> None:
    assert probe(url).returncode == 0
    READY["store"] = False
    ran = probe(url)
    assert ran.returncode == 1
    assert '"store": false' in ran.stdout


def test_connections_that_say_nothing_take_no_threads_and_others_are_answered(url: str) -> None:
    """Anybody on the machine can open them, and a thread and a descriptor for each would be the role's own."""
    host, port = url.removeprefix("http://").partition("/")[0].split(":")
    before = threading.active_count()
    with contextlib.ExitStack() as open_:
        for _ in range(200):
            idle = open_.enter_context(socket.create_connection((host, int(port))))
            idle.sendall(b"GET /readyz")
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
        ends = time.monotonic() + 10
        while threading.active_count() - before > 20 and time.monotonic() < ends:
            time.sleep(0.05)  # those that were closed are ending
        assert threading.active_count() - before <= 20


def test_nobody_there_is_not_healthy() -> None:
    (port,) = free_ports(1)
    ran = probe(f"http://127.0.0.1:{port}/readyz")
    assert ran.returncode == 1
    assert "refused" in ran.stdout
