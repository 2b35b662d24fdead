"""PostgreSQL and three writers, and everything that can go away goes away while a workflow runs: it never notices, and
every record arrives once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.deploy.host import Workflow, arrived
from tests.deploy.pages import block, run_in_project
from tests.deploy.stack import Stack, docker, docker_json, wait_for

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(900)]
WRITERS = 3
CUT_OFF, ALARMED = 30.0, 15.0
"""Seconds."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def stack(request: pytest.FixtureRequest, stacks: Callable[..., Stack]) -> Iterator[Stack]:
    if request.param == "sqlite":
        made = stacks()
        made.up()
    else:
        made = stacks("postgres")
        made.up("--scale", f"writer={WRITERS}")
    yield made
    made.remove()


@pytest.fixture
def workflow(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Workflow]:
    made = Workflow(stack, request.node.originalname)
    try:
        made.at_work()
        yield made
    finally:
        made.stop()


def all_healthy(stack: Stack) -> None:
    def unwell() -> list[str]:
        states = {c["Name"]: c["State"].get("Health", {}).get("Status") for c in stack.containers()}
        return [name for name, status in states.items() if status not in {"healthy", None}]

    wait_for(lambda: not unwell(), 240, lambda: f"not healthy: {unwell()}")


def greets(port: int) -> bool:
    """Whether a broker answers the protocol's header at a published port."""
    try:
        with socket.create_connection(("127.0.0.1", port), 3) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(connection.recv(1))
    except OSError:
        return False


def writers(stack: Stack) -> list[str]:
    return [c["Name"] for c in stack.containers() if "-writer-" in c["Name"]]


def test_every_writer_writes(stack: Stack, workflow: Workflow) -> None:
    workflow.at_work(400)
    workflow.finish()
    arrived(stack, workflow)
    scheme = stack.python_in("hub", "from heliograph_server.settings import load; print(load().database.split(':')[0])")
    assert len(writers(stack)) == (WRITERS if scheme.strip() == "postgresql" else 1)
    code = (
        "import re, urllib.request as u; text = u.urlopen('http://127.0.0.1:55056/metrics').read().decode(); "
        "print(re.search(r'^heliograph_writer_batches_total (.*)$', text, re.M)[1])"
    )
    counts = [float(stack.python_in("writer", code, index=n + 1)) for n in range(len(writers(stack)))]
    assert all(count > 0 for count in counts), counts


def test_every_service_crashes_in_turn(stack: Stack, workflow: Workflow) -> None:
    for service in ("rabbitmq", "writer", "hub", "dashboard", "filewatch"):
        stack.crash(service)
        workflow.at_work()
    all_healthy(stack)
    workflow.finish()
    arrived(stack, workflow)


def test_services_are_restarted_one_after_the_other(stack: Stack, workflow: Workflow) -> None:
    """By the commands of the page: container by container, and as a new version comes, service by service."""
    stack.change(WRITERS=str(len(writers(stack))))
    before = {c["Name"]: (c["Id"], c["State"]["StartedAt"]) for c in stack.containers()}
    run_in_project(stack, block("upgrade-backup.md", 'docker restart "$container"'))
    restarted = {c["Name"]: (c["Id"], c["State"]["StartedAt"]) for c in stack.containers()}
    assert {name for name in before if before[name][0] != restarted[name][0]} == set()
    assert {name for name in before if before[name][1] != restarted[name][1]} == ours(before)
    workflow.at_work()
    anew = block("upgrade-backup.md", "up -d --no-deps --force-recreate").removeprefix("docker compose build\n")
    run_in_project(stack, anew)
    recreated = {c["Name"]: c["Id"] for c in stack.containers()}
    assert {name for name in before if before[name][0] != recreated[name]} == ours(before)
    workflow.at_work()
    workflow.finish()
    arrived(stack, workflow)


def ours(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.rsplit("-", 2)[1] in {"writer", "hub", "dashboard", "filewatch"}}


def test_rabbitmq_is_cut_off(stack: Stack, workflow: Workflow) -> None:
    network, name = f"{stack.project}_default", stack.inspect("rabbitmq")["Name"].lstrip("/")
    docker("network", "disconnect", network, name)
    end = time.monotonic() + CUT_OFF
    while time.monotonic() < end:
        workflow.at_work()
    assert stack.inspect("rabbitmq")["State"]["Running"]
    assert not greets(int(stack.settings["AMQP_PORT"])), "it was not cut off"
    docker("network", "connect", "--alias", "rabbitmq", network, name)
    all_healthy(stack)
    workflow.at_work()
    workflow.finish()
    arrived(stack, workflow)


def test_rabbitmq_wants_memory(stack: Stack, workflow: Workflow) -> None:
    stack.run_in("rabbitmq", "rabbitmqctl", "-q", "set_vm_memory_high_watermark", "absolute", "1MB")
    end = time.monotonic() + ALARMED
    while time.monotonic() < end:
        workflow.at_work()
    assert "emory alarm" in stack.run_in("rabbitmq", "rabbitmq-diagnostics", "-q", "alarms")
    stack.run_in("rabbitmq", "rabbitmqctl", "-q", "set_vm_memory_high_watermark", "absolute", "512MB")
    workflow.finish()
    arrived(stack, workflow)


def test_the_database_crashes(stack: Stack, workflow: Workflow) -> None:
    """SQLite's is the writer's own process, which another test kills; here all writers go at once."""
    if any("-postgres-" in c["Name"] for c in stack.containers()):
        stack.crash("postgres")
    else:
        stack.crash("writer")
    workflow.at_work()
    all_healthy(stack)
    workflow.finish()
    arrived(stack, workflow)
    assert docker_json("inspect", f"{stack.project}-rabbitmq-1")[0]["State"]["Running"]
