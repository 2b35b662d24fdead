"""Upkeep: nothing is deleted unless a policy says so, and a store that is away only puts it off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from heliograph.messages import Batch, Source, TaskSample, encode
from heliograph_store.maintenance import SamplePolicy
from heliograph_store.migrate import migrate
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from heliograph_writer.metrics import WriterMetrics, value
from heliograph_writer.upkeep import LOOK, Upkeep

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
SAMPLES = 300


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Five minutes of a task, sampled every second."""
    url = f"sqlite:///{tmp_path}/heliograph.db"
    migrate(url)
    with closing(connect(url)) as opened:
        records = [
            TaskSample(at=START + i * SECOND, origin="o", number=1, try_=0, host="h", pid=1, rss=i)
            for i in range(SAMPLES)
        ]
        batch = Batch(
            version=1,
            run="r",
            cls="samples",
            agent="a",
            host="h",
            boot="b",
            sources=[Source(journal="j", offsets=list(range(SAMPLES)))],
            records=[msgspec.Raw(encode(record)) for record in records],
        )
        Writer(opened).write([batch])
        yield opened


def count(store: Store) -> int:
    with store.connection() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM samples")) or 0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def upkeep(store: Store, policy: SamplePolicy, clock: Clock, metrics: WriterMetrics) -> Upkeep:
    wall = START / SECOND + 86_400
    return Upkeep(store, policy, metrics, every=3600.0, clock=clock, wall=lambda: wall)


def test_without_a_policy_nothing_is_ever_deleted(store: Store) -> None:
    clock = Clock()
    keep = upkeep(store, SamplePolicy(), clock, WriterMetrics())
    for _ in range(10):
        clock.now += 100_000
        keep()
    assert count(store) == SAMPLES


def test_a_policy_is_applied_once_an_interval(store: Store) -> None:
    clock, metrics = Clock(), WriterMetrics()
    keep = upkeep(store, SamplePolicy(minute_after=3600 * SECOND), clock, metrics)
    keep()
    assert count(store) == SAMPLES, "a writer that just started has batches to write"
    clock.now = LOOK
    keep()
    left = count(store)
    assert 5 <= left <= 6, "one a minute"
    assert value(metrics.thinned) == SAMPLES - left


def test_a_store_that_is_away_puts_it_off(tmp_path: Path) -> None:
    clock = Clock()
    with closing(connect(f"sqlite:///{tmp_path}/none/heliograph.db")) as away:
        keep = upkeep(away, SamplePolicy(minute_after=SECOND), clock, WriterMetrics())
        clock.now = 10_000
        keep()  # tells it in the log, and the writer goes on
