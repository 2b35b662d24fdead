"""Records with every field at its worst: the store takes them or puts them aside, and every question still has an
answer, for their run and for all others."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from heliograph import messages as m
from heliograph_store.migrate import migrate
from heliograph_store.read import workload
from heliograph_store.read.liveness import liveness
from heliograph_store.store import connect
from heliograph_store.views import VIEWS
from heliograph_store.write import Writer

AT = 1_700_000_000_000_000
BOUNDS = (1.0, 60.0, 86_400.0)
INTEGERS = [-(1 << 63), (1 << 63) - 1, (1 << 64) - 1, -1, 0, 1 << 31, 1 << 36, (1 << 53) + 1, 1 << 62]
TEXTS = ["", "\0", "a\0b", "x" * 70_000, "é" * 40_000, "\U0001f600" * 300, "'; DROP TABLE runs;--", "../../x", "NaN"]
NUMBERS = [float("inf"), float("-inf"), float("nan"), 1e308, -1e308, 5e-324, 1e19]


def worst(kind: Any) -> list[Any]:
    """Values that a field of this type can carry over the wire and that nobody expects."""
    plain = {int: INTEGERS, str: TEXTS, float: NUMBERS, bool: [True, False]}
    if kind in plain:
        return list(plain[kind])
    inner = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return [None, *(v for a in inner if a is not types.NoneType for v in worst(a))]
    if typing.get_origin(kind) is list:
        some = worst(inner[0])
        return [[], *([value] for value in some), some, some[:1] * 5000]
    if typing.get_origin(kind) is dict:
        return [{}, {"a\0": "b\0"}, {"k" * 70_000: "v" * 70_000}, {str(n): "x" for n in range(5000)}]
    assert kind is m.Gpu
    return [*(m.Gpu(index=i) for i in INTEGERS), *(m.Gpu(index=0, power=n, name="\0") for n in NUMBERS)]


def records() -> Iterator[m.Record]:
    for kind in m.KINDS.values():
        fields = msgspec.structs.fields(kind)
        usual: dict[Any, Any] = {int: 1, str: "x", bool: True}
        given = {f.name: AT if f.name == "at" else usual[f.type] for f in fields if f.required}
        for field in fields:
            yield from (kind(**{**given, field.name: value}) for value in worst(field.type))


def batch(run: str, some: list[m.Record]) -> m.Batch:
    made = m.Batch(
        version=1,
        run=run,
        cls="states",
        agent="a",
        host="h",
        boot="b",
        sources=[m.Source("j", list(range(len(some))))],
        records=[msgspec.Raw(m.encode(record)) for record in some],
    )
    return m.decode_batch(m.encode(made))


def test_no_value_costs_more_than_its_own_record(database_url: str) -> None:
    migrate(database_url)
    bad = list(records())
    good = [m.TaskState(at=AT + n, origin="", number=n, try_=0, state="exec_done") for n in range(10)]
    with closing(connect(database_url)) as store:
        result = Writer(store).write([batch(f"run-{n}", [record]) for n, record in enumerate(bad)])
        assert result.records == len(bad)
        assert len(result.aside) < len(bad) / 4, "most are only odd, not unusable"
        result = Writer(store).write([batch("mixed", [*good, *bad])])
        assert result.records == len(bad) + 10
        for view in VIEWS:
            with store.connection() as connection:
                assert connection.execute(text(f'SELECT * FROM "{view}"')).all()
                found = connection.execute(text(f"SELECT * FROM \"{view}\" WHERE run_id = 'mixed'")).all()
            assert found, view
        span: dict[str, Any] = {"first": 0, "last": 1 << 62, "since": 0, "until": 1 << 53}
        with store.connection() as connection:
            mixed = connection.scalar(text("SELECT id FROM runs WHERE run = 'mixed'"))
        assert workload.finished_tries(store, mixed, waited=BOUNDS, ran=BOUNDS, **span)
        assert {liveness(run, AT) for run in workload.open_runs(store)} <= {"running", "lost", "unknown"}
        assert workload.ended_runs(store).completed
        with store.connection() as connection:
            rollup = connection.execute(text("SELECT run, app, state, tasks FROM run_states WHERE tasks <> 0")).all()
            fresh = "SELECT run, app, progress & 15, COUNT(*) FROM tasks GROUP BY run, app, progress & 15"
            assert sorted(map(tuple, rollup)) == sorted(map(tuple, connection.execute(text(fresh)).all()))


@pytest.mark.parametrize("body", [b"", b"\x00", b"\xc1" * 100, b"\x91" * 100_000, b"\xdd\xff\xff\xff\xff", b"\xff" * 9])
def test_what_is_no_batch_is_a_bad_message(body: bytes) -> None:
    with pytest.raises(m.BadMessage):
        m.decode_batch(body)


DEEP = b"\x91" * 50_000 + b"\x90"


@pytest.mark.parametrize(
    "raw", [b"\xc0", DEEP, b"\x93\xaatask.state\xff\xff", b"\x92\xa2\xff\xfe\x01", b"\x81\x01\x02"]
)
def test_a_record_that_is_none_costs_no_other(database_url: str, raw: bytes) -> None:
    migrate(database_url)
    good = m.encode(m.TaskState(at=AT, origin="", number=1, try_=0, state="running"))
    mixed = msgspec.structs.replace(
        batch("r", []), sources=[m.Source("j", [0, 1, 2])], records=[msgspec.Raw(r) for r in (good, raw, good)]
    )
    with closing(connect(database_url)) as store:
        result = Writer(store).write([mixed])
        assert (result.records, len(result.aside)) == (3, 1)
        assert result.aside[0].record_id == "j:1"


def test_a_lease_from_a_wrong_clock_is_not_believed() -> None:
    """Else a run whose host was once a year ahead would live for a year after its death."""
    signs: dict[str, Any] = dict.fromkeys(("failed", "exit", "ended"))
    year = 365 * 86_400_000_000
    run = workload.RunSigns(
        id=1, run="r", name=None, first_seen=AT, last_seen=AT + year, lease_until=AT + year, **signs
    )
    assert liveness(run, AT) == "unknown"
    assert liveness(run, AT + year) == "running"
    assert liveness(run, AT + year + 1) == "lost"
