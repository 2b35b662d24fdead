"""One run's rows between the database and the fold: reading what is stored, writing what changed.

In: a write session that holds the run, and a `RunFold`. Out: rows and rollups in the database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, Final

from msgspec.structs import astuple
from sqlalchemy import Table

from heliograph.messages import Aside, Record, TaskDescribed, TaskEnded, TaskRunning, TaskState
from heliograph_store import schema
from heliograph_store.derive import WRONG, derive_task, derive_try, latest_try
from heliograph_store.fold import RunFold
from heliograph_store.merge import RULES, Row, merge
from heliograph_store.names import DICTIONARIES, OF_COLUMN, Translation
from heliograph_store.rollup import Deltas
from heliograph_store.schema import NUMBER_BITS, NUMBER_MASK
from heliograph_store.session import Session
from heliograph_store.sql import Values
from heliograph_store.tasks import TaskRow, TryRow

KEPT_BYTES: Final = 4096
"""How much of a record that was put aside is kept."""
MAX_REASON: Final = 500
_OF_TRIES: Final = frozenset({TaskDescribed, TaskState, TaskRunning, TaskEnded})
_OF_TASK: Final = itemgetter(1)
"""Task of a sample."""
_ZERO: Final = frozenset({"app", "runs_on"})
"""Columns of `tasks` in which 0 stands for 'not known'."""


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A row of `runs`."""

    id: int
    row: Row


def stored_runs(session: Session, runs: Sequence[str]) -> dict[str, StoredRun]:
    """The rows of these runs; a run that is not there gets a stub."""
    columns = schema.runs.c.keys()
    found = session.look_up(schema.runs, "run", runs)
    known = {values[1] for values in found}
    absent = [run for run in runs if run not in known]
    if absent:
        session.add_names(schema.runs, "run", absent)
        found += session.look_up(schema.runs, "run", absent)
    rows = [dict(zip(columns, values, strict=True)) for values in found]
    return {row["run"]: StoredRun(id=row["id"], row=row) for row in rows}


def folded_names(folds: Iterable[RunFold]) -> list[tuple[Table, set[str]]]:
    """All texts of these folds that are stored as ids, with their dictionaries, in the order of locking."""
    texts: dict[str, set[str | None]] = {table.name: set() for table in DICTIONARIES}
    apps, kinds, hosts, names = (texts[table.name] for table in DICTIONARIES)
    for fold in folds:
        for task in fold.tasks.values():
            apps.add(task.app)
            names.add(task.executor)
            names.add(task.runs_on)
        for row in fold.tries.values():
            hosts.add(row.host)
            kinds.add(row.failure)
            names.update((row.executor, row.worker, row.pool, row.block))
        hosts |= fold.new_hosts
        names |= fold.new_names
        for name, rows in fold.rows.items():
            if name != "runs":
                for values in _as_values(schema.metadata.tables[name], 0, rows):
                    for at, dictionary in _name_places(schema.metadata.tables[name]):
                        texts[dictionary].add(values[at])
    return [(table, {text for text in texts[table.name] if text is not None}) for table in DICTIONARIES]


@dataclass
class RunRows:
    """One run in one transaction: `prepare`, let the records be folded, `derive`, provide the names, `write`."""

    session: Session
    names: Translation
    run: StoredRun

    def __post_init__(self) -> None:
        self._tasks: dict[int, Values] = {}
        self._tries: dict[tuple[int, int], Values] = {}

    def begin(self, origins: Mapping[str, int]) -> RunFold:
        """A fold that holds nothing yet. `origins` are those that are known to be stored."""
        self._tasks, self._tries = {}, {}
        ids = self.names.ids
        row, hosts, texts = self.run.row, ids(schema.hosts), ids(schema.names)
        return RunFold(row["run"], origins, self.run.id, row["horizon"], host_ids=hosts, name_ids=texts)

    def prepare(self, fold: RunFold, records: Sequence[Record], origins: Set[str]) -> None:
        """Read what these records concern and the fold does not hold yet: origins, and the stored rows of tasks."""
        if not origins <= fold.origins.keys():
            fold.origins = self._origins(origins)
        index = fold.origins
        touched = {
            index[r.origin] << NUMBER_BITS | r.number  # type: ignore[attr-defined]
            for r in records
            if type(r) in _OF_TRIES and 0 <= r.number <= NUMBER_MASK  # type: ignore[attr-defined]
        }
        self._read(fold, touched - fold.tasks.keys())

    def load(self, touched: Collection[int]) -> RunFold:
        """A fold that holds the stored rows of these tasks."""
        fold = self.begin({})
        self._read(fold, touched)
        return fold

    def _origins(self, wanted: Set[str]) -> dict[str, int]:
        """Index of every origin of the run; wanted ones that are new get the next indexes."""
        session, run = self.session, self.run.id
        known = {name: idx for _, idx, name in session.select(schema.origins, run, ("run",), [(run,)])}
        absent = sorted(wanted - known.keys())
        new = {name: len(known) + i for i, name in enumerate(absent)}
        session.insert(schema.origins, [(run, idx, name) for name, idx in new.items()])
        return known | new

    def _read(self, fold: RunFold, touched: Collection[int]) -> None:
        run = self.run.id
        tasks = {values[1]: values for values in self.session.select_tasks(schema.tasks, run, touched)}
        stored = self.session.select_tasks(schema.tries, run, tasks.keys())
        tries = {(values[1], values[2]): values for values in stored}
        for key, values in zip(tasks, self._texts(schema.tasks, list(tasks.values())), strict=True):
            fold.tasks[key] = TaskRow(*values[1:])
        for at, values in zip(tries, self._texts(schema.tries, list(tries.values())), strict=True):
            fold.tries[at] = TryRow(*values[1:])
        self._tasks |= tasks
        self._tries |= tries

    def derive(self, fold: RunFold) -> None:
        """Set the derived columns of all rows in the fold."""
        failures = self._failures(fold)
        for key, row in fold.tries.items():
            derive_try(row, failures.get(key))
        for number, task in fold.tasks.items():
            derive_task(task, fold.tries.get((number, latest_try(task))))

    def _failures(self, fold: RunFold) -> dict[tuple[Any, ...], Row]:
        """What is known of every try in the fold that went wrong: stored and new, merged."""
        table, told = schema.failures, fold.rows.get("failures", {})
        keys = [
            key
            for key, row in fold.tries.items()
            if row.state in WRONG or row.ok == 0 or row.failure is not None or key in told
        ]
        found = self.session.select(table, self.run.id, ("task", "try_"), keys)
        known = {values[1:3]: dict(zip(table.c.keys(), values, strict=True)) for values in self._texts(table, found)}
        for key, row in told.items():
            known[key] = merge(row, known[key], RULES["failures"]) if key in known else row
        return known

    def write(self, fold: RunFold, asides: Sequence[Aside]) -> int:
        """Write what the fold changed; returns how many samples were new."""
        session, run = self.session, self.run.id
        deltas = Deltas(run)
        apps = self._write_tasks(fold, deltas)
        self._write_tries(fold, deltas, apps)
        session.insert_missing(schema.edges, [(run, *edge) for edge in sorted(fold.edges)])
        # In the order of their key: neighbours share a page, which then is left fuller, and found sooner.
        # By task alone: of one task they came in the order of time, and comparing one number is soon done.
        fold.samples.sort(key=_OF_TASK)
        if fold.new_hosts or fold.new_names:
            self._name_samples(fold)
        new = session.insert_missing(schema.samples, fold.samples)
        new += session.insert_missing(schema.node_samples, fold.node_samples)
        for name, rows in sorted(fold.rows.items()):
            if name != "runs":
                self._write_rows(schema.metadata.tables[name], rows)
        self._write_run(fold)
        session.insert_missing(schema.aside, [_aside_row(run, aside) for aside in asides])
        for table, counts in deltas.of_tables():
            session.add(table, counts)
        return new

    def write_derived(self, fold: RunFold) -> None:
        """Write the derived columns of what `load` loaded, and add it all to rollups that know nothing of it yet."""
        run, session, deltas = self.run.id, self.session, Deltas(self.run.id)
        tasks = self._ids(schema.tasks, [[run, *astuple(row)] for row in fold.tasks.values()])
        tries = self._ids(schema.tries, [[run, *astuple(row)] for row in fold.tries.values()])
        apps = {row[1]: row[2] for row in tasks}
        for row in tasks:
            deltas.task(None, row)
        for row in tries:
            deltas.tries(apps[row[1]], None, apps[row[1]], row)
        session.replace(schema.tasks, [row for row in tasks if self._tasks[row[1]] != row])
        session.replace(schema.tries, [row for row in tries if self._tries[row[1], row[2]] != row])
        for table, counts in deltas.of_tables():
            session.add(table, counts)

    def _write_tasks(self, fold: RunFold, deltas: Deltas) -> dict[int, tuple[int, int]]:
        """Returns the app of every task before and now."""
        run, apps = self.run.id, {}
        values = self._ids(schema.tasks, [[run, *astuple(row)] for row in fold.tasks.values()])
        new, changed = [], []
        for now in values:
            before = self._tasks.get(now[1])
            if before is None:
                new.append(now)
                deltas.task(None, now)
                apps[now[1]] = (now[2], now[2])
                continue
            apps[now[1]] = (before[2], now[2])
            if before != now:
                changed.append((before, now))
                deltas.task(before, now)
        self.session.insert(schema.tasks, new)
        self.session.update(schema.tasks, changed)
        return apps

    def _write_tries(self, fold: RunFold, deltas: Deltas, apps: Mapping[int, tuple[int, int]]) -> None:
        run = self.run.id
        values = self._ids(schema.tries, [[run, *astuple(row)] for row in fold.tries.values()])
        new, changed = [], []
        for now in values:
            app_before, app = apps[now[1]]
            before = self._tries.get((now[1], now[2]))
            if before is None:
                new.append(now)
                deltas.tries(app, None, app, now)
                continue
            if before != now:
                changed.append((before, now))
            deltas.tries(app_before, before, app, now)
        self.session.insert(schema.tries, new)
        self.session.update(schema.tries, changed)

    def _write_rows(self, table: Table, rows: Mapping[tuple[Any, ...], Row]) -> None:
        """Merge rows of a table that is written now and then with what is stored, and write the outcome."""
        run, rules = self.run.id, RULES[table.name]
        keys = tuple(column.name for column in table.primary_key.columns)[1:]
        wanted = self._ids(table, _as_values(table, run, rows))
        found = self.session.select(table, run, keys, [_key_of(table, values) for values in wanted])
        stored = {_key_of(table, values): values for values in self._texts(table, found)}
        merged = {}
        for key, row in rows.items():
            had = stored.get(key)
            merged[key] = row if had is None else merge(row, dict(zip(table.c.keys(), had, strict=True)), rules)
        before = set(found)
        after = self._ids(table, _as_values(table, run, merged))
        self.session.replace(table, [values for values in after if values not in before])

    def _write_run(self, fold: RunFold) -> None:
        before = self.run.row
        seen: Row = {"first_seen": fold.first_seen, "last_seen": fold.last_seen} if fold.last_seen else {}
        news = [seen, *fold.rows.get("runs", {}).values()]
        row = before
        for new in news:
            row = merge(row, new, RULES["runs"])
        if any(row[column] != before[column] for column in before):
            self.session.update_run(tuple(row[column.name] for column in schema.runs.columns))

    def _name_samples(self, fold: RunFold) -> None:
        """Ids in the place of texts that had none when the samples were folded."""
        for table, rows in ((schema.samples, fold.samples), (schema.node_samples, fold.node_samples)):
            for at, name in _name_places(table):
                ids = self.names.ids(schema.metadata.tables[name])
                for index, row in enumerate(rows):
                    if type(row[at]) is str:
                        rows[index] = (*row[:at], ids[row[at]], *row[at + 1 :])

    def _ids(self, table: Table, rows: list[list[Any]]) -> list[Values]:
        """The rows with ids in the place of texts."""
        # What is unknown is NULL, but 0 in columns that indexes and rollups have for a key.
        zeros = _ZERO if table is schema.tasks else ()
        columns = table.c.keys()
        for at, name in _name_places(table):
            ids = self.names.ids(schema.metadata.tables[name])
            nothing = 0 if columns[at] in zeros else None
            for row in rows:
                text = row[at]
                row[at] = nothing if text is None else ids[text]
        return list(map(tuple, rows))

    def _texts(self, table: Table, rows: Sequence[Values]) -> Iterator[Values]:
        """The rows with texts in the place of ids."""
        places = []
        for at, name in _name_places(table):
            dictionary = schema.metadata.tables[name]
            places.append((at, self.names.texts(dictionary, {row[at] for row in rows} - {None, 0})))
        for row in rows:
            values = list(row)
            for at, texts in places:
                if values[at] is not None:
                    values[at] = texts.get(values[at])
            yield tuple(values)


@cache
def _name_places(table: Table) -> tuple[tuple[int, str], ...]:
    """Where a table's rows hold ids, and of which dictionary."""
    return tuple((i, OF_COLUMN[c].name) for i, c in enumerate(table.c.keys()) if c in OF_COLUMN)


@cache
def _columns(table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A table's key columns without its run, and its other columns; keys come first in every table."""
    keys = tuple(column.name for column in table.primary_key.columns)[1:]
    return keys, tuple(c.name for c in table.columns if c.name != "run" and c.name not in keys)


def _as_values(table: Table, run: int, rows: Mapping[tuple[Any, ...], Row]) -> list[list[Any]]:
    rest = _columns(table)[1]
    return [[run, *key, *(row.get(name) for name in rest)] for key, row in rows.items()]


def _key_of(table: Table, values: Values) -> Values:
    return values[1 : 1 + len(_columns(table)[0])]


def _aside_row(run: int, aside: Aside) -> Values:
    reason = aside.reason[:MAX_REASON].replace("\0", "")
    return (run, aside.record_id[:MAX_REASON].replace("\0", ""), reason, len(aside.raw), aside.raw[:KEPT_BYTES])
