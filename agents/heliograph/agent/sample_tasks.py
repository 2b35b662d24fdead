"""Samples of tries: what each try's process and its descendants have used since the try began.

In: the tries that run here, and one walk of the process table a tick whatever their number. Out: a TaskSample for each
try that is due, and one more at its end.

Whose a process is: the try's whose registered process is its nearest ancestor (itself included). An orphan stays with
the try that it belonged to. Tries that share a process (threads) each get a sample of the whole process, marked
`shared`: never to be summed.

How totals stay true: a try's counters are sums of *growth* between walks, so they never fall. When a child is reaped,
the kernel adds its times to its parent's; of that growth only what was not billed before is new. The first walk that
sees a process bills it whole when it was born during the try and otherwise from now on; the registered process from the
CPU times that its TaskRunning carried (a reused worker's past is not this try's).

What is approximate: context switches and bytes of a reused worker before the first walk are missed. Where another try's
process is reaped between two walks, short-lived siblings of that interval are missed, because counting twice would be
worse; one that lived and ended between two walks is counted with its parent's try. Memory is a sum of resident sizes,
so shared pages count once a process.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import psutil

from heliograph import state
from heliograph.agent.processes import Details, ProcessTable, Row, process_table
from heliograph.agent.whose import ActiveTry, Counters, ProcessKey, Seen, TryKey, Walk
from heliograph.messages import TaskEnded, TaskSample

__all__ = ["ActiveTry", "TaskSampler"]
_FORGET_AFTER = 20
"""Walks without a sign of a try or process after which it is forgotten, should nobody have told its end."""


class _Known(msgspec.Struct, array_like=True):
    """What is known of a try: totals so far, the largest memory, when it was last sent, and the last sample's rest."""

    total: Counters
    peak: int = 0
    sent: int = 0
    missed: int = 0
    io_known: bool = False
    switches_known: bool = False
    sample: TaskSample | None = None


class _State(msgspec.Struct, array_like=True):
    """A snapshot. Create times are ticks since boot: of another boot it is worthless."""

    boot: str
    seen: list[tuple[tuple[int, int | None], Seen]]
    tries: list[tuple[TryKey, _Known]]


class TaskSampler:
    """Not thread-safe: one thread ticks, asks for ends and takes snapshots."""

    def __init__(self, table: ProcessTable | None = None, *, boot: str | None = None) -> None:
        self._table = process_table() if table is None else table
        self._boot = state.boot_id() if boot is None else boot
        self._memory_total = psutil.virtual_memory().total
        self._seen: dict[ProcessKey, Seen] = {}
        self._tries: dict[TryKey, _Known] = {}

    def tick(self, active: Collection[ActiveTry], now: tuple[int, int]) -> list[TaskSample]:
        """Samples of the tries that are due; see `keyed`."""
        return [sample for _, sample in self.keyed(active, now)]

    def keyed(self, active: Collection[ActiveTry], now: tuple[int, int]) -> list[tuple[TryKey, TaskSample]]:
        """Samples of the tries that are due at `now` (`journal.now()`: wall and monotonic microseconds), each with the
        key of its try, because a sample itself does not name its run.

        `active` are all tries that run on this host, due or not: they decide whose a process is. Without one that is
        due nothing is read.
        """
        self._forget(active)
        due = [t for t in active if self._due(t, now[1])]
        if not due:
            return []
        walk = Walk(self._table.rows(), active, self._seen)
        details = {pid: self._table.details(pid) for pid in walk.owned}
        walk.refine({pid: known.rss for pid, known in details.items() if known.rss is not None})
        growth = {row.pid: self._growth(row, details[row.pid], walk) for row in walk.members()}
        for try_ in active:
            self._account(try_, walk, growth, details)
        self._remember(walk, details)
        samples = [(try_.key, self._sample(try_, walk, now)) for try_ in due if walk.has(try_)]
        return [(key, sample) for key, sample in samples if sample is not None]

    def ended(self, try_: ActiveTry, now: tuple[int, int], record: TaskEnded | None = None) -> TaskSample | None:
        """The try's last sample, from what the walks saw and its own TaskEnded knew; None when no walk saw it (its
        TaskEnded says all then). Forgets the try."""
        known = self._tries.pop(try_.key, None)
        if known is None or known.sample is None:
            return None
        last = known.sample
        if record is not None and not try_.shared:
            last = msgspec.structs.replace(
                last,
                cpu_user=_larger(last.cpu_user, record.cpu_user),
                cpu_system=_larger(last.cpu_system, record.cpu_system),
                peak_rss=_larger(last.peak_rss, record.peak_rss if record.peak_exact else None),
            )
        return msgspec.structs.replace(last, at=now[0], mono=now[1], last=True)

    def snapshot(self) -> bytes:
        """Everything needed to go on after a restart of the agent."""
        return msgspec.msgpack.encode(_State(self._boot, list(self._seen.items()), list(self._tries.items())))

    def restore(self, raw: bytes) -> bool:
        """Go on from a snapshot. False, and nothing changed, when it is of another boot or cannot be read."""
        try:
            state = msgspec.msgpack.decode(raw, type=_State)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        if state.boot != self._boot:
            return False
        self._seen = dict(state.seen)
        self._tries = dict(state.tries)
        return True

    def _due(self, try_: ActiveTry, mono: int) -> bool:
        known = self._tries.get(try_.key)
        # A twentieth early is on time: ticks are never exact, and waiting for the next one would halve the rate.
        return known is None or known.sent == 0 or mono - known.sent >= try_.interval * 950_000

    def _forget(self, active: Collection[ActiveTry]) -> None:
        keys = {t.key for t in active}
        for key, known in list(self._tries.items()):
            known.missed = 0 if key in keys else known.missed + 1
            if known.missed > _FORGET_AFTER:
                del self._tries[key]

    def _growth(self, row: Row, details: Details, walk: Walk) -> Counters | None:
        """What a process that was seen before used since, without what its reaped children were billed for."""
        before = self._seen.get((row.pid, row.create_time))
        if before is None:
            return None
        if before.owner != walk.owned[row.pid]:
            return Counters()  # changed hands since the last walk: nobody knows whose the growth is
        grown = _since(_own(row, details, before.own), before.own)
        billed, foreign = walk.vanished.get((row.pid, row.create_time), (Counters(), False))
        reaped_user, reaped_system = row.reaped_user - before.reaped_user, row.reaped_system - before.reaped_system
        if not foreign:
            grown.user += max(0, reaped_user - billed.user)
            grown.system += max(0, reaped_system - billed.system)
        grown.read = max(0, grown.read - billed.read)
        grown.write = max(0, grown.write - billed.write)
        return grown

    def _account(
        self, try_: ActiveTry, walk: Walk, growth: dict[int, Counters | None], details: dict[int, Details]
    ) -> None:
        if not walk.has(try_):
            return
        known = self._tries.get(try_.key)
        fresh = known is None
        if known is None:
            known = self._tries[try_.key] = _Known(Counters())
        began = self._table.started(try_.mono) if try_.mono else None
        resident = 0
        for row in walk.of(try_):
            grown = growth[row.pid]
            is_root = row.pid == try_.pid
            born = began is not None and row.create_time is not None and row.create_time >= began
            if grown is None or (fresh and (is_root or walk.was_of(row, try_))):
                grown = _first(row, details[row.pid], try_ if is_root else None, born=born)
            known.total.add(grown)
            resident += row.rss
            known.io_known |= details[row.pid].read is not None
            known.switches_known |= details[row.pid].voluntary is not None
            if born:
                known.peak = max(known.peak, details[row.pid].peak or 0)
        known.peak = max(known.peak, resident)

    def _remember(self, walk: Walk, details: dict[int, Details]) -> None:
        seen: dict[ProcessKey, Seen] = {}
        for row in walk.members():
            key = (row.pid, row.create_time)
            before = self._seen.get(key)
            own = _own(row, details[row.pid], before.own if before else Counters())
            seen[key] = Seen(own, row.reaped_user, row.reaped_system, walk.owned[row.pid], walk.key(row.ppid))
        # Released by its try and not yet taken by another: an idle worker, remembered so that its past stays its own.
        for key, before in self._seen.items():
            if key not in seen and walk.alive(key):
                seen[key] = before
        self._seen = seen

    def _sample(self, try_: ActiveTry, walk: Walk, now: tuple[int, int]) -> TaskSample | None:
        known = self._tries.get(try_.key)
        if known is None:
            return None
        rows = walk.of(try_)
        root = next((row for row in rows if row.pid == try_.pid), None)
        total, resident = known.total, sum(row.rss for row in rows)
        known.sent = now[1]
        known.sample = TaskSample(
            at=now[0],
            mono=now[1],
            origin=try_.origin,
            number=try_.number,
            try_=try_.try_,
            host=try_.host,
            pid=try_.pid,
            cpu_user=total.user,
            cpu_system=total.system,
            rss=resident,
            peak_rss=known.peak,
            vms=sum(row.vms for row in rows),
            threads=sum(row.threads for row in rows),
            children=len(rows) - (root is not None),
            read_bytes=total.read if known.io_known else None,
            write_bytes=total.write if known.io_known else None,
            ctx_voluntary=total.voluntary if known.switches_known else None,
            ctx_involuntary=total.involuntary if known.switches_known else None,
            memory_percent=round(100 * resident / self._memory_total, 3) if self._memory_total else None,
            status=root.status if root else None,
            cpu_num=root.cpu_num if root else None,
            shared=try_.shared or walk.crowded(try_),
            interval=try_.interval,
        )
        return known.sample


def _own(row: Row, details: Details, before: Counters) -> Counters:
    """The process's own totals; what cannot be read now stays at what it was."""
    read, write, voluntary, involuntary, *_ = details
    return Counters(
        row.user,
        row.system,
        before.read if read is None else read,
        before.write if write is None else write,
        before.voluntary if voluntary is None else voluntary,
        before.involuntary if involuntary is None else involuntary,
    )


def _since(now: Counters, before: Counters) -> Counters:
    return Counters(
        max(0, now.user - before.user),
        max(0, now.system - before.system),
        max(0, now.read - before.read),
        max(0, now.write - before.write),
        max(0, now.voluntary - before.voluntary),
        max(0, now.involuntary - before.involuntary),
    )


def _first(row: Row, details: Details, root: ActiveTry | None, *, born: bool) -> Counters:
    """What a process has used for the try at the first walk that sees it there."""
    if born:
        whole = _own(row, details, Counters())
        return Counters(
            row.user + row.reaped_user,
            row.system + row.reaped_system,
            whole.read,
            whole.write,
            whole.voluntary,
            whole.involuntary,
        )
    if root is None or root.cpu_user is None or root.cpu_system is None:
        return Counters()
    user, system = row.user + row.reaped_user, row.system + row.reaped_system
    return Counters(max(0, user - root.cpu_user), max(0, system - root.cpu_system))


def _larger(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)
