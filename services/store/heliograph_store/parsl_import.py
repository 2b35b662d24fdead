"""Turns an old Parsl monitoring database into messages, so that old runs stand beside new ones.

In: the URL of a database that Parsl wrote (read only; see `parsl_source`). Out: batches, as an agent would ship them.

The same database gives the same batches with the same record ids, and all of them merge, so importing twice changes
nothing. What Parsl did not record stays unknown: tracebacks, exits and exact peaks. Parsl's times are naive; they are
read in the zone given, or else in the zone of the machine that imports. A run that crossed a change of clocks has
one hour that is ambiguous; its first pass is assumed. While a database is read, a Parsl that still writes it waits.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec

from heliograph.messages import (
    CLASS_OF,
    SCHEMA_VERSION,
    Batch,
    BlockState,
    Class,
    NodeSeen,
    Record,
    RunEnded,
    RunStarted,
    Source,
    encode,
)
from heliograph_store.parsl_source import NotParslDatabase, OldDatabase, Row, identity
from heliograph_store.parsl_tasks import Clock, OldTasks

__all__ = ["NotParslDatabase", "OldRun", "import_batches", "old_runs"]

log = logging.getLogger(__name__)
BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class OldRun:
    """A run in an old database; times in microseconds UTC, `ended` None when Parsl never wrote its end."""

    run: str
    name: str
    began: int
    ended: int | None


def old_runs(url: str, *, zone: ZoneInfo | None = None) -> list[OldRun]:
    """The runs that `import_batches` would read, oldest first. Raises NotParslDatabase."""
    clock = Clock(zone)
    with closing(OldDatabase(url)) as old:
        rows = [(row, clock.at(row.get("time_began"))) for row in old.workflows()]
        return [
            OldRun(
                run=row["run_id"],
                name=row.get("workflow_name") or "",
                began=began,
                ended=clock.at(row.get("time_completed")),
            )
            for row, began in rows
            if began is not None
        ]


def import_batches(url: str, *, zone: ZoneInfo | None = None, runs: Sequence[str] | None = None) -> Iterator[Batch]:
    """Every run of the database (or those named) as batches, streamed. Raises NotParslDatabase.

    `zone` is that of the host that ran the workflow, None means that of this machine. Rows that cannot be understood
    (a time that is none) are left out and counted in the log.
    """
    with closing(OldDatabase(url)) as old:
        for workflow in old.workflows():
            if runs is None or workflow["run_id"] in runs:
                yield from _Run(old, workflow, zone, identity(url)).batches()


class _Run:
    """One run's rows as batches."""

    def __init__(self, old: OldDatabase, workflow: Row, zone: ZoneInfo | None, source: str) -> None:
        self.old = old
        self.workflow = workflow
        self.run: str = workflow["run_id"]
        self.clock = Clock(zone)
        self.source = hashlib.sha256(f"{source}\n{self.run}".encode()).hexdigest()[:24]
        self.left_out = 0

    def batches(self) -> Iterator[Batch]:
        began = self.clock.at(self.workflow.get("time_began"))
        if began is None:
            log.warning("run %s has no time of its beginning and is left out", self.run)
            return
        yield from self._batched("run", [self._started(began)])
        yield from self._batched("node", self._each("node", "timestamp, id", self._node))
        yield from self._batched("block", self._each("block", "executor_label, block_id, timestamp", self._block))
        tasks = OldTasks(self.old, self.run, began, self.clock)
        yield from self._batched("task", tasks.records())
        yield from self._batched("resource", tasks.samples())
        yield from self._batched("end", self._ended())
        if left_out := self.left_out + tasks.left_out:
            log.warning("run %s: %d rows could not be understood and are left out", self.run, left_out)

    def _batched(self, part: str, records: Iterable[Record]) -> Iterator[Batch]:
        """Batches of one class each; the record ids are the ordinals within this part of the run."""
        pending: list[msgspec.Raw] = []
        first = 0
        cls = Class.CONTROL
        for record in records:
            cls = CLASS_OF[type(record)]
            pending.append(msgspec.Raw(encode(record)))
            if len(pending) == BATCH:
                yield self._batch(part, cls, first, pending)
                first, pending = first + BATCH, []
        if pending:
            yield self._batch(part, cls, first, pending)

    def _batch(self, part: str, cls: Class, first: int, records: list[msgspec.Raw]) -> Batch:
        source = Source(journal=f"import:{self.source}:{part}", offsets=list(range(first, first + len(records))))
        return Batch(
            version=SCHEMA_VERSION,
            run=self.run,
            cls=cls.value,
            agent="import",
            host=self.workflow.get("host") or "",
            boot="",
            sources=[source],
            records=records,
        )

    def _each(self, table: str, order: str, read: Callable[[Row, int], Record]) -> Iterator[Record]:
        for row in self.old.rows(table, run=self.run, order=order):
            at = self.clock.at(row.get("timestamp"))
            if at is None:
                self.left_out += 1
            else:
                yield read(row, at)

    # -- the run itself ----------------------------------------------------------------------------------------------

    def _started(self, began: int) -> RunStarted:
        row = self.workflow
        return RunStarted(
            at=began,
            name=row.get("workflow_name") or "",
            version=row.get("workflow_version") or "",
            owner=row.get("user") or "",
            host=row.get("host") or "",
            run_dir=row.get("rundir") or "",
            program="parsl",
            zone=self.clock.zone.key if self.clock.zone else "",
            utc_offset=self.clock.offset(row.get("time_began")),
        )

    def _ended(self) -> list[RunEnded]:
        row = self.workflow
        at = self.clock.at(row.get("time_completed"))
        if at is None:
            return []
        return [RunEnded(at=at, completed=row.get("tasks_completed_count"), failed=row.get("tasks_failed_count"))]

    def _node(self, row: Row, at: int) -> NodeSeen:
        return NodeSeen(
            at=at,
            host=row.get("hostname") or "",
            pool=row.get("uid") or "",
            block=row.get("block_id"),
            workers=row.get("worker_count"),
            cpu_count=row.get("cpu_count"),
            memory_total=row.get("total_memory"),
            python=row.get("python_v") or "",
            active=bool(row.get("active", True)),
        )

    def _block(self, row: Row, at: int) -> BlockState:
        return BlockState(
            at=at,
            executor=row.get("executor_label") or "",
            block=str(row.get("block_id") or ""),
            status=row.get("status") or "",
            job_id=row.get("job_id"),
        )
