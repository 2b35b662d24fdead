"""Batches of one commit are folded in groups: what a record comes with changes nothing, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from heliograph.messages import NodeSample, TaskSample, TaskState, encode
from heliograph_store import schema
from heliograph_store.migrate import migrate
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import START, batch, raw_batch

TRY: dict[str, Any] = {"origin": "parsl", "number": 3, "try_": 0}


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def sample(at: int, host: str, status: str | None) -> TaskSample:
    return TaskSample(**TRY, at=START + at, host=host, pid=7, status=status, interval=10.0)


def told(store: Store) -> list[tuple[int, str, str | None]]:
    """Time, host and status of all samples of tasks."""
    s, h, n = schema.samples.c, schema.hosts.c, schema.names.c
    found = (
        select(s.at - START, h.name, n.name)
        .join(schema.hosts, h.id == s.host)
        .outerjoin(schema.names, n.id == s.status)
    )
    with store.connection() as connection:
        return [tuple(row) for row in connection.execute(found.order_by(s.at))]


def test_samples_name_hosts_that_are_known_and_new_ones_in_one_commit(store: Store) -> None:
    writer = Writer(store)
    writer.write([batch([sample(1, "n1", "running")])])
    news = [sample(2, "n1", "sleeping"), sample(3, "n2", "running"), sample(4, "n2", None)]
    writer.write([batch(news), batch([NodeSample(at=START, host="n3"), NodeSample(at=START, host="n2")])])
    assert told(store) == [(1, "n1", "running"), (2, "n1", "sleeping"), (3, "n2", "running"), (4, "n2", None)]
    hosts = select(schema.hosts.c.name).join(schema.node_samples, schema.hosts.c.id == schema.node_samples.c.host)
    with store.connection() as connection:
        assert sorted(connection.execute(hosts).scalars()) == ["n2", "n3"]


def test_a_state_among_samples_meets_what_is_stored_and_what_the_commit_told_before(store: Store) -> None:
    states = [TaskState(**TRY, at=START + i, state=s) for i, s in enumerate(("pending", "launched", "running"))]
    writer = Writer(store)
    writer.write([batch(states[:1])])
    stray = raw_batch([encode(states[2]), encode(sample(1, "n1", "running"))], cls="samples")
    writer.write([stray, batch(states[1:2])])
    with store.connection() as connection:
        (row,) = connection.execute(select(schema.tries)).mappings()
        counted = connection.execute(select(schema.run_states.c.state, schema.run_states.c.tasks)).all()
    assert (row["pending"], row["launched"], row["running"]) == (START, START + 1, START + 2)
    assert [tuple(count) for count in counted] == [(2, 1)]
    assert told(store) == [(1, "n1", "running")]
