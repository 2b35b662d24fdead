"""compose.tls.yaml: nothing plain is published, and a workflow with two files gets its records through."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.host import Workflow, arrived
from tests.deploy.stack import Stack, free_ports, wait_for

pytestmark = [pytest.mark.compose, pytest.mark.slow]


def test_a_workflow_publishes_over_tls(stacks: Callable[..., Stack]) -> None:
    (port,) = free_ports(1)
    stack = stacks("observability", COMPOSE_FILE="compose.yaml:compose.tls.yaml", AMQPS_PORT=str(port))
    stack.up()
    ports = stack.inspect("rabbitmq")["NetworkSettings"]["Ports"].values()
    published = {int(each["HostPort"]) for some in ports for each in some or []}
    assert published == {port, int(stack.settings["RABBITMQ_MANAGEMENT_PORT"])}
    fingerprint = stack.folder / "fingerprint"
    fingerprint.write_text(stack.secret("tls-fingerprint"), encoding="ascii")
    workflow = Workflow(stack, "secure", HELIOGRAPH_TLS_FINGERPRINT_FILE=str(fingerprint))
    try:
        workflow.at_work()
        assert workflow.route()["bus"].startswith("amqps://agent:")
        workflow.finish()
        arrived(stack, workflow)
    finally:
        workflow.stop()
    authority = stack.run_in("hub", "cat", "/secrets/ca.pem")
    for reached in (port, int(stack.settings["HUB_PORT"])):
        assert shown(reached, authority)
    wait_for(lambda: scraped(stack) == "up", 60, lambda: f"the hub is {scraped(stack)}")


def shown(port: int, authority: str) -> dict[str, Any]:
    """The certificate that a port shows, checked as a client that knows the authority does it."""
    context = ssl.create_default_context(cadata=authority)
    with (
        socket.create_connection(("127.0.0.1", port), 20) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as secure,
    ):
        return secure.getpeercert() or {}


def scraped(stack: Stack) -> str:
    """What Prometheus says of the hub."""
    targets = stack.prometheus("targets")["activeTargets"]
    return next((str(each["health"]) for each in targets if each["labels"]["job"] == "heliograph-hub"), "unknown")
