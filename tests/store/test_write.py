"""What single records do to the tables, on both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from string import ascii_letters
from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, select

from heliograph.messages import (
    AgentStatus,
    BadMessage,
    BlockState,
    FileCallback,
    FileFound,
    JournalClosed,
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
    encode,
)
from heliograph_store import schema
from heliograph_store.migrate import migrate
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer, WriteResult
from tests.store.stream import START, batch, raw_batch

HEAD: dict[str, Any] = {"origin": "parsl", "number": 3}


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def write(store: Store, *records: Record, run: str = "r") -> WriteResult:
    return Writer(store).write([batch([record], run=run, offsets=[i]) for i, record in enumerate(records)])


def rows(store: Store, table: Table) -> list[dict[str, Any]]:
    with store.connection() as connection:
        return [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]


def one(store: Store, table: Table) -> dict[str, Any]:
    (row,) = rows(store, table)
    return row


def test_a_try_is_in_its_highest_state_whatever_came_last(store: Store) -> None:
    write(store, TaskState(at=START + 50, try_=0, state="exec_done", **HEAD))
    write(store, TaskState(at=START + 90, try_=0, state="launched", **HEAD))
    write(store, TaskState(at=START + 60, try_=0, state="launched", **HEAD))
    found = one(store, schema.tries)
    assert (found["state"], found["exec_done"], found["launched"]) == (7, START + 50, START + 60)
    assert schema.split_progress(one(store, schema.tasks)["progress"]) == (0, 7)


def test_a_task_is_where_its_highest_try_is(store: Store) -> None:
    write(
        store,
        TaskState(at=START + 9, try_=1, state="pending", **HEAD),
        TaskState(at=START + 8, try_=0, state="fail_retryable", fail_count=1, **HEAD),
        TaskState(at=START + 1, try_=0, state="pending", fail_count=0, **HEAD),
    )
    found = one(store, schema.tasks)
    assert schema.split_progress(found["progress"]) == (1, 0)
    assert found["fail_count"] == 1
    assert [row["try_"] for row in rows(store, schema.tries)] == [0, 1]


def test_a_described_task_without_state_counts_as_unknown(store: Store) -> None:
    write(store, TaskDescribed(at=START, app="f", **HEAD))
    assert one(store, schema.run_states)["state"] == schema.UNKNOWN_STATE
    write(store, TaskState(at=START, try_=0, state="pending", **HEAD))
    assert one(store, schema.run_states)["state"] == 0


def test_counts_move_to_the_app_once_it_is_known(store: Store) -> None:
    write(store, TaskState(at=START, try_=0, state="pending", **HEAD))
    assert one(store, schema.run_states)["app"] == schema.NO_APP
    write(store, TaskDescribed(at=START, app="f", **HEAD))
    app = one(store, schema.apps)["id"]
    assert (one(store, schema.run_states)["app"], one(store, schema.run_buckets)["app"]) == (app, app)


def test_an_earlier_time_moves_between_minutes(store: Store) -> None:
    write(store, TaskState(at=START + schema.MINUTE, try_=0, state="pending", **HEAD))
    write(store, TaskState(at=START, try_=0, state="pending", **HEAD))
    assert one(store, schema.run_buckets)["minute"] == START // schema.MINUTE


def test_descriptions_complete_each_other_and_the_latest_known_value_stays(store: Store) -> None:
    write(store, TaskDescribed(at=START + 5, app="f", stdout="new", depends=[1], **HEAD))
    write(store, TaskDescribed(at=START + 2, app="f", stdout="old", stderr="only here", executor="x", **HEAD))
    write(store, TaskDescribed(at=START + 9, app="f", depends=[2], **HEAD))
    write(store, TaskDescribed(at=START + 3, app="f", stdout="older", **HEAD))
    found = one(store, schema.tasks)
    assert (found["stdout"], found["stderr"]) == ("new", "only here")
    assert [row["depends_on"] for row in rows(store, schema.edges)] == [1, 2]


def test_what_ran_where_and_how_it_ended(store: Store) -> None:
    ended = TaskEnded(
        at=START + 9,
        try_=0,
        host="n1",
        pid=7,
        ok=False,
        elapsed=8,
        exc_type="ValueError",
        exc_message="no",
        traceback="…",
        **HEAD,
    )
    write(store, ended)
    assert one(store, schema.tries)["pid"] == 7  # known from the ending until the beginning arrives
    write(store, TaskRunning(at=START + 1, try_=0, host="n1", pid=7, worker="2", block="0", pool="p", **HEAD))
    found, failure = one(store, schema.tries), one(store, schema.failures)
    names = {row["id"]: row["name"] for row in rows(store, schema.names)}
    assert (found["running"], found["running_ended"]) == (START + 1, START + 9)
    assert (names[found["worker"]], names[found["block"]], names[found["pool"]]) == ("2", "0", "p")
    assert (found["ok"], found["elapsed"]) == (0, 8)
    assert (names[failure["exc_type"]], failure["exc_message"], failure["traceback"]) == ("ValueError", "no", "…")


def test_samples_count_once(store: Store) -> None:
    sample = TaskSample(
        at=START, try_=0, host="n1", pid=7, rss=5, memory_percent=float("nan"), interval=float("inf"), **HEAD
    )
    node = NodeSample(at=START, host="n1", load1=float("-inf"), cpu_percent=3.5)
    assert write(store, sample, node).samples == 2
    assert write(store, sample, node, sample).samples == 0
    found = one(store, schema.samples)
    assert (found["rss"], found["memory_milli"], found["interval"]) == (5, None, None)
    assert (one(store, schema.node_samples)["load1"], one(store, schema.node_samples)["cpu_percent"]) == (None, 3.5)


def test_many_samples_at_once(store: Store) -> None:
    samples = [TaskSample(at=START + i, try_=0, host="n1", pid=7, rss=i, **HEAD) for i in range(500)]
    assert Writer(store).write([batch(samples[:300])]).samples == 300
    assert Writer(store).write([batch(samples)]).samples == 200


def test_a_run_first_seen_through_a_sample_is_a_stub(store: Store) -> None:
    write(store, TaskSample(at=START, try_=0, host="n1", pid=7, **HEAD))
    found = one(store, schema.runs)
    assert (found["run"], found["name"], found["started"], found["last_seen"]) == ("r", None, None, START)
    write(store, RunStarted(at=START - 5, name="wf", tags={"b": "1"}), RunHeartbeat(at=START + 5, lease=100))
    write(
        store,
        RunEnded(at=START + 7, completed=1, failed=0),
        RunStarted(at=START - 5, name="wf", tags={"b": "1"}, lease=1),
    )
    found = one(store, schema.runs)
    assert (found["name"], json.loads(found["tags"]), found["started"]) == ("wf", {"b": "1"}, START - 5)
    assert (found["first_seen"], found["last_seen"], found["ended"]) == (START - 5, START + 7, START + 7)
    assert found["lease_until"] == START - 5 + 60_000_000  # the longest lease that was given


def test_samples_from_before_the_horizon_are_put_aside_and_counted(store: Store) -> None:
    write(store, RunStarted(at=START, name="wf"))
    with store.transaction() as connection:
        connection.execute(schema.runs.update().values(horizon=START + 100))
    late = TaskSample(at=START + 99, try_=0, host="n1", pid=7, **HEAD)
    result = Writer(store).write([batch([late, TaskSample(at=START + 100, try_=0, host="n1", pid=7, **HEAD)], run="r")])
    assert (result.late, result.samples, len(result.aside)) == (1, 1, 1)
    assert one(store, schema.aside)["record_id"] == "j:0"


def test_one_bad_record_costs_no_other(store: Store) -> None:
    good = TaskState(at=START, try_=0, state="pending", **HEAD)
    bad = [
        encode(TaskState(at=START, try_=0, state="levitating", **HEAD)),
        encode(TaskState(at=-5, try_=0, state="pending", **HEAD)),
        encode(TaskState(at=1 << 60, try_=0, state="pending", **HEAD)),
        encode(TaskState(at=START, try_=-1, state="pending", **HEAD)),
        encode(TaskState(at=START, try_=0, state="pending", origin="parsl", number=1 << 40)),
        encode(TaskDescribed(at=START, app="f", depends=[-1], **HEAD)),
        msgspec.msgpack.encode(["task.from.the.future", START]),
        msgspec.msgpack.encode(["task.state", {}]),
        b"\xc1",
    ]
    whole = [raw_batch([*bad[:8], encode(good)], run="r")]
    result = Writer(store).write(whole)
    assert len(result.aside) == 8
    assert one(store, schema.tries)["pending"] == START
    assert {row["record_id"] for row in rows(store, schema.aside)} == {f"j:{i}" for i in range(8)}
    Writer(store).write(whole)
    assert len(rows(store, schema.aside)) == 8


def test_values_that_no_database_holds_are_made_to_fit(store: Store) -> None:
    text = "a\0b" * 100_000
    result = write(
        store,
        TaskDescribed(at=START, app="f\0g", stdout=text, **HEAD),
        TaskSample(at=START, try_=0, host="n\0", pid=7, rss=(1 << 64) - 1, **HEAD),
        FileFound(at=START, watch="w", path="/a\0b", size=1, mtime=(1 << 64) - 1),
        NodeSeen(at=START, host="n1", pool="p", memory_total=1 << 63),
    )
    assert (result.records, result.aside) == (4, ())
    assert one(store, schema.samples)["rss"] == (1 << 63) - 1
    assert len(one(store, schema.tasks)["stdout"]) == 65_536
    assert one(store, schema.apps)["name"] == "f\N{REPLACEMENT CHARACTER}g"


def test_many_rows_at_once_hold_what_single_ones_would(store: Store) -> None:
    """Up to a dozen rows are written one by one, more of them together."""
    numbers = [0, -1, 1 << 15, 1 << 31, -(1 << 40), (1 << 63) - 1, (1 << 64) - 1, None]
    samples: list[Record] = [
        TaskSample(
            at=START + i, try_=0, host="n1", pid=i, rss=numbers[i % 8], vms=numbers[-i % 8],
            status=["run", None][i % 2], memory_percent=[0.1, 1e-300, 12.0, None][i % 4], last=i == 39, interval=10,
            origin="parsl", number=i,
        )
        for i in range(40)
    ]  # fmt: skip
    described: list[Record] = [
        TaskDescribed(at=START, app="f", stdout=["é\t\\N\n", "", None][i % 3], origin="parsl", number=i)
        for i in range(40)
    ]
    Writer(store).write([batch(samples, run="many"), batch(described, run="many")])
    for i in range(40):
        Writer(store).write([batch([samples[i]], run="single"), batch([described[i]], run="single")])
    for table in (schema.samples, schema.tasks):
        found = rows(store, table)
        half = len(found) // 2
        assert half == 40
        assert [{**row, "run": 0} for row in found[:half]] == [{**row, "run": 0} for row in found[half:]]
    assert [row["rss"] for row in rows(store, schema.samples)[:8]] == [*numbers[:6], (1 << 63) - 1, None]


def test_names_too_long_for_an_index_hold_up_nobody(store: Store) -> None:
    random = Random(1)
    long, other = ("".join(random.choices(ascii_letters, k=6000)) for _ in range(2))  # nothing that could be packed
    records = [
        TaskDescribed(at=START, app=long, executor=long, **HEAD),
        TaskRunning(at=START, try_=0, host=long, pid=1, worker=long, pool=long, block=long, **HEAD),
        TaskEnded(at=START, try_=0, host=long, pid=1, ok=False, elapsed=1, exc_type=long, **HEAD),
        FileFound(at=START, watch=long, path=long, size=1, mtime=1),
        FileFound(at=START, watch=long, path=other, size=1, mtime=1),
        FileCallback(at=START, watch=long, callback=long, sequence=1, paths=[long], outcome="ok"),
        BlockState(at=START, executor=long, block=long, status=long),
        NodeSeen(at=START, host=long, pool=long, executor=long),
        AgentStatus(at=START, agent=long, host=long, pid=1, version="1"),
        JournalClosed(at=START, journal=long, host=long, pid=1, clean=True, records=1),
        TaskState(at=START, try_=0, state="pending", **HEAD),
    ]
    for _ in range(2):  # the second time as it comes again
        assert write(store, *records).aside == ()
        assert one(store, schema.tries)["pending"] == START
        assert len(rows(store, schema.apps)) == 1
        assert len(rows(store, schema.files)) == 2


def test_a_batch_that_can_never_be_written_is_a_bad_message_and_writes_nothing(store: Store) -> None:
    good, bad = (batch([TaskState(at=START, try_=0, state="pending", **HEAD)], run=run) for run in ("r", "x" * 300))
    with pytest.raises(BadMessage, match="255"):
        Writer(store).write([good, bad])
    assert rows(store, schema.runs) == []


def test_the_result_counts_kinds(store: Store) -> None:
    result = write(store, RunStarted(at=START, name="w"), RunHeartbeat(at=START), RunHeartbeat(at=START + 1))
    assert (result.records, dict(result.counts)) == (3, {"run.started": 1, "run.heartbeat": 2})


def test_nothing_to_write_is_fine(store: Store) -> None:
    assert Writer(store).write([]).records == 0


def test_origins_have_keys_of_their_own_and_the_first_has_its_numbers(store: Store) -> None:
    write(store, TaskState(at=START, try_=0, state="pending", origin="parsl", number=3))
    write(store, TaskState(at=START, try_=0, state="pending", origin="python-1", number=3))
    assert [row["task"] for row in rows(store, schema.tasks)] == [3, schema.task_key(1, 3)]


def test_another_writer_sees_what_the_first_added(store: Store) -> None:
    first, second = Writer(store), Writer(store)
    for writer, number in ((first, 1), (second, 2), (first, 3)):
        record = TaskDescribed(at=START, origin=f"o{number}", number=number, app="f", executor="x")
        writer.write([batch([record])])
    assert len({row["app"] for row in rows(store, schema.tasks)}) == 1
    assert [row["idx"] for row in rows(store, schema.origins)] == [0, 1, 2]
