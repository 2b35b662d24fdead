"""Realistic streams of records for the store's tests, and a database's content in a form that can be compared.

In: a seeded random generator. Out: batches of a recorded run (retries, joins, memoization, dependencies, failures,
samples, several processes), and `content`, which replaces every id by its text, because ids depend on arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any

import msgspec
from sqlalchemy import select

from heliograph.messages import (
    CLASS_OF,
    AgentStatus,
    Batch,
    BlockState,
    Dropped,
    FileCallback,
    FileFound,
    Gpu,
    JournalClosed,
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    Source,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
    WatchClosed,
    WatchOpened,
    decode_batch,
    encode,
)
from heliograph_store import schema
from heliograph_store.names import DICTIONARIES, OF_COLUMN
from heliograph_store.store import Store

START = 1_790_000_000_000_000
SECOND = 1_000_000
APPS = ("simulate", "preprocess", "train", "collect")


def batch(
    records: Sequence[Record], *, run: str = "run-1", journal: str = "j", offsets: Sequence[int] | None = None
) -> Batch:
    """One batch, through the wire format; all records must be of one class."""
    (cls,) = {CLASS_OF[type(record)] for record in records}
    return raw_batch([encode(r) for r in records], run=run, cls=cls.value, journal=journal, offsets=offsets)


def raw_batch(
    records: Sequence[bytes],
    *,
    run: str = "run-1",
    cls: str = "states",
    journal: str = "j",
    offsets: Sequence[int] | None = None,
) -> Batch:
    offsets = list(range(len(records))) if offsets is None else list(offsets)
    sources = [Source(journal, offsets)]
    raw = [msgspec.Raw(record) for record in records]
    made = Batch(version=1, run=run, cls=cls, agent="agent-1", host="n1", boot="boot", sources=sources, records=raw)
    return decode_batch(encode(made))


Numbered = tuple[int, str, bytes, str]
"""A record with its offset in the journal, its run, its bytes and its class: what a test shuffles and repeats."""


def numbered(records: Sequence[tuple[str, Record]]) -> list[Numbered]:
    return [(i, run, encode(record), CLASS_OF[type(record)].value) for i, (run, record) in enumerate(records)]


def batches(records: Sequence[Numbered], size: int) -> list[Batch]:
    """Records of any runs and classes, in their order, cut into batches of at most `size`."""
    made: list[Batch] = []
    open_: dict[tuple[str, str], list[Numbered]] = {}
    for record in records:
        group = open_.setdefault((record[1], record[3]), [])
        group.append(record)
        if len(group) >= size:
            made.append(_group(group))
            group.clear()
    return made + [_group(group) for group in open_.values() if group]


def _group(group: Sequence[Numbered]) -> Batch:
    raw, offsets = [r[2] for r in group], [r[0] for r in group]
    return raw_batch(raw, run=group[0][1], cls=group[0][3], offsets=offsets)


def recorded_run(random: Random, *, tasks: int, run: str = "run-1", samples: bool = True) -> list[tuple[str, Record]]:
    """A whole run in the order of recording: a kernel ('parsl') and one plain process with tasks of its own."""
    clock = count(START, 37_003)  # tasks overlap minutes when there are many of them
    out: list[Record] = [
        RunStarted(
            at=next(clock), name="demo", version="1", owner="ada", host="login", run_dir="/runs/1", tags={"k": "v"}
        ),
        NodeSeen(at=next(clock), host="n1", pool="p1", executor="htex", block="0", workers=2, cpu_count=2),
        NodeSeen(at=next(clock), host="n1", pool="p1", executor="htex", block="0", workers=4, cpu_count=2),
        BlockState(at=next(clock), executor="htex", block="0", status="PENDING", job_id=None),
        BlockState(at=next(clock), executor="htex", block="0", status="RUNNING", job_id="1234"),
        WatchOpened(at=next(clock), watch="w1", root="/data", patterns=["*.h5"], origin="parsl", number=0),
    ]
    for number in range(tasks):
        origin = "parsl" if number % 5 else "python-17"
        out += _task(random, clock, origin, number, samples=samples)
        if number % 7 == 0:
            out += _around(random, clock, number)
    out += [
        WatchClosed(at=next(clock), watch="w1", files=3),
        NodeSeen(at=next(clock), host="n1", pool="p1", executor="htex", block="0", workers=4, active=False),
        JournalClosed(at=next(clock), journal="j1", host="n1", pid=41, clean=False, records=7),
        RunEnded(at=next(clock), completed=tasks, failed=1),
    ]
    return [(run, record) for record in out]


def _around(random: Random, clock: count[int], number: int) -> list[Record]:
    """What comes along besides tasks."""
    return [
        RunHeartbeat(at=next(clock)),
        AgentStatus(at=next(clock), agent="agent-1", host="n1", pid=40, depth=random.randrange(9), shipped=number * 10),
        Dropped(at=next(clock), journal="j1", host="n1", samples=number, reason="cap"),
        NodeSample(at=next(clock), host="n1", cpu_percent=random.choice([12.5, float("nan"), None]), load1=0.5,
                   gpus=[Gpu(index=0, utilisation=50.0)] if number % 2 else []),
        FileFound(at=next(clock), watch="w1", path=f"/data/{number % 3}.h5", size=10, mtime=START, repeat=number > 20),
        FileCallback(at=next(clock), watch="w1", callback="cb", sequence=number, outcome="ok", paths=["/data/1.h5"]),
    ]  # fmt: skip


def _task(random: Random, clock: count[int], origin: str, number: int, *, samples: bool) -> list[Record]:
    head: dict[str, Any] = {"origin": origin, "number": number}
    app = APPS[number % len(APPS)]
    depends = sorted(random.sample(range(number), min(number, random.choice([0, 0, 1, 3]))))
    out: list[Record] = [
        TaskDescribed(at=next(clock), app=app, executor="htex", depends=depends, memoize=number % 3 == 0, **head),
        TaskState(at=next(clock), try_=0, state="pending", invoked=START + number, fail_count=0, fail_cost=0.0, **head),
    ]
    kind = random.choice(["ok", "ok", "ok", "memo", "retry", "join", "failed", "dep_fail", "lost"])
    if kind == "memo":
        return [
            *out,
            TaskState(at=next(clock), try_=0, state="memo_done", from_memo=True, hashsum=f"{number:032x}", **head),
        ]
    if kind == "dep_fail":
        return [*out, TaskState(at=next(clock), try_=0, state="dep_fail", fail_history="DependencyError", **head)]
    out.append(TaskDescribed(at=next(clock), app=app, stdout="out.txt", hashsum=f"{number:032x}", **head))
    attempts = random.choice([2, 3]) if kind == "retry" else 1
    for attempt in range(attempts):
        failed = kind == "failed" or attempt < attempts - 1
        out += _try(random, clock, head, attempt, failed=failed, lost=kind == "lost", samples=samples)
        if attempt < attempts - 1:
            history = ",".join(["ValueError('x')"] * (attempt + 1))
            out.append(TaskState(at=next(clock), try_=attempt, state="fail_retryable", fail_count=attempt + 1,
                                 fail_cost=attempt + 1.0, fail_history=history, **head))  # fmt: skip
            out.append(TaskState(at=next(clock), try_=attempt + 1, state="pending", fail_count=attempt + 1, **head))
    last = attempts - 1
    if kind == "join":
        joins = [number + 1, number + 2]
        out.append(TaskState(at=next(clock), try_=last, state="joining", joins=joins, **head))
    state = "failed" if kind in {"failed", "lost"} else "exec_done"
    history = "ManagerLost()" if kind == "lost" else None
    end = next(clock)
    return [*out, TaskState(at=end, try_=last, state=state, fail_history=history, returned=end - 5, **head)]


def _try(
    random: Random, clock: count[int], head: dict[str, Any], attempt: int, *, failed: bool, lost: bool, samples: bool
) -> list[Record]:
    host, pid = f"n{random.randrange(3)}", 1000 + random.randrange(4)
    launched = next(clock)
    out: list[Record] = [
        TaskState(at=launched, try_=attempt, state="launched", executor="htex", launched=launched - 3, **head),
        TaskRunning(at=next(clock), try_=attempt, host=host, pid=pid, create_time=77, worker=str(pid % 4), pool="p1",
                    block="0", executor="htex", **head),
    ]  # fmt: skip
    if samples:
        for step in range(random.randrange(3)):
            out.append(
                TaskSample(at=next(clock), try_=attempt, host=host, pid=pid, cpu_user=step * 1000, rss=1 << 20,
                           memory_percent=0.5, status="running", interval=10.0, **head)
            )  # fmt: skip
    if not lost:
        error = {"exc_type": "ValueError", "exc_message": "x", "traceback": "Traceback …"} if failed else {}
        out.append(
            TaskEnded(at=next(clock), try_=attempt, host=host, pid=pid, ok=not failed, elapsed=head["number"] ** 2 % 23,
                      cpu_user=3, peak_rss=1 << 20, peak_exact=True, **error, **head)
        )  # fmt: skip
    return out


# -- comparing ---------------------------------------------------------------------------------------------------------


def content(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every table's rows, sorted, with texts in the place of ids."""
    with store.connection() as connection:
        texts = {
            table.name: dict(connection.execute(select(table.c.id, table.c.name)).tuples().all())
            for table in DICTIONARIES
        }
        runs = dict(connection.execute(select(schema.runs.c.id, schema.runs.c.run)).tuples().all())
        origins = {(r, i): n for r, i, n in connection.execute(select(schema.origins)).tuples()}
        found: dict[str, list[tuple[Any, ...]]] = {}
        for table in schema.metadata.sorted_tables:
            if table.name in {"origins", "meta"} | {dictionary.name for dictionary in DICTIONARIES}:
                continue
            rows = []
            for row in connection.execute(select(table)).mappings():
                values = dict(row)
                run = values.get("run") if table is not schema.runs else None
                for column in [c.name for c in table.columns]:
                    value = values[column]
                    if value is None or (table is schema.runs and column not in {"id"}):
                        continue
                    if column in {"run", "id"}:
                        values[column] = runs[value]
                    elif column in {"task", "depends_on", "parent"}:
                        origin, number = schema.split_task(value)
                        values[column] = f"{origins[(run, origin)]}:{number}"
                    elif column in OF_COLUMN:
                        values[column] = texts[OF_COLUMN[column].name].get(value, value)
                rows.append(tuple(values.values()))
            found[table.name] = sorted(rows, key=repr)
    return found
