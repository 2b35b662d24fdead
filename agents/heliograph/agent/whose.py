"""Whose a process is: one walk of the process table, and what the walk before left behind.

In: rows of the process table, the tries that run here, processes as last seen. Out: for every process the registered
process that it belongs to (its nearest registered ancestor, itself included; an orphan stays where it was), and for
every living process what its vanished descendants had been billed for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from heliograph.agent.processes import Row

ProcessKey = tuple[int, "int | None"]
"""(pid, create_time): a pid alone may have been given to another process since."""
TryKey = tuple[str, str, int, int]
"""(run, origin, number, try_)."""


class ActiveTry(msgspec.Struct, frozen=True, kw_only=True):
    """A try that runs on this host, as its TaskRunning told it. `mono` is that record's time in microseconds (0 when
    unknown), `cpu_*` the process's CPU times before the try, `interval` the seconds between its samples."""

    run: str
    origin: str
    number: int
    try_: int
    host: str
    pid: int
    create_time: int | None = None
    shared: bool = False
    interval: float = 10.0
    mono: int = 0
    cpu_user: int | None = None
    cpu_system: int | None = None

    @property
    def key(self) -> TryKey:
        return (self.run, self.origin, self.number, self.try_)

    @property
    def process(self) -> ProcessKey:
        return (self.pid, self.create_time)


class Counters(msgspec.Struct, array_like=True):
    """Totals that only grow: microseconds of CPU, bytes, context switches."""

    user: int = 0
    system: int = 0
    read: int = 0
    write: int = 0
    voluntary: int = 0
    involuntary: int = 0

    def add(self, other: Counters) -> None:
        self.user += other.user
        self.system += other.system
        self.read += other.read
        self.write += other.write
        self.voluntary += other.voluntary
        self.involuntary += other.involuntary


class Seen(msgspec.Struct, array_like=True):
    """A process at the last walk: its totals without and of reaped children, and whose it was. `io` of /proc
    holds reaped children's bytes in the same number."""

    own: Counters
    reaped_user: int
    reaped_system: int
    owner: tuple[int, int | None]
    parent: tuple[int, int | None]

    def everything(self) -> Counters:
        return Counters(
            self.own.user + self.reaped_user, self.own.system + self.reaped_system, self.own.read, self.own.write
        )


class Walk:
    """One walk of the process table: which process belongs to which registered one."""

    def __init__(self, rows: dict[int, Row], active: Iterable[ActiveTry], seen: dict[ProcessKey, Seen]) -> None:
        self._rows = rows
        self._seen = seen
        self._tries: dict[ProcessKey, int] = defaultdict(int)
        self._roots: dict[int, ProcessKey] = {}
        for try_ in active:
            self._tries[try_.process] += 1
            row = rows.get(try_.pid)
            if row is not None and (try_.create_time is None or row.create_time == try_.create_time):
                self._roots[try_.pid] = try_.process
        self.owned: dict[int, ProcessKey] = {}
        """Pid to the registered process that it belongs to, for every process that belongs to one."""
        owners: dict[int, ProcessKey | None] = {}
        for pid in rows:
            owner = self._owner(pid, owners)
            if owner is not None:
                self.owned[pid] = owner
        self._members: dict[ProcessKey, list[Row]] = defaultdict(list)
        for pid, owner in self.owned.items():
            self._members[owner].append(rows[pid])
        self.vanished = self._vanished()

    def refine(self, resident: dict[int, int]) -> None:
        """Better figures of resident memory for the processes that belong to a try."""
        for rows in self._members.values():
            rows[:] = [row._replace(rss=resident.get(row.pid, row.rss)) for row in rows]

    def members(self) -> Iterable[Row]:
        return (self._rows[pid] for pid in self.owned)

    def of(self, try_: ActiveTry) -> list[Row]:
        return self._members.get(try_.process, [])

    def has(self, try_: ActiveTry) -> bool:
        return try_.process in self._members

    def crowded(self, try_: ActiveTry) -> bool:
        return self._tries[try_.process] > 1

    def alive(self, key: ProcessKey) -> bool:
        return self.key(key[0]) == key

    def key(self, pid: int) -> ProcessKey:
        row = self._rows.get(pid)
        return (pid, None if row is None else row.create_time)

    def was_of(self, row: Row, try_: ActiveTry) -> bool:
        """Whether the walk before saw this process with the same registered one, for an earlier try."""
        before = self._seen.get((row.pid, row.create_time))
        return before is not None and before.owner == try_.process

    def _owner(self, pid: int, owners: dict[int, ProcessKey | None]) -> ProcessKey | None:
        """Nearest registered ancestor. Walks up until something known, then fills in the way it came."""
        way: list[int] = []
        owner: ProcessKey | None = None
        at = pid
        while at in self._rows:
            if at in owners:
                owner = owners[at]
                break
            way.append(at)
            owners[at] = None  # a loop (a torn read of the table) ends here
            if at in self._roots:
                owner = self._roots[at]
                break
            at = self._rows[at].ppid
        for step in reversed(way):
            owner = owner or self._adopted(step)
            owners[step] = owner
        return owner

    def _adopted(self, pid: int) -> ProcessKey | None:
        """The former owner of an orphan, as long as a try is running there."""
        before = self._seen.get(self.key(pid))
        return before.owner if before is not None and before.owner in self._tries else None

    def _vanished(self) -> dict[ProcessKey, tuple[Counters, bool]]:
        """For each living process: what its vanished descendants had been billed for already (they were reaped into
        its counters), and whether one of them belonged to another try."""
        found: dict[ProcessKey, tuple[Counters, bool]] = {}
        for key, gone in self._seen.items():
            if self.alive(key):
                continue
            heir = gone.parent
            for _ in range(len(self._seen)):
                if self.alive(heir) or heir not in self._seen:
                    break
                heir = self._seen[heir].parent
            if self.alive(heir) and heir in self._seen:
                billed, foreign = found.get(heir, (Counters(), False))
                billed.add(gone.everything())
                found[heir] = (billed, foreign or gone.owner != self._seen[heir].owner)
        return found
