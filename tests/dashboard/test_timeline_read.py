"""The tries of a window, on both databases: exactly those that overlap it, however long they ran."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from heliograph.messages import Record, TaskEnded, TaskRunning, TaskState
from heliograph_store.migrate import migrate
from heliograph_store.read import runs, timeline
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import SECOND, START, batches, numbered


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def tries(random: Random, count: int) -> tuple[list[tuple[str, Record]], dict[int, tuple[int, int | None, str]]]:
    """Records of tries whose lengths differ by orders of magnitude, and (began, ended, host) by number."""
    records: list[tuple[str, Record]] = []
    known: dict[int, tuple[int, int | None, str]] = {}
    for number in range(count):
        began = START + random.randrange(1000 * SECOND)
        length = int(10 ** random.uniform(0, 9))
        host = f"n{random.randrange(3)}"
        ended = None if random.random() < 0.1 else began + length
        head = {"origin": "parsl", "number": number}
        where = {"host": host, "pid": 7 + number % 2}
        records.append(("run-1", TaskRunning(at=began, try_=0, worker=str(number % 4), pool="p", **where, **head)))
        if ended is not None:
            records.append(("run-1", TaskEnded(at=ended, try_=0, ok=number % 5 > 0, elapsed=length, **where, **head)))
        known[number] = (began, ended, host)
    return records, known


def run_of(store: Store, records: list[tuple[str, Record]]) -> int:
    Writer(store).write(batches(numbered(records), 500))
    found = runs.find_run(store, "run-1")
    assert found is not None
    return found.id


def test_exactly_the_tries_that_overlap_a_window(store: Store) -> None:
    random = Random(11)
    records, known = tries(random, 300)
    run = run_of(store, records)
    for few in (8000, 0):  # both ways to find those of one host
        for _ in range(6):
            since = START + random.randrange(1000 * SECOND)
            until = since + int(10 ** random.uniform(3, 9))
            for host in (None, "n1"):
                expected = {
                    number
                    for number, (began, ended, at) in known.items()
                    if began < until and (ended is None or ended >= since) and host in (None, at)
                }
                found = timeline.ran(store, run, since=since, until=until, host=host, limit=1000, few=few)
                assert found is not None
                assert {one.number for one in found} == expected
                assert [one.began for one in found] == sorted(one.began for one in found)
                if expected:
                    less = len(expected) - 1
                    assert timeline.ran(store, run, since=since, until=until, host=host, limit=less, few=few) is None
            assert timeline.count_ran(store, run, since=since, until=until, limit=1000) >= len(expected)
    assert timeline.count_ran(store, run, since=START, until=START + 2000 * SECOND, limit=7) == 7


def test_a_try_says_where_it_ran_and_how_it_ended(store: Store) -> None:
    records, known = tries(Random(2), 20)
    run = run_of(store, records)
    for one in timeline.ran(store, run, since=START, until=START + 10**10, limit=100):
        began, ended, host = known[one.number]
        assert (one.began, one.ended, one.host, one.pool, one.worker) == (began, ended, host, "p", str(one.number % 4))
        assert one.failed == (ended is not None and one.number % 5 == 0)
    assert timeline.hosts_of(store, run) == sorted({host for _, _, host in known.values()})


def test_a_lost_workers_try_ends_when_it_was_given_up(store: Store) -> None:
    head = {"origin": "parsl", "number": 1}
    given_up = TaskState(at=START + 9 * SECOND, try_=0, state="failed", **head)
    run = run_of(store, [("run-1", TaskRunning(at=START, try_=0, host="n", pid=1, **head)), ("run-1", given_up)])
    (one,) = timeline.ran(store, run, since=START, until=START + SECOND, limit=10)
    assert (one.ended, one.failed) == (START + 9 * SECOND, True)
