"""All of it at once, as a larger group runs it: PostgreSQL, three writers, two dashboards, Prometheus."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from collections.abc import Callable

import pytest

from tests.deploy.browser import look
from tests.deploy.host import Workflow, arrived
from tests.deploy.pages import run_in_project
from tests.deploy.stack import ROOT, Stack, free_ports, wait_for

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(900)]
COPIES = ("--scale", "writer=3", "--scale", "dashboard=2")


def test_it_records_shows_is_scraped_and_keeps_everything(stacks: Callable[..., Stack]) -> None:
    stack = stacks("postgres", "observability", DASHBOARD_PORTS=two_ports())
    stack.up(*COPIES)
    first = recorded(stack, "first")
    seen = look(stack, first)
    assert seen["Tasks"] == len(first.ledger())
    assert seen["Failed"] == len([each for each in first.ledger() if each["state"] == "failed"])
    wanted = {"heliograph-writer": 3, "heliograph-dashboard": 2}
    jobs = ("heliograph-hub", "heliograph-filewatch", "rabbitmq", "rabbitmq-queues", "prometheus")
    wait_for(lambda: scraped(stack) == wanted | dict.fromkeys(jobs, 1), 60, lambda: f"up: {scraped(stack)}")

    admin = documented(stack, "compose.md", "/secrets/rabbitmq/admin-password").strip()
    status, body = stack.get("RABBITMQ_MANAGEMENT_PORT", "/api/whoami", token=admin, user="admin")
    assert (status, json.loads(body)["name"]) == (200, "admin")

    secrets = [stack.secret(name) for name in ("join-token", "database", "dashboard-password")]
    counted = stack.rows("SELECT COUNT(*) FROM tasks")
    stack.down()
    assert stack.containers() == []
    stack.up(*COPIES)
    assert [stack.secret(name) for name in ("join-token", "database", "dashboard-password")] == secrets
    assert stack.rows("SELECT COUNT(*) FROM tasks") == counted
    assert counted[0][0] == len(first.ledger())
    recorded(stack, "second")
    arrived(stack, first)


def documented(stack: Stack, page: str, told: str) -> str:
    """Run the command that stands in a line of a page and holds this."""
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    (command,) = (part for part in re.findall(r"`(docker compose [^`]+)`", text) if told in part)
    return run_in_project(stack, command)


def two_ports() -> str:
    """A range of two that are free."""
    while True:
        (first,) = free_ports(1)
        with socket.socket() as next_one:
            if next_one.connect_ex(("127.0.0.1", first + 1)) != 0:
                return f"{first}-{first + 1}"


def recorded(stack: Stack, name: str) -> Workflow:
    workflow = Workflow(stack, name)
    try:
        workflow.at_work(120)
        workflow.finish()
        arrived(stack, workflow)
    finally:
        workflow.stop()
    return workflow


def scraped(stack: Stack) -> dict[str, int]:
    """How many targets of each job are up."""
    targets = stack.prometheus("targets")["activeTargets"]
    return dict(Counter(each["labels"]["job"] for each in targets if each["health"] == "up"))
