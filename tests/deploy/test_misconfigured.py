"""What cannot work says so in one line at the start, and is not started again and again."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.deploy.stack import Stack, docker, free_ports

pytestmark = [pytest.mark.compose, pytest.mark.slow]
DATABASE = "HELIOGRAPH_DATABASE=sqlite:////var/lib/heliograph/heliograph.db"
BUS = "HELIOGRAPH_BUS=spool:/var/lib/heliograph/spool"
ROLES = ("migrate", "writer", "hub", "dashboard", "filewatch")
NEWER = (
    "import sqlite3; c = sqlite3.connect('/var/lib/heliograph/heliograph.db'); "
    "c.execute(\"UPDATE alembic_version SET version_num = '9999'\"); c.commit()"
)


@pytest.fixture
def volume() -> Iterator[str]:
    name = docker("volume", "create").strip()
    yield name
    docker("volume", "rm", name)


def run(image: str, volume: str, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A role as compose starts it, without a restart policy. `options` go to `docker run`."""
    command = ["docker", "run", "--rm", "--read-only", "--cap-drop", "ALL", "--tmpfs", "/tmp", "-v"]
    command += [f"{volume}:/var/lib/heliograph", *options, image, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def env(*values: str) -> tuple[str, ...]:
    return tuple(word for value in values for word in ("-e", value))


def refused(ran: subprocess.CompletedProcess[str], *told: str) -> None:
    """Exit status 2 and one line on stderr, beside log lines, that says what is wrong."""
    assert ran.returncode == 2, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if line.startswith("heliograph: ")]
    assert len(lines) == 1, ran.stderr
    assert all(text in lines[0] for text in told), lines[0]
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("role", ROLES)
def test_a_secret_that_is_missing(image: str, volume: str, role: str) -> None:
    settings = env("HELIOGRAPH_DATABASE_FILE=/secrets/database", BUS)
    refused(run(image, volume, role, options=settings), "HELIOGRAPH_DATABASE_FILE names /secrets/database")


def test_tokens_that_are_missing(image: str, volume: str) -> None:
    settings = env(DATABASE, BUS, "HELIOGRAPH_HUB_HOST=0.0.0.0")
    for role in ("migrate", "hub"):
        refused(run(image, volume, role, options=settings), "join_token and read_token")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((BUS, "HELIOGRAPH_DATABASE=mysql://user:hunter2@host/db"), "sqlite:///"),
        ((DATABASE, "HELIOGRAPH_BUS=kafka://user:hunter2@host"), "amqp://"),
        ((DATABASE, "HELIOGRAPH_BUS=amqp://user:hunter2@host:port/x"), "port"),
    ],
)
def test_a_wrong_url(image: str, volume: str, settings: tuple[str, ...], told: str) -> None:
    for role in ("migrate", "writer"):
        ran = run(image, volume, role, options=env(*settings))
        refused(ran, told)
        assert "hunter2" not in ran.stderr


def test_a_database_of_a_newer_version(image: str, volume: str) -> None:
    assert run(image, volume, "migrate", options=env(DATABASE)).returncode == 0
    docker("run", "--rm", "-v", f"{volume}:/var/lib/heliograph", "--entrypoint", "python", image, "-c", NEWER)
    for role in ROLES:
        refused(run(image, volume, role, options=env(DATABASE, BUS)), "newer Heliograph", "9999")


def test_a_port_in_use(image: str, volume: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        health = "HELIOGRAPH_HEALTH_PORT"
        settings = {"hub": "HELIOGRAPH_HUB_PORT", "dashboard": "HELIOGRAPH_DASHBOARD_PORT"}
        for role, setting in (settings | {"writer": health, "filewatch": health}).items():
            options = (*env(DATABASE, BUS, f"{setting}={port}"), "--network", "host")
            refused(run(image, volume, role, options=options), f"port {port} on 127.0.0.1 is in use")


def test_a_volume_that_cannot_be_written(image: str, volume: str) -> None:
    # Something in it, or Docker would give the empty volume the owner that the folder has in the image.
    docker("run", "--rm", "-u", "0", "-v", f"{volume}:/v", "--entrypoint", "touch", image, "/v/of-somebody-else")
    for role in ("migrate", "writer", "filewatch"):
        refused(run(image, volume, role, options=env(DATABASE, BUS)), "/var/lib/heliograph")


def failed_to_start(stack: Stack) -> subprocess.CompletedProcess[str]:
    """`up --wait` fails, and nothing goes round in circles."""
    ran = stack.attempt("up", "-d", "--wait")
    assert ran.returncode != 0
    for container in stack.containers():
        assert container["RestartCount"] == 0, container["Name"]
        assert not container["State"]["Restarting"], container["Name"]
    return ran


def test_compose_with_a_wrong_setting_starts_no_role(stacks: Callable[..., Stack]) -> None:
    stack = stacks(HELIOGRAPH_DATABASE="mysql://user:hunter2@host/db")
    assert "migrate" in failed_to_start(stack).stderr
    logs = stack.compose("logs", "--no-log-prefix", "migrate")
    assert [line for line in logs.splitlines() if line.startswith("heliograph: ")]
    assert "hunter2" not in logs
    states = {c["Config"]["Labels"]["com.docker.compose.service"]: c["State"]["Status"] for c in stack.containers()}
    assert {states[role] for role in ("hub", "writer", "dashboard", "filewatch")} == {"created"}
    # Mended, it starts.
    stack.change(HELIOGRAPH_DATABASE="sqlite:////var/lib/heliograph/heliograph.db")
    stack.up()


def test_compose_with_a_port_in_use(stacks: Callable[..., Stack]) -> None:
    (port,) = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        ran = failed_to_start(stacks(HUB_PORT=str(port)))
    assert str(port) in ran.stderr
    assert "in use" in ran.stderr or "allocated" in ran.stderr
