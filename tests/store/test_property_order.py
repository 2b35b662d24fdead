"""The promise of the store: the same rows whatever the order, repetition, split into batches and number of writers.

In: recorded runs with retries, joins, memoization, dependencies, failures, bad records, two origins. Out: tables that
equal those of a run written in order by one writer, and rollups that equal a fresh count.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from heliograph.messages import Batch, TaskState, encode
from heliograph_store import schema
from heliograph_store.migrate import migrate
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.fresh import expected_rollups, stored_rollups
from tests.store.stream import (
    START,
    Numbered,
    batches,
    content,
    numbered,
    recorded_run,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Where the stream is written in order by one writer."""
    url = f"sqlite:///{tmp_path_factory.mktemp('reference') / 'reference.db'}"
    migrate(url)
    store = connect(url)
    yield store
    store.close()


@pytest.fixture
def target(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    store = connect(database_url)
    yield store
    store.close()


def emptied(store: Store) -> Store:
    with store.transaction() as connection:
        for table in schema.metadata.sorted_tables:
            if table is not schema.meta:
                connection.execute(table.delete())
    return store


def a_stream(seed: int, tasks: int) -> list[Numbered]:
    random = Random(seed)
    records = recorded_run(random, tasks=tasks) + recorded_run(random, tasks=tasks // 2, run="run-2")
    stream = numbered(records)
    bad = [
        encode(TaskState(at=START, origin="parsl", number=1, try_=0, state="unheard of")),
        msgspec.msgpack.encode(["task.teleported", START, 0]),
        msgspec.msgpack.encode(["task.state", "no time"]),
    ]
    return stream + [(10**6 + i, "run-1", raw, "states") for i, raw in enumerate(bad)]


def write_at_once(store: Store, shares: Sequence[Sequence[Batch]], per_write: int) -> None:
    """Each share by a writer and thread of its own."""
    failures: list[BaseException] = []

    def work(share: Sequence[Batch]) -> None:
        try:
            writer = Writer(store)
            for at in range(0, len(share), per_write):
                writer.write(share[at : at + per_write])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a failure of two threads does not shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    tasks=st.integers(1, 40),
    repeats=st.floats(0, 1),
    size=st.integers(1, 60),
    per_write=st.integers(1, 5),
)
def test_order_repetition_and_concurrent_writers_change_nothing(  # noqa: PLR0917
    reference: Store, target: Store, seed: int, tasks: int, repeats: float, size: int, per_write: int
) -> None:
    stream = a_stream(seed, tasks)
    Writer(emptied(reference)).write(batches(stream, 10**6))

    random = Random(seed + 1)
    shuffled = stream + [record for record in stream if random.random() < repeats]
    random.shuffle(shuffled)
    cut = random.randrange(len(shuffled))
    write_at_once(emptied(target), [batches(part, size) for part in (shuffled[:cut], shuffled[cut:])], per_write)

    expected, found = content(reference), content(target)
    for table, rows in expected.items():
        assert found[table] == rows, table
    assert stored_rollups(target) == expected_rollups(target)


def test_rollups_are_right_after_every_single_write(target: Store) -> None:
    stream = a_stream(7, 12)
    Random(3).shuffle(stream)
    writer = Writer(target)
    for batch in batches(stream, 20):
        writer.write([batch])
        assert stored_rollups(target) == expected_rollups(target)


def test_the_stream_holds_what_it_is_there_to_test(reference: Store, tmp_path: Path) -> None:
    """Otherwise the property above would hold for lack of cases."""
    Writer(emptied(reference)).write(batches(a_stream(1, 60), 500))
    rows = content(reference)
    assert all(
        rows[table.name] for table in schema.metadata.sorted_tables if table.name in rows if table.name != "run_tags"
    )
    states = {state for _, _, state, _ in rows["run_states"]}
    assert {0, 6, 7, 8, 9} & states >= {6, 7, 8, 9}
    assert any(row[2] > 0 for row in rows["tries"]), "retries"
    assert any(row[2] >= 0 for row in rows["edges"]), "joins"
    assert len(rows["aside"]) == 3
