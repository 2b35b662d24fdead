"""Ships the parcels of one run, in a thread of its own: a bus that hangs delays no sampling and no other run.

In: parcels. Out: what became of them, in a queue that the agent's loop waits on. The thread waits and tries again for
as long as the bus is away; only the loop decides to stop.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.agent.forward import Forwarder, announce
from heliograph.agent.outbox import Item, Parcel
from heliograph.agent.routes import NoRoute, Resolver, Target
from heliograph.bus import BadMessage, BadUrl, BusFull, BusUnavailable, Publisher, hidden, open_publisher
from heliograph.messages import Class
from heliograph.route import Route

log = logging.getLogger("heliograph.agent")

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
NO_ROUTE_WAIT = 0.5
"""Seconds between looks while the submitting process has not yet said where records go."""
NO_ROUTE_SOON = 60.0
"""Seconds after which it is looked for ever more rarely: a run whose directory is gone may never say it."""
FORWARD_EVERY, HELD_EVERY = 2.0, 30.0
"""Seconds between looks at what agents elsewhere left; and while samples among it have to wait there, because each look
claims all of it and gives it back."""
RETRY_BUS = 60.0
"""Seconds after which an agent that uses the spool tries the bus itself again."""


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A parcel has arrived, but for the records that no bus would ever take."""

    parcel: Parcel
    bad: list[Item] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The bus takes no samples for now."""

    parcel: Parcel


Outcome: TypeAlias = "Shipped | Refused"
OpenPublisher = Callable[[Target, str], Publisher]


class Shipper(threading.Thread):
    """`submit` parcels, read outcomes from the queue, `stop` at the end (waits for nobody)."""

    def __init__(
        self,
        route: Route,
        agent: str,
        outcomes: queue.SimpleQueue[Outcome],
        open_publisher: OpenPublisher,
        resolver: Resolver,
    ) -> None:
        super().__init__(name=f"ship {route.run}", daemon=True)
        self._agent, self._outcomes, self._open, self._resolver = agent, outcomes, open_publisher, resolver
        self._inbox: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._publisher: Publisher | None = None
        self._target: Target | None = None
        self._spooling_since: float | None = None
        self._route = route
        self._forwarder: Forwarder | None = None
        self._forward_at = 0.0
        self._said: set[str] = set()
        self.lingers = False
        """Whether agents elsewhere may still leave something for this one to ship on."""

    def submit(self, parcel: Parcel) -> None:
        self._inbox.put(parcel)

    def learn(self, route: Route) -> None:
        """More is known of the run: where its directory is, or that its own process is on this node."""
        self._route = route
        self._resolver.learn(route)
        self._inbox.put(None)

    @property
    def clock_offset(self) -> int | None:
        return self._resolver.clock_offset

    def stop(self) -> None:
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        while not self._stopping.is_set():
            forwards = self._route.owner and bool(self._route.run_dir)
            try:
                parcel = self._inbox.get(timeout=FORWARD_EVERY if forwards else None)
            except queue.Empty:
                parcel = None
            if parcel is not None:
                self._ship(parcel)
            if forwards and not self._stopping.is_set() and time.monotonic() >= self._forward_at:
                self._forward()
        self._close()
        if self._forwarder is not None:
            self._forwarder.close()

    def _ship(self, parcel: Parcel) -> None:
        wait, began = FIRST_WAIT, time.monotonic()
        while not self._stopping.is_set():
            try:
                bad = self._publish(parcel, self._current())
            except BusFull:
                if parcel.cls is Class.SAMPLES:
                    self._outcomes.put(Refused(parcel=parcel))
                    return
                self._trouble("the bus is full")
            except NoRoute as error:
                if time.monotonic() - began < NO_ROUTE_SOON:
                    wait = NO_ROUTE_WAIT
                self._trouble(str(error))
            except (BusUnavailable, BadUrl, OSError) as error:
                self._trouble(str(error))
                if not self._route.owner:
                    announce(self._route.run_dir)
            except Exception as error:
                # A carrier that breaks its promise must cost time, not records.
                log.exception("Publishing failed in a way that it should not")
                self._trouble(type(error).__name__)
            else:
                self._said.clear()
                if self._target is not None:
                    self._resolver.worked(self._target)
                self._outcomes.put(Shipped(parcel=parcel, bad=bad))
                return
            spread = wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads a herd of agents
            self._stopping.wait(min(spread, self._resolver.until_fallback()))
            wait = min(LONGEST_WAIT, wait * 2)

    def _publish(self, parcel: Parcel, publisher: Publisher) -> list[Item]:
        """Publish all of it; returns the records that can never be taken, found by halving."""
        try:
            publisher.publish([parcel.outgoing(self._agent)])
        except BadMessage as error:
            if len(parcel.items) == 1:
                tail, found = parcel.items[0]
                log.warning("Record %s:%s is refused for good and left out: %s", tail.journal, found.offset, error)
                return list(parcel.items)
            first, second = parcel.half()
            return self._publish(first, publisher) + self._publish(second, publisher)
        return []

    def _current(self) -> Publisher:
        """The publisher of the run's target, opened anew when that has changed."""
        moment = time.monotonic()
        if self._spooling_since is not None and moment - self._spooling_since >= RETRY_BUS:
            self._spooling_since = None
            self._resolver.try_again()
        target = self._resolver.target()
        if self._publisher is None or target != self._target:
            self._close()
            self._target = target
            if target.fallback:
                log.warning("No way to the bus: records go to %s", hidden(target.bus))
                self._spooling_since = moment
            self._publisher = self._open(target, self._agent)
            log.info("Publishing to %s", hidden(target.bus))
        return self._publisher

    def _trouble(self, reason: str) -> None:
        self._resolver.failed(self._target)
        self._close()
        if reason not in self._said:
            self._said.add(reason)
            log.warning("Cannot publish, records are kept: %s", reason)

    def _forward(self) -> None:
        self._forward_at = time.monotonic() + FORWARD_EVERY
        if self._forwarder is None:
            self._forwarder = Forwarder(self._route, self._agent)
        self.lingers = self._forwarder.expects(time.monotonic())
        if not self._forwarder.anything():
            return
        try:
            publisher = self._current()
            if self._target is None or self._target.fallback or self._forwarder.is_target(self._target.bus):
                self.lingers = False
                return
            self._forwarder.forward(publisher)
            if self._forwarder.held:
                self._forward_at = time.monotonic() + HELD_EVERY
        except (BusUnavailable, BusFull, BadUrl, OSError) as error:
            self._trouble(str(error))
        except Exception as error:
            # As above: this thread also ships what is recorded here.
            log.exception("Shipping on failed in a way that it should not")
            self._trouble(type(error).__name__)

    def _close(self) -> None:
        publisher, self._publisher, self._target = self._publisher, None, None
        if publisher is not None:
            try:
                publisher.close()
            except Exception as error:
                log.info("Closing the bus: %s", type(error).__name__)


def open_bus(target: Target, name: str) -> Publisher:
    """The publisher of a target. Raises BadUrl and BusUnavailable."""
    return open_publisher(target.bus, name=name, token=target.token, tls_fingerprint=target.tls_fingerprint)
