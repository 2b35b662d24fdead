"""Deleting, tagging and thinning runs, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from heliograph.messages import NodeSample, TaskSample
from heliograph_store import schema
from heliograph_store.maintenance import SamplePolicy, Thinned, delete_run, tag_run, thin_samples
from heliograph_store.migrate import migrate
from heliograph_store.schema import IS_LAST, LEVEL_SHIFT, MINUTE, PER_MINUTE, SUMMARY
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import START, batch, batches, content, numbered, recorded_run

T = START // MINUTE * MINUTE
HOUR = 60 * MINUTE
SECOND = 1_000_000


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def test_deleting_a_run_leaves_nothing_of_it_and_all_of_others(store: Store) -> None:
    random = Random(1)
    first, second = (numbered(recorded_run(random, tasks=30, run=run)) for run in ("a", "b"))
    writer = Writer(store)
    writer.write(batches(second, 500))
    before = content(store)
    writer.write(batches(first, 500))
    assert tag_run(store, "a", {"keep": "no"})
    assert delete_run(store, "a")
    assert content(store) == before
    assert not delete_run(store, "a")
    writer.write(batches(first, 500))  # the writer remembers no id of the deleted run
    assert len(content(store)["tasks"]) == 60


def test_ids_of_runs_are_never_used_again(store: Store) -> None:
    writer = Writer(store)
    sample = TaskSample(at=T, origin="o", number=1, try_=0, host="n", pid=1)
    ids = []
    for run in ("a", "b"):
        writer.write([batch([sample], run=run)])
        with store.connection() as connection:
            ids.append(connection.scalar(select(schema.runs.c.id).where(schema.runs.c.run == run)))
        delete_run(store, run)
    assert ids[0] != ids[1]


def test_tags(store: Store) -> None:
    assert not tag_run(store, "a", {"x": "1"})
    Writer(store).write(batches(numbered(recorded_run(Random(1), tasks=1, run="a")), 500))
    tag_run(store, "a", {"x": "1", "y": "2"})
    tag_run(store, "a", {"x": "3", "y": None})
    assert content(store)["run_tags"] == [("a", "x", "3")]


def sampled(store: Store) -> list[dict[str, Any]]:
    with store.connection() as connection:
        order = (schema.samples.c.task, schema.samples.c.at)
        return [dict(row) for row in connection.execute(select(schema.samples).order_by(*order)).mappings()]


def series(number: int, step: int, count: int) -> list[TaskSample]:
    """Memory rises to the middle and falls again; CPU time rises."""
    return [
        TaskSample(at=T + i * step, origin="o", number=number, try_=0, host="n", pid=1, cpu_user=i,
                   rss=min(i, count - i), last=i == count - 1)
        for i in range(count)
    ]  # fmt: skip


def test_thinning_to_one_a_minute_keeps_the_last_and_the_peak(store: Store) -> None:
    nodes = [NodeSample(at=T + i * 10 * SECOND, host="n", cpu_user=i) for i in range(18)]
    writer = Writer(store)
    writer.write([batch(series(1, 10 * SECOND, 18)), batch(series(2, 10 * SECOND, 18)), batch(nodes)])
    policy = SamplePolicy(minute_after=HOUR)
    # Two of the three minutes are old enough.
    assert thin_samples(store, policy, now=T + HOUR + 2 * MINUTE + 1) == Thinned(samples=20, node_samples=10)
    kept = [(s["at"] - T, s["flags"] >> LEVEL_SHIFT, s["cpu_user"], s["peak_rss"]) for s in sampled(store)[:8]]
    assert kept[:2] == [(50 * SECOND, PER_MINUTE, 5, 5), (110 * SECOND, PER_MINUTE, 11, 9)]
    assert kept[2:] == [((120 + 10 * i) * SECOND, 0, 12 + i, None) for i in range(6)]
    assert thin_samples(store, policy, now=T + HOUR + 2 * MINUTE + 1) == Thinned(samples=0, node_samples=0)
    result = writer.write([batch(series(1, 10 * SECOND, 18))])
    assert (result.samples, result.late) == (0, 12)


def test_thinning_to_a_summary_of_each_try(store: Store) -> None:
    Writer(store).write([batch(series(1, MINUTE, 30)), batch(series(2, MINUTE, 10))])
    policy = SamplePolicy(minute_after=MINUTE, summary_after=HOUR)
    thin_samples(store, policy, now=T + HOUR + 20 * MINUTE)
    thin_samples(store, policy, now=T + 2 * HOUR)
    found = [(s["task"], s["at"] - T, s["flags"], s["cpu_user"], s["peak_rss"]) for s in sampled(store)]
    flags = SUMMARY << LEVEL_SHIFT | IS_LAST
    assert found == [(1, 29 * MINUTE, flags, 29, 15), (2, 9 * MINUTE, flags, 9, 5)]


def test_without_a_policy_nothing_is_deleted(store: Store) -> None:
    Writer(store).write([batch(series(1, MINUTE, 30))])
    assert thin_samples(store, SamplePolicy(), now=T + 1000 * HOUR) == Thinned(samples=0, node_samples=0)
    assert len(sampled(store)) == 30
