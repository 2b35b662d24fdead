"""What the agent keeps for each run: what waits, who ships it, and its own journal for the records that it makes.

In: a run's route and the agent's records. Out: parcels handed to the run's shipping thread.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from heliograph.agent.outbox import Outbox
from heliograph.agent.routes import Resolver
from heliograph.agent.ship import OpenPublisher, Outcome, Shipper
from heliograph.journal import Journal, Limits
from heliograph.messages import Record
from heliograph.route import Route


@dataclass(frozen=True, kw_only=True)
class Means:
    """What every run's part is made with. `resolver` makes the finder of a run's bus."""

    agent: str
    state: Path
    limits: Limits
    outcomes: queue.SimpleQueue[Outcome]
    open_publisher: OpenPublisher
    resolver: Callable[[Route], Resolver]


class RunPart:
    """One run on this node."""

    def __init__(self, route: Route, means: Means) -> None:
        self.route = route
        self.outbox = Outbox(route.run)
        self._means = means
        self.unused = False
        """Whether nobody recorded for the run here when last looked."""
        self._shipper: Shipper | None = None
        self._journal: Journal | None = None

    @property
    def recording(self) -> bool:
        """Whether there is a journal of the agent's own for this run."""
        return self._journal is not None

    @property
    def clock_offset(self) -> int | None:
        return self._shipper.clock_offset if self._shipper is not None else None

    @property
    def lingers(self) -> bool:
        """Whether agents elsewhere may still leave records of this run for this one to ship on."""
        return self._shipper is not None and self._shipper.lingers

    def learn(self, route: Route) -> None:
        """Another journal of the run: the owner's knows the run directory, and brings the spool to ship on."""
        better = replace(
            self.route,
            owner=self.route.owner or route.owner,
            run_dir=self.route.run_dir or route.run_dir,
            hub=self.route.hub or route.hub,
        )
        if better != self.route:
            self.route = better
            if self._shipper is not None:
                self._shipper.learn(better)

    def record(self, record: Record) -> bool:
        """Write down a record of the agent's own; it travels like all others."""
        if self._journal is None:
            self._journal = Journal.open(
                replace(self.route, owner=False),
                folder=self._means.state,
                limits=self._means.limits,
                start_agent=False,
                maker=self._means.agent,
            )
        return self._journal.append(record)

    def end_journal(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()

    def dispatch(self, now: float, *, hurry: bool = False) -> int:
        """Hand over what is due; returns how many parcels."""
        due = self.outbox.take(now, hurry=hurry)
        if due and self._shipper is None:
            self._shipper = Shipper(
                self.route,
                self._means.agent,
                self._means.outcomes,
                self._means.open_publisher,
                self._means.resolver(self.route),
            )
            self._shipper.start()
        for parcel in due:
            assert self._shipper is not None  # noqa: S101 - started above
            self._shipper.submit(parcel)
        return len(due)

    def stop(self, patience: float) -> None:
        """End the shipping thread; one that hangs in a bus's library is left behind (it is a daemon)."""
        shipper, self._shipper = self._shipper, None
        if shipper is not None:
            shipper.stop()
            shipper.join(patience)
