"""The message contract: round trips, evolution in both directions, and golden files of every version."""

import json
import resource
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph import messages as m

GOLDEN = Path(__file__).parent / "golden"


def example(kind: type[m.Record]) -> m.Record:
    """A record of this kind with a different, non-default value in every field that has a simple type."""
    values: dict[str, Any] = {}
    for i, field in enumerate(msgspec.structs.fields(kind)):
        values[field.encode_name] = _value(str(field.type), i + 1)
    return kind(**values)


def _value(annotation: str, i: int) -> Any:
    for word, value in (
        ("dict[str", {"key": f"value-{i}"}),
        ("Gpu", [m.Gpu(index=i, name="gpu")]),
        ("list[int", [i, i + 1]),
        ("list[str", [f"text-{i}"]),
        ("bool", True),
        ("float", i + 0.5),
        ("int", i * 1000),
        ("str", f"text-{i} é"),
    ):
        if word in annotation:
            return value
    raise AssertionError(f"no example value for {annotation}")


@pytest.mark.parametrize("kind", m.KINDS.values(), ids=m.KINDS.keys())
def test_every_kind_comes_back_as_it_was(kind: type[m.Record]) -> None:
    record = example(kind)
    assert m.decode(m.encode(record)) == record


@pytest.mark.parametrize("kind", m.KINDS.keys())
def test_golden_files_of_version_1_are_still_read(kind: str) -> None:
    """Written once by the first version; a changed order of fields or a changed kind fails here."""
    raw = (GOLDEN / "v1" / f"{kind}.msgpack").read_bytes()
    expected = json.loads((GOLDEN / "v1" / f"{kind}.json").read_text(encoding="utf-8"))
    known = json.loads(msgspec.json.encode(m.to_builtins(m.decode(raw))))
    assert {name: known[name] for name in expected} == expected


@pytest.mark.parametrize("kind", m.KINDS.values(), ids=m.KINDS.keys())
def test_a_newer_agent_may_append_fields(kind: type[m.Record]) -> None:
    record = example(kind)
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(m.encode(record)), "a field of the future", {"x": 1}])
    assert m.decode(longer) == record


def test_an_older_agent_may_send_fewer_fields() -> None:
    short = msgspec.msgpack.encode(["task.state", 5, 6, "parsl", 7, 0, "pending"])
    assert m.decode(short) == m.TaskState(at=5, mono=6, origin="parsl", number=7, try_=0, state="pending")


def batch(records: list[bytes], **changes: Any) -> m.Batch:
    values: dict[str, Any] = {
        "version": m.SCHEMA_VERSION,
        "run": "run",
        "cls": "states",
        "agent": "a",
        "host": "h",
        "boot": "b",
        "sources": [m.Source("j", list(range(0, len(records) * 10, 10)))],
        "records": [msgspec.Raw(r) for r in records],
    }
    return m.Batch(**{**values, **changes})


def test_one_bad_record_costs_no_other() -> None:
    good = m.encode(m.TaskState(at=1, origin="parsl", number=1, try_=0, state="pending"))
    unknown = msgspec.msgpack.encode(["task.dreamt", 1, 2, "parsl"])
    broken = msgspec.msgpack.encode(["task.state", "not a time"])
    decoded = m.decode_batch(m.encode(batch([good, unknown, broken, good])))
    records, aside = m.decode_records(decoded)
    assert [r.at for r in records] == [1, 1]
    assert [a.record_id for a in aside] == ["j:10", "j:20"]
    assert all(a.reason for a in aside)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"version": 2}, "version 2"),
        ({"cls": "gossip"}, "gossip"),
        ({"run": ""}, "without a run"),
        ({"sources": []}, "offsets"),
    ],
)
def test_a_batch_that_cannot_be_used_says_why(changes: dict[str, Any], word: str) -> None:
    raw = m.encode(m.TaskState(at=1, origin="parsl", number=1, try_=0, state="pending"))
    with pytest.raises(m.BadMessage, match=word):
        m.decode_batch(m.encode(batch([raw], **changes)))


@given(st.binary(max_size=200))
def test_rubbish_is_a_bad_message_and_nothing_worse(body: bytes) -> None:
    for read in (m.decode, m.decode_batch):
        try:
            read(body)
        except m.BadMessage:
            continue


LEAVES = st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4), max_leaves=20))
def test_rubbish_records_in_a_real_batch_are_put_aside(value: Any) -> None:
    raw = msgspec.msgpack.encode(["task.state", value])
    records, aside = m.decode_records(m.decode_batch(m.encode(batch([raw]))))
    assert len(records) + len(aside) == 1


@pytest.mark.parametrize("where", ["records", "sources", "offsets"])
def test_a_batch_of_millions_of_nothings_is_refused_before_it_takes_memory(where: str) -> None:
    """Each may be a single byte in the message, and is an object of a hundred in a reader."""
    number = 3_000_000
    many = b"\xdd" + number.to_bytes(4, "big")
    sources = {"sources": many + b"\x92\xa0\x90" * number, "offsets": b"\x91\x92\xa1j" + many + b"\0" * number}
    records = many + b"\xc0" * number if where == "records" else b"\x90"
    head = b"".join(msgspec.msgpack.encode(value) for value in ("batch", 1, "run", "states", "agent", "host", "boot"))
    body = b"\x99" + head + sources.get(where, b"\x90") + records
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(m.BadMessage, match="length"):
        m.decode_batch(body)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB (on macOS bytes: less strict)


def test_a_record_larger_than_any_journal_takes_is_refused() -> None:
    record = msgspec.Raw(msgspec.msgpack.encode("x" * (m.MAX_RECORD + 1)))
    batch = m.Batch(
        version=1, run="r", cls="states", agent="a", host="h", boot="", sources=[m.Source("j", [0])], records=[record]
    )
    with pytest.raises(m.BadMessage, match="bytes"):
        m.decode_batch(msgspec.msgpack.encode(batch))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(m.BadMessage):
        m.decode(b"\x91" * 100_000 + b"\xc0")
    with pytest.raises(m.BadMessage):
        m.decode_batch(b"\x91" * 100_000 + b"\xc0")


def test_every_record_has_a_class_and_ranks_are_frozen() -> None:
    assert set(m.CLASS_OF) == {*m.KINDS.values(), *m.COMMANDS.values()}
    # Stored in databases: a new state may only be appended.
    assert list(m.RANK) == [
        "pending",
        "launched",
        "running",
        "running_ended",
        "joining",
        "fail_retryable",
        "memo_done",
        "exec_done",
        "dep_fail",
        "failed",
    ]


@pytest.mark.parametrize("kind", m.COMMANDS.values(), ids=m.COMMANDS.keys())
def test_every_command_comes_back_as_it_was_and_is_no_record(kind: type[m.Record]) -> None:
    command = example(kind)
    raw = m.encode(command)
    assert m.decode_command(raw) == command
    longer = msgspec.msgpack.encode([*msgspec.msgpack.decode(raw), "a field of the future"])
    assert m.decode_command(longer) == command
    with pytest.raises(m.BadMessage):
        m.decode(raw)


@pytest.mark.parametrize("kind", m.COMMANDS.keys())
def test_golden_commands_of_version_1_are_still_read(kind: str) -> None:
    raw = (GOLDEN / "v1" / f"{kind}.msgpack").read_bytes()
    expected = json.loads((GOLDEN / "v1" / f"{kind}.json").read_text(encoding="utf-8"))
    known = json.loads(msgspec.json.encode(m.to_builtins(m.decode_command(raw))))
    assert {name: known[name] for name in expected} == expected


def test_commands_and_records_stay_apart_even_in_the_wrong_batch() -> None:
    command = m.encode(m.WatchStart(at=1, watch="w", root="/scr"))
    record = m.encode(m.TaskState(at=1, origin="parsl", number=1, try_=0, state="pending"))
    assert m.decode_records(batch([command]))[0] == []
    commands, aside = m.decode_commands(batch([record, command, b"\xc1"], cls="commands"))
    assert [c.watch for c in commands] == ["w"]
    assert [a.record_id for a in aside] == ["j:0", "j:20"]
    with pytest.raises(m.BadMessage, match="states"):
        m.decode_commands(batch([command]))
