"""Writing batches into the store: the only way in.

In: batches as they came from the bus. Out: committed rows, and an account of what was done with every record.

One call is one transaction: decode, read the rows that the records concern, fold the records in, write what changed,
and change the rollups by new row minus old row. All of it happens while this writer alone holds the runs concerned, so
any number of writers may run at once. Nothing depends on the order of records, and a record that comes again changes
nothing.

Records are decoded a few batches at a time and forgotten once they are folded: those of a whole commit would be many
times what a processor's cache holds, and each look at one of them a wait for memory.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from heliograph.messages import (
    CLASS_OF,
    Aside,
    BadMessage,
    Batch,
    Class,
    Record,
    TaskRecord,
    WatchOpened,
    decode_records,
    encode,
    record_ids,
)
from heliograph_store.errors import StoreUnavailable
from heliograph_store.fold import Late, RunFold
from heliograph_store.names import Names, Translation
from heliograph_store.runwrite import RunRows, StoredRun, folded_names, stored_runs
from heliograph_store.session import write_session
from heliograph_store.sql import BadValue, TryAgain
from heliograph_store.store import Store
from heliograph_store.values import harmless, shortened

ATTEMPTS: Final = 8
"""How often a transaction that lost a deadlock is run again before the batches are given back."""
LARGE: Final = 65_536
"""A record of more bytes is looked through for texts that must be cut."""
MAX_RUN: Final = 255
"""Longest id of a run, in characters; a routing key holds no more either."""

_TAGS: Final[Mapping[type, str]] = {kind: str(kind.__struct_config__.tag) for kind in CLASS_OF}
_OF_TASKS: Final = frozenset(kind for kind in CLASS_OF if issubclass(kind, TaskRecord))


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """What became of the records of one `write`."""

    records: int
    counts: Mapping[str, int]
    """Records by kind, those that were written before included."""
    aside: tuple[Aside, ...]
    """Records that no row could be made of; they stand in the table `aside` too. Late samples are among them."""
    late: int
    """Samples from before their run's horizon."""
    samples: int
    """Samples that were new."""


@dataclass(frozen=True)
class _Incoming:
    """Batches of one run."""

    run: str
    batches: list[Batch] = field(default_factory=list)

    def groups(self) -> Iterator[list[Batch]]:
        """Batches to be folded together: samples one by one; all others at once, for they share stored rows."""
        samples = Class.SAMPLES.value
        yield [batch for batch in self.batches if batch.cls != samples]
        yield from ([batch] for batch in self.batches if batch.cls == samples)


@dataclass
class _Account:
    kinds: Counter[type] = field(default_factory=Counter)
    aside: list[Aside] = field(default_factory=list)
    broken: int = 0
    late: int = 0
    samples: int = 0

    def result(self) -> WriteResult:
        return WriteResult(
            records=self.kinds.total() + self.broken,
            counts={_TAGS[kind]: n for kind, n in self.kinds.items()},
            aside=tuple(self.aside),
            late=self.late,
            samples=self.samples,
        )


class Writer:
    """Writes batches. Not thread-safe: one writer a thread; any number of writers in any number of processes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names = Names()
        self._origins: dict[int, Mapping[str, int]] = {}

    def write(self, batches: Sequence[Batch]) -> WriteResult:
        """Return only after everything in these batches is committed.

        Raises StoreUnavailable (nothing was written: try again later) or BadMessage (nothing was written, and one
        of the batches never can be: write them one by one to learn which, and reject that one).
        """
        with _uncollected():
            return self._write(batches)

    def _write(self, batches: Sequence[Batch]) -> WriteResult:
        incoming = _incoming(batches)
        for attempt in range(ATTEMPTS):
            try:
                return self._transaction(incoming)
            except TryAgain:
                time.sleep(0.01 * 2**attempt)
            except BadValue:
                try:
                    return self._transaction(incoming, careful=True)
                except BadValue as error:
                    raise BadMessage(f"the database cannot hold these values: {error}") from error
                except TryAgain:
                    continue
        raise StoreUnavailable(f"{self._store.name}: {ATTEMPTS} deadlocks in a row")

    def _transaction(self, incoming: Sequence[_Incoming], *, careful: bool = False) -> WriteResult:
        """`careful`: with every value of every record made such that the database can hold it."""
        account = _Account()
        origins: dict[int, Mapping[str, int]] = {}
        with write_session(self._store) as session:
            translation = Translation(self._names, session)
            session.lock([part.run for part in incoming])
            stored = stored_runs(session, [part.run for part in incoming])
            folded = []
            for part in incoming:
                run = stored[part.run]
                rows = RunRows(session=session, names=translation, run=run)
                fold = rows.begin(self._origins.get(run.id, {}))
                asides = []
                for group in part.groups():
                    asides += _fold(rows, fold, _Decoded.of(group, careful=careful), account)
                rows.derive(fold)
                origins[run.id] = fold.origins
                folded.append((rows, fold, asides))
            # All names of all runs at once and sorted: two writers can only wait for each other, never deadlock.
            for table, texts in folded_names([fold for _, fold, _ in folded]):
                translation.provide(table, texts)
            for rows, fold, asides in folded:
                account.samples += rows.write(fold, asides)
        translation.remember()
        self._remember_origins(origins)
        return account.result()

    def _remember_origins(self, origins: Mapping[int, Mapping[str, int]]) -> None:
        if len(self._origins) > 1000:  # runs come and go while a writer stays
            self._origins.clear()
        self._origins.update(origins)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Rows hold no cycles, and looking for some among thousands of new rows all the time costs a tenth of a write."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _incoming(batches: Sequence[Batch]) -> list[_Incoming]:
    """Batches grouped by run."""
    runs: dict[str, _Incoming] = {}
    for batch in batches:
        if len(batch.run) > MAX_RUN or "\0" in batch.run:
            raise BadMessage(f"batch of a run whose id is longer than {MAX_RUN} characters or holds a NUL")
        runs.setdefault(batch.run, _Incoming(batch.run)).batches.append(batch)
    return [runs[run] for run in sorted(runs)]


@dataclass(frozen=True, kw_only=True)
class _Decoded:
    """Records of some batches of a run."""

    batches: Sequence[Batch]
    records: list[Record]
    broken: list[Aside]

    @classmethod
    def of(cls, batches: Sequence[Batch], *, careful: bool) -> _Decoded:
        records: list[Record] = []
        broken: list[Aside] = []
        for batch in batches:
            good, bad = decode_records(batch)
            if careful:
                good = [shortened(harmless(record)) for record in good]
            elif max(map(len, batch.records), default=0) > LARGE:
                good = [harmless(record) for record in good]
            records += good
            broken += bad
        return cls(batches=batches, records=records, broken=broken)

    def ids(self) -> list[str]:
        """Of `records`; made only for those who have to name one."""
        bad = {aside.record_id for aside in self.broken}
        return [i for batch in self.batches for i in record_ids(batch) if i not in bad]


def _fold(rows: RunRows, fold: RunFold, decoded: _Decoded, account: _Account) -> list[Aside]:
    """Fold these records in; returns those that could not be."""
    asides = list(decoded.broken)
    rows.prepare(fold, decoded.records, _origins(decoded.records))
    unusable = fold.add_all(decoded.records)
    ids = decoded.ids() if unusable else []
    for index, error in unusable:
        account.late += isinstance(error, Late)
        asides.append(Aside(raw=encode(decoded.records[index]), reason=str(error), record_id=ids[index]))
    account.kinds.update(map(type, decoded.records))
    account.broken += len(decoded.broken)
    account.aside += asides
    return asides


def _origins(records: Sequence[Record]) -> set[str]:
    """All origins that these records name."""
    # Asked for by exact type: `isinstance` and `getattr` cost many times as much, and this is once a record.
    found = {record.origin for record in records if type(record) in _OF_TASKS}  # type: ignore[attr-defined]
    if WatchOpened in set(map(type, records)):
        found |= {r.origin for r in records if type(r) is WatchOpened and r.origin is not None}
    return found


__all__ = ["StoredRun", "WriteResult", "Writer"]
