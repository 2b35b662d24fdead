"""The agent's loop: read journals, sample, hand over, confirm, delete; and end when nothing is left.

In: a namespace's journals. Out: parcels to the runs' shipping threads. All state is in this one thread; the shipping
threads give back outcomes through a queue, on which the loop sleeps. While there is traffic it looks every 0.2 seconds,
in quiet times ever more slowly, up to every 2.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable

from heliograph import __version__, state
from heliograph.agent import lease
from heliograph.agent.adopt import EVERY, adopt
from heliograph.agent.elect import Election
from heliograph.agent.followed import Journals
from heliograph.agent.outbox import Item
from heliograph.agent.persist import Progress, save
from heliograph.agent.runs import Means, RunPart
from heliograph.agent.ship import Outcome, Shipped
from heliograph.agent.spill import spill
from heliograph.agent.tail import Tail
from heliograph.agent.watch import Sample, Watch
from heliograph.journal import now
from heliograph.messages import AgentStatus, Class, JournalClosed

log = logging.getLogger("heliograph.agent")

SHORT_NAP, LONG_NAP = 0.2, 2.0
QUIET = 2.0
"""Seconds without any journal to follow after which the agent ends."""
STATUS_EVERY = 30.0
MEMORY_EVERY = 5.0
WAITING_SHARE = 0.4
"""Of the memory cap, for what waits to be shipped."""
LOCK_EVERY = 30.0
"""Seconds between looks at the own lock."""
STUCK = 3600.0
"""Seconds without any living process here, and without the bus taking anything, after which the agent gives up for now:
the records stay in their journals, for the next agent."""
DRAIN, SPILL = 3.0, 6.0
"""Seconds to ship, and then to move the rest to the spool, when told to end."""


class Agent:
    """`run` until there is nothing left to do, or `stop` was called."""

    def __init__(
        self,
        *,
        means: Means,
        journals: Journals,
        watch: Watch,
        election: Election,
        memory: Callable[[], int],
        memory_cap: int,
    ) -> None:
        self._means, self._journals, self._watch, self._election = means, journals, watch, election
        self._memory, self._memory_cap = memory, memory_cap
        self._outcomes: queue.SimpleQueue[Outcome] = means.outcomes
        self._runs: dict[str, RunPart] = {}
        self._leases = lease.Leases()
        self._nap = SHORT_NAP
        self._stopping = self._leaving = self._changed = False
        self._quiet_since: float | None = None
        self._status_at = self._memory_at = self._adopt_at = self._lock_at = 0.0
        self._useful_at = time.monotonic()
        self._shipped = self._shipped_before = self._dropped_samples = self._dropped_states = 0

    def stop(self) -> None:
        """Told to end: may be called from a signal handler."""
        self._stopping = True
        self._outcomes.put(None)  # type: ignore[arg-type]  # only wakes the loop

    def run(self) -> str:
        """Returns why it ended: 'done', 'told', 'memory', 'stuck' or 'unlocked'."""
        while not self._stopping:
            moment = time.monotonic()
            active = self._step(moment)
            given_up = self._given_up(moment)
            if given_up:
                self._save()
                self._election.drop()
                return given_up
            if self._nothing_to_do(moment) and self._election.leave(self._journals.none_left):
                return "done"
            self._collect(self._rest(moment, active))
        self._drain()
        self._election.drop()
        return "told"

    def _step(self, moment: float, *, hurry: bool = False) -> bool:
        """One round. True when there was something to do."""
        if moment >= self._adopt_at and not self._leaving:
            self._adopt_at = moment + EVERY
            adopt(self._journals.namespace)
        self._journals.discover(moment)
        found = self._pull()
        if not self._leaving:
            self._observe(moment)
        sent = sum(part.dispatch(moment, hurry=hurry or self._leaving) for part in self._runs.values())
        self._save()
        self._finish()
        return bool(found or sent)

    def _pull(self) -> int:
        total = 0
        moment = now()
        for tail in self._journals.open():
            total += self._pull_one(tail, moment)
        self._changed |= total > 0
        return total

    def _pull_one(self, tail: Tail, moment: tuple[int, int]) -> int:
        head = tail.reader.head
        part = self._runs.get(head.route.run) if head else None
        if part is not None and (part.outbox.full() or (not part.outbox.empty() and self._crowded())):
            return 0
        try:
            some = tail.pull()
        except OSError as error:
            log.warning("Journal %s cannot be read any more: %s", tail.journal, error)
            self._journals.drop(tail)
            return 0
        head = tail.reader.head
        if head is None:
            return 0
        part = part or self._runs.get(head.route.run)
        if part is None:
            part = self._runs[head.route.run] = RunPart(head.route, self._means)
        if not tail.known:
            part.learn(head.route)
            tail.known = True
        for found in some:
            part.outbox.add(tail, found)
            if not head.maker and found.cls is not Class.SAMPLES:
                self._keep(self._watch.note(self._journals.paced(head.route), found.payload, moment))
        return len(some)

    def _crowded(self) -> bool:
        """Whether what waits, of all runs together, takes its share of the memory: while the bus is away, many runs
        would otherwise fill it again and again, for one agent after the other."""
        return sum(part.outbox.memory for part in self._runs.values()) > self._memory_cap * WAITING_SHARE

    def _observe(self, moment: float) -> None:
        """Samples, heartbeats and the agent's own account."""
        stamp = now()
        intervals = self._journals.intervals()
        due = self._watch.next_at(intervals)
        if due is not None and moment >= due:
            for sample in [*self._watch.tick(stamp), *self._watch.node(intervals, stamp, moment)]:
                self._keep(sample)
            save(self._journals.namespace / "agent.tries", self._watch.remember())
        owned = self._journals.owned() - self._watch.ended_runs
        for run in self._leases.due(owned, moment):
            self._runs[run].record(lease.heartbeat(stamp))
        if moment >= self._status_at:
            self._status_at = moment + STATUS_EVERY
            self._tell_status(set(intervals))
            self._retire()

    def _keep(self, sample: Sample | None) -> None:
        if sample is not None and sample[0] in self._runs:
            self._runs[sample[0]].record(sample[1])

    def _tell_status(self, runs: set[str], *, ended: bool = False) -> None:
        at, mono = now()
        for run in runs & self._runs.keys():
            part = self._runs[run]
            status = AgentStatus(
                at=at,
                mono=mono,
                agent=self._means.agent,
                host=state.host(),
                pid=os.getpid(),
                version=__version__,
                depth=part.outbox.bytes + self._journals.unread(run),
                shipped=self._shipped,
                dropped_samples=self._dropped_samples + sum(p.outbox.thinned for p in self._runs.values()),
                dropped_states=self._dropped_states,
                torn=self._journals.torn(),
                clock_offset=part.clock_offset,
                ended=ended,
            )
            part.record(status)

    def _collect(self, patience: float) -> None:
        """Sleep until an outcome comes or the time is over; take all outcomes that are there."""
        try:
            outcome = self._outcomes.get(timeout=patience) if patience > 0 else self._outcomes.get_nowait()
            while True:
                self._settle(outcome)
                outcome = self._outcomes.get_nowait()
        except queue.Empty:
            return

    def _settle(self, outcome: Outcome | None) -> None:
        if outcome is None:
            return
        outbox = self._runs[outcome.parcel.run].outbox
        self._changed = True
        if isinstance(outcome, Shipped):
            outbox.done(outcome.parcel, outcome.bad)
            self._count(outcome.parcel.cls, len(outcome.parcel.items), outcome.bad)
        else:
            outbox.refused(outcome.parcel, time.monotonic())

    def _count(self, cls: Class, items: int, bad: list[Item]) -> None:
        self._shipped += items - len(bad)
        if cls is Class.SAMPLES:
            self._dropped_samples += len(bad)
        else:
            self._dropped_states += len(bad)

    def _save(self) -> None:
        if not self._changed:
            return
        progress = Progress(cursors=self._journals.cursors(), ended=sorted(self._watch.ended_runs))
        if save(self._journals.namespace / "agent.progress", progress):
            self._changed = False

    def _finish(self) -> None:
        """Tell the end of journals that are done with, and delete what nobody needs."""
        for tail in self._journals.finished():
            head = tail.reader.head
            if head is not None and not (head.maker and tail.reader.clean):
                at, mono = now()
                closed = JournalClosed(
                    at=at,
                    mono=mono,
                    journal=tail.journal,
                    host=head.host,
                    pid=head.pid,
                    clean=tail.reader.clean,
                    records=tail.records,
                )
                self._runs[head.route.run].record(closed)
            self._journals.remove(tail)
            self._changed = True

    def _retire(self) -> None:
        """Let go of runs for which nobody has recorded here between two looks: their journal, thread and connection.
        An agent on a login node may live for months, and see thousands of runs."""
        here, recorded = self._journals.runs(), self._journals.recorded()
        for run, part in list(self._runs.items()):
            if run in recorded or not part.unused:
                part.unused = run not in recorded
            elif part.recording:
                self._tell_status({run}, ended=True)
                part.end_journal()
            elif run not in here and part.outbox.empty() and not part.lingers:
                part.stop(0.0)
                self._dropped_samples += part.outbox.thinned
                self._watch.forget(run)
                self._changed = True
                del self._runs[run]

    def _nothing_to_do(self, moment: float) -> bool:
        """No journal of others for a while; then also the agent's own journals are closed, shipped and gone."""
        if self._journals.others():
            self._quiet_since, self._leaving = None, False
            return False
        if self._quiet_since is None:
            self._quiet_since = moment
        if not self._leaving and moment - self._quiet_since >= QUIET:
            self._leaving = True
            self._close_own()
        if not self._leaving or self._journals.any():
            return False
        return all(part.outbox.empty() and not part.lingers for part in self._runs.values())

    def _close_own(self) -> None:
        self._tell_status(set(self._runs), ended=True)
        for part in self._runs.values():
            part.end_journal()

    def _rest(self, moment: float, active: bool) -> float:
        """How long to sleep: not past anything that is due."""
        short = active or (self._leaving and self._journals.any())
        self._nap = SHORT_NAP if short else min(LONG_NAP, self._nap * 1.5)
        due = [self._watch.next_at(self._journals.intervals()), self._leases.next_at()]
        due += [part.outbox.next_at() for part in self._runs.values()]
        times = [at - moment for at in due if at is not None]
        return max(0.0 if active else 0.01, min([self._nap, *times]))

    def _given_up(self, moment: float) -> str:
        """Why to leave the rest to the next agent, '' when there is no reason."""
        if self._over_memory(moment):
            return "memory"
        if self._stuck(moment):
            return "stuck"
        if moment >= self._lock_at:
            self._lock_at = moment + LOCK_EVERY
            return "" if self._election.keep() else "unlocked"
        return ""

    def _over_memory(self, moment: float) -> bool:
        if moment < self._memory_at:
            return False
        self._memory_at = moment + MEMORY_EVERY
        used = self._memory()
        if used > self._memory_cap:
            log.warning(
                "Over the memory cap (%d of %d bytes): the next record starts another agent", used, self._memory_cap
            )
            return True
        return False

    def _stuck(self, moment: float) -> bool:
        if self._journals.living() or self._shipped != self._shipped_before:
            self._useful_at, self._shipped_before = moment, self._shipped
        return moment - self._useful_at > STUCK

    def _drain(self) -> None:
        """Told to end: ship for a few seconds; what is left goes to the runs' spools."""
        for sample in self._watch.tick(now()):
            self._keep(sample)
        self._close_own()
        self._leaving = True
        deadline = time.monotonic() + DRAIN
        while True:
            moment = time.monotonic()
            active = self._step(moment, hurry=True)
            empty = all(part.outbox.empty() for part in self._runs.values())
            if (empty and not active) or moment >= deadline:
                break
            self._collect(0.05)
        for part in self._runs.values():
            part.stop(0.0)
        self._spill(time.monotonic() + SPILL)
        self._save()

    def _spill(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            moved = sum([spill(part, self._means) for part in self._runs.values()])
            self._changed |= moved > 0
            if not moved or not self._pull():
                return
