"""Runs in a hub's database, written the way the writer does."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

from msgspec import Raw

from heliograph.messages import (
    CLASS_OF,
    SCHEMA_VERSION,
    AgentStatus,
    Batch,
    BlockState,
    Dropped,
    FileFound,
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
    WatchOpened,
    encode,
)
from heliograph_hub.config import HubConfig
from heliograph_store.store import connect
from heliograph_store.write import Writer

SECOND = 1_000_000
_journals = itertools.count()


def now() -> int:
    return time.time_ns() // 1000


class Recorder:
    """Writes records of runs into a database."""

    def __init__(self, config: HubConfig) -> None:
        self.store = connect(config.database_url)
        self.writer = Writer(self.store)

    def write(self, run: str, records: Iterable[Record]) -> None:
        by_class: dict[str, list[Raw]] = {}
        for record in records:
            by_class.setdefault(CLASS_OF[type(record)].value, []).append(Raw(encode(record)))
        for cls, raw in by_class.items():
            batch = Batch(
                version=SCHEMA_VERSION,
                run=run,
                cls=cls,
                agent="a",
                host="n1",
                boot="b",
                sources=[Source(f"j{next(_journals)}", list(range(len(raw))))],
                records=raw,
            )
            self.writer.write([batch])

    def close(self) -> None:
        self.store.close()


def started(at: int, *, name: str = "flow", lease: int = 60 * SECOND) -> list[Record]:
    return [
        RunStarted(at=at, name=name, owner="ada", host="head", run_dir="/runs/1", tags={"k": "v"}, lease=lease),
        RunHeartbeat(at=at, lease=lease),
    ]


def task(
    number: int,
    at: int,
    *,
    app: str = "work",
    final: str = "exec_done",
    waited: int = 2 * SECOND,
    ran: int = 3 * SECOND,
) -> list[Record]:
    """A task whose one try was launched at `at`, and is over."""
    head = {"origin": "parsl", "number": number}
    ok = final == "exec_done"
    failure = {} if ok else {"exc_type": "ValueError", "exc_message": "<b>no</b>", "traceback": "Traceback …"}
    return [
        TaskDescribed(at=at, app=app, executor="htex", depends=[number - 1] if number else [], **head),
        TaskState(at=at, try_=0, state="launched", launched=at, executor="htex", **head),
        TaskRunning(at=at + waited, try_=0, host="n1", pid=7, worker="0", pool="p", block="0", executor="htex", **head),
        TaskEnded(at=at + waited + ran, try_=0, host="n1", pid=7, ok=ok, elapsed=ran, peak_rss=1000, **failure, **head),
        TaskState(at=at + waited + ran, try_=0, state=final, **head),
        TaskSample(at=at + waited + 1, try_=0, host="n1", pid=7, rss=500, **head),
        TaskSample(at=at + waited + 2, try_=0, host="n1", pid=7, rss=600, last=True, **head),
    ]


def surroundings(at: int) -> list[Record]:
    """A node with samples, blocks, a watch with files, an agent, and something that was dropped."""
    blocks: list[Record] = [
        BlockState(at=at + n, executor="htex", block=str(block), status=status, job_id=f"job{block}")
        for block in range(3)
        for n, status in enumerate(("PENDING", "RUNNING"))
    ]
    files: list[Record] = [FileFound(at=at, watch="w", path=f"/data/{n}.h5", size=n, mtime=at) for n in range(5)]
    return [
        *[NodeSeen(at=at, host=f"n{n}", pool="p", executor="htex", block="0", workers=4) for n in range(3)],
        *[NodeSample(at=at + n, host="n1", cpu_percent=float(n)) for n in range(4)],
        *blocks,
        WatchOpened(at=at, watch="w", root="/data"),
        *files,
        AgentStatus(at=at, agent="agent-1", host="n1", pid=1, depth=77, dropped_samples=5),
        Dropped(at=at, journal="j", samples=2, states=1, reason="cap"),
    ]


def ended(at: int, *, failed: int = 0) -> list[Record]:
    return [RunEnded(at=at, completed=1, failed=failed)]
