"""The laws behind order-free writes: every merge is associative, commutative and idempotent, ties included."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.messages import RANK, Record, TaskDescribed, TaskEnded, TaskRunning, TaskState
from heliograph_store import schema
from heliograph_store.fold import RunFold
from heliograph_store.merge import RULES, Row, Rules, merge
from heliograph_store.tasks import TASK_COLUMNS, TRY_COLUMNS

FEW = st.one_of(st.none(), st.integers(1, 3))


def columns(rules: Rules) -> list[str]:
    return [*rules.smallest, *rules.largest, *(c for g in rules.groups for c in (g.stamp, *g.columns))]


def full(row: Row, rules: Rules) -> Row:
    """A group without its time is not a record of it: nothing of it is known."""
    seen = {column: row.get(column) for column in columns(rules)}
    for group in rules.groups:
        if seen[group.stamp] is None:
            seen.update(dict.fromkeys(group.columns))
    return seen


@pytest.mark.parametrize("table", sorted(RULES))
@given(data=st.data())
def test_merging_rows_does_not_depend_on_order(table: str, data: st.DataObject) -> None:
    rules = RULES[table]
    rows = [full(data.draw(st.fixed_dictionaries(dict.fromkeys(columns(rules), FEW))), rules) for _ in range(3)]
    a, b, c = rows
    assert merge(a, a, rules) == a
    assert merge(a, b, rules) == merge(b, a, rules)
    assert merge(merge(a, b, rules), c, rules) == merge(a, merge(b, c, rules), rules)


@pytest.mark.parametrize("table", sorted(RULES))
def test_rules_name_every_column_that_is_written(table: str) -> None:
    declared = {c.name for c in schema.metadata.tables[table].columns if not c.primary_key} - {"run", "horizon"}
    assert set(columns(RULES[table])) == declared


def test_rows_have_the_columns_of_their_tables() -> None:
    assert ("run", *TASK_COLUMNS) == tuple(c.name for c in schema.tasks.columns)
    assert ("run", *TRY_COLUMNS) == tuple(c.name for c in schema.tries.columns)


TIMES = st.integers(1, 3)
TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b"]))
HEAD: dict[str, Any] = {"at": TIMES, "origin": st.just("o"), "number": st.just(0)}
NUMBERS = st.one_of(st.none(), st.integers(0, 2))
RECORDS: st.SearchStrategy[Record] = st.one_of(
    st.builds(TaskDescribed, **HEAD, app=st.sampled_from(["", "f", "g"]), executor=st.sampled_from(["", "x", "y"]),
              join=st.booleans(), memoize=st.booleans(), hashsum=TEXTS, inputs=TEXTS, outputs=TEXTS, stdin=TEXTS,
              stdout=TEXTS, stderr=TEXTS, resources=TEXTS, parent=NUMBERS, invoked=NUMBERS,
              depends=st.lists(st.integers(0, 3), max_size=2)),
    st.builds(TaskState, **HEAD, try_=st.integers(0, 2), state=st.sampled_from(sorted(RANK)), executor=TEXTS,
              fail_count=NUMBERS, fail_cost=st.one_of(st.none(), st.sampled_from([0.5, 1.0, float("nan")])),
              fail_history=TEXTS, joins=st.sampled_from([None, [1]]), from_memo=st.one_of(st.none(), st.booleans()),
              hashsum=TEXTS, invoked=NUMBERS, launched=NUMBERS, returned=NUMBERS),
    st.builds(TaskRunning, **HEAD, try_=st.integers(0, 2), host=st.sampled_from("hk"), pid=st.integers(1, 2),
              create_time=NUMBERS, thread=NUMBERS, worker=TEXTS, pool=TEXTS, block=TEXTS, executor=TEXTS,
              shared=st.booleans()),
    st.builds(TaskEnded, **HEAD, try_=st.integers(0, 2), host=st.sampled_from("hk"), pid=st.integers(1, 2),
              ok=st.booleans(), elapsed=st.integers(0, 2), exit=NUMBERS, exc_type=TEXTS, exc_message=TEXTS,
              traceback=TEXTS, cpu_user=NUMBERS, peak_rss=NUMBERS, peak_exact=st.booleans()),
)  # fmt: skip


def folded(records: list[Record]) -> tuple[Any, ...]:
    fold = RunFold("r", {"o": 0})
    for record in records:
        fold.add(record)
    known = {
        table: {key: {c: v for c, v in row.items() if v is not None} for key, row in rows.items()}
        for table, rows in fold.rows.items()
    }
    return fold.tasks, fold.tries, fold.edges, known, fold.first_seen, fold.last_seen


@given(st.lists(RECORDS, min_size=2, max_size=4))
def test_folding_records_does_not_depend_on_order_or_repetition(records: list[Record]) -> None:
    """Equal times and contradicting values included."""
    expected = folded(records)
    for order in permutations(records):
        assert folded(list(order)) == expected
    assert folded(records + records) == expected
