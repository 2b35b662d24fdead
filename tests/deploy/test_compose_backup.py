"""Backup and restore of deployments by compose, with the commands of docs/howto/upgrade-backup.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.deploy.host import Workflow, arrived
from tests.deploy.pages import block, run_in_project
from tests.deploy.stack import Stack, free_ports

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(600)]
PAGE = "upgrade-backup.md"


def save(stack: Stack, told: str) -> None:
    """Run the lines for this database of the page's block, which has those for the other one, too."""
    lines = [line for line in block(PAGE, told).splitlines() if ("pg_dump" in line) == ("pg_dump" in told)]
    run_in_project(stack, "\n".join(lines))


def recorded(stack: Stack, name: str, **environment: str) -> Workflow:
    """A workflow from beginning to end, all of which is in the database."""
    workflow = Workflow(stack, name, **environment)
    try:
        workflow.at_work()
        workflow.finish()
        arrived(stack, workflow)
    finally:
        workflow.stop()
    return workflow


def forget(stack: Stack, workflow: Workflow) -> None:
    stack.run_in("hub", "heliograph", "runs", "delete", "--yes", workflow.run)
    assert stack.rows("SELECT COUNT(*) FROM runs") == [[0]]


def test_sqlite_is_saved_and_put_back(stacks: Callable[..., Stack]) -> None:
    stack = stacks()
    stack.up()
    workflow = recorded(stack, "kept")
    save(stack, "writer heliograph backup /var/lib/heliograph/backup.db")
    assert (stack.checkout / "backup.db").read_bytes()[:15] == b"SQLite format 3"
    forget(stack, workflow)
    run_in_project(stack, block(PAGE, "restore /var/lib/heliograph/backup.db --replace"))
    arrived(stack, workflow)
    recorded(stack, "after")


def test_postgresql_is_saved_and_put_back_and_speaks_tls_to_agents(stacks: Callable[..., Stack]) -> None:
    (port,) = free_ports(1)
    stack = stacks("postgres", COMPOSE_FILE="compose.yaml:compose.tls.yaml", AMQPS_PORT=str(port), WRITERS="2")
    stack.up()
    known = {"HELIOGRAPH_TLS_FINGERPRINT": stack.secret("tls-fingerprint")}
    workflow = recorded(stack, "kept", **known)
    assert workflow.route()["bus"].startswith("amqps://agent:")
    save(stack, "docker compose exec -T postgres pg_dump")
    assert (stack.checkout / "heliograph.dump").read_bytes()[:5] == b"PGDMP"
    forget(stack, workflow)
    run_in_project(stack, block(PAGE, "dropdb --force"))
    arrived(stack, workflow)
    recorded(stack, "after", **known)
    assert len([c for c in stack.containers() if "-writer-" in c["Name"]]) == 2, "as .env says, also after `up`"
