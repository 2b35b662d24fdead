"""Runs made by hand for tests of pages: written to a database the way the writer does, record by record.

In: records. Out: a database that a dashboard can open.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Raw

from heliograph.messages import (
    CLASS_OF,
    SCHEMA_VERSION,
    Batch,
    Record,
    RunEnded,
    RunStarted,
    Source,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
    encode,
)
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer

SECOND = 1_000_000
START = 1_790_000_000_000_000
_journals = itertools.count()


class Made:
    """A new database in a folder; `write` adds records to one of its runs."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "made.db"
        url = f"sqlite:///{self.database}"
        migrate(url)
        self._store = connect(url)
        self._writer = Writer(self._store)

    def write(self, run: str, records: Iterable[Record]) -> None:
        by_class: dict[str, list[Raw]] = {}
        for record in records:
            by_class.setdefault(CLASS_OF[type(record)].value, []).append(Raw(encode(record)))
        for cls, raw in by_class.items():
            source = Source(f"journal-{next(_journals)}", list(range(len(raw))))
            written = self._writer.write(
                [
                    Batch(
                        version=SCHEMA_VERSION,
                        run=run,
                        cls=cls,
                        agent="agent",
                        host="n1",
                        boot="boot",
                        sources=[source],
                        records=raw,
                    )
                ]
            )
            assert not written.aside, written.aside

    def close(self) -> None:
        self._store.close()


def started(at: int = START, *, name: str = "made", **known: Any) -> list[Record]:
    return [RunStarted(at=at, name=name, owner="ada", host="login", run_dir="/runs/1", **known)]


def ended(at: int) -> list[Record]:
    return [RunEnded(at=at)]


def task(
    number: int,
    *,
    at: int = START,
    app: str = "work",
    depends: Iterable[int] = (),
    until: str = "exec_done",
    failure: dict[str, str] | None = None,
    **described: Any,
) -> list[Record]:
    """A task of one try: two seconds until it begins, three until it ends, as far as the state `until`."""
    head = {"origin": "", "number": number}
    where = {"host": "n1", "pid": 7}
    begin, end = at + 2 * SECOND, at + 5 * SECOND
    steps: list[tuple[str, list[Record]]] = [
        ("pending", [TaskState(at=at, try_=0, state="pending", **head)]),
        ("launched", [TaskState(at=at + SECOND // 2, try_=0, state="launched", executor="htex", **head)]),
        ("running", [TaskRunning(at=begin, try_=0, worker="0", executor="htex", block="0", **where, **head)]),
    ]
    out: list[Record] = [TaskDescribed(at=at, app=app, executor="htex", depends=list(depends), **described, **head)]
    for state, records in steps:
        out += records
        if state == until:
            return out
    ran = {"elapsed": end - begin, "peak_rss": 100_000_000, "cpu_user": SECOND, "ok": failure is None}
    out += [
        TaskSample(at=begin + n * SECOND, try_=0, rss=n * 50_000_000, cpu_user=n * SECOND // 2, **where, **head)
        for n in (1, 2, 3)
    ]
    out.append(TaskEnded(at=end, try_=0, **ran, **(failure or {}), **where, **head))
    out.append(TaskState(at=end + SECOND // 2, try_=0, state=until, **head))
    return out
