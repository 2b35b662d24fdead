"""Which bus the records of a run go to.

In: the run's Route. Out: a target, found in this order: the environment, the route file in the run directory, the hub's
handshake; and when none of these has worked for a while, a spool in the run directory, from where the submitting node's
agent ships on. What was found is looked at again now and then, because routes come late and change.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from heliograph import handshake
from heliograph import route as routes
from heliograph.bus import BusUnavailable
from heliograph.route import Route, RouteFile

log = logging.getLogger("heliograph.agent")

GRACE = 30.0
"""Seconds without a way to the bus after which records go to the run directory's spool."""
LOOK_AGAIN = 15.0
"""Seconds after which the route file is read, and a hub asked, again."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A bus with its token. `fallback`: the run directory's spool, for want of anything better. `clock_offset`: this
    host's clock minus the hub's in microseconds, where a hub was asked."""

    bus: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    tls_fingerprint: str | None = None
    fallback: bool = False
    clock_offset: int | None = field(default=None, compare=False)


class NoRoute(BusUnavailable):
    """Nobody has said yet where this run's records go."""


class Resolver:
    """Finds the target of one run. Used by the run's shipping thread; a hub's answer may take seconds."""

    def __init__(
        self,
        route: Route,
        *,
        ask: Callable[[Route], Target] | None = None,
        clock: Callable[[], float] = time.monotonic,
        grace: float = GRACE,
    ) -> None:
        self._route, self._clock, self._grace = route, clock, grace
        self._ask = ask or ask_hub
        self._found: Target | None = None
        self._from_hub = False
        self._look_at = self._ask_at = float("-inf")
        self._failing_since: float | None = None

    def target(self) -> Target:
        """Where to publish now. Raises NoRoute when nobody knows yet."""
        moment = self._clock()
        if moment >= self._look_at:
            self._look(moment)
        if self._found is None and self._failing_since is None:
            self._failing_since = moment
        if self._long_failing(moment):
            fallback = self._fallback()
            if fallback is not None:
                return fallback
        if self._found is None:
            raise NoRoute("no route to a bus is known yet")
        return self._found

    @property
    def clock_offset(self) -> int | None:
        """This host's clock minus the hub's in microseconds, None when no hub was asked."""
        return self._found.clock_offset if self._found is not None else None

    def learn(self, route: Route) -> None:
        """More is known of the run; look at once."""
        self._route, self._look_at = route, float("-inf")

    def worked(self, target: Target) -> None:
        """Publishing to this target went well."""
        if not target.fallback:
            self._failing_since = None

    def failed(self, target: Target | None) -> None:
        """Publishing did not go well: look for another route soon."""
        moment = self._clock()
        if self._failing_since is None:
            self._failing_since = moment
        if target is not None and not target.fallback:
            self._look_at = min(self._look_at, moment + 1.0)
            self._from_hub = False

    def until_fallback(self) -> float:
        """Seconds until the spool takes the place of a bus that fails; infinity when none would."""
        if self._failing_since is None or self._fallback() is None:
            return float("inf")
        left = self._failing_since + self._grace - self._clock()
        return left + 0.01 if left > 0 else float("inf")

    def try_again(self) -> None:
        """Give the bus itself another chance while the spool is used."""
        if self._found is not None:
            self._failing_since = None

    def _look(self, moment: float) -> None:
        """Files are looked at every second while nothing is known; a hub is asked more rarely, or when it failed."""
        self._look_at = moment + (1.0 if self._found is None and not self._long_failing(moment) else LOOK_AGAIN)
        given = routes.environment_route() or routes.read_route(self._route.run_dir)
        if given is not None:
            self._use(_as_target(given), from_hub=False)
        elif self._route.hub and not self._from_hub and moment >= self._ask_at:
            self._ask_at = moment + LOOK_AGAIN
            answer = self._answer()
            if answer is not None:
                self._use(answer, from_hub=True)

    def _use(self, target: Target, *, from_hub: bool) -> None:
        if target != self._found:
            self._found, self._failing_since = target, None
        self._from_hub = from_hub

    def _answer(self) -> Target | None:
        try:
            return self._ask(self._route)
        except (handshake.NoHub, handshake.Refused, OSError) as error:
            log.info("Hub %s gives no route: %s", self._route.hub, error)
            return None

    def _long_failing(self, moment: float) -> bool:
        return self._failing_since is not None and moment - self._failing_since >= self._grace

    def _fallback(self) -> Target | None:
        """Not on the submitting node when the bus is known: its agent is the one that ships the spool on."""
        folder = self._route.run_dir
        if not folder or (self._route.owner and self._found is not None) or not os.path.isdir(folder):
            return None
        return Target(bus=f"spool:{routes.spool_path(folder)}", fallback=True)


def ask_hub(route: Route) -> Target:
    """The handshake with the route's hub. Raises NoHub and Refused."""
    return _as_target(
        handshake.connect(route.hub or "", run=route.run, run_dir=route.run_dir, interval=route.sample_interval)
    )


def _as_target(given: RouteFile) -> Target:
    return Target(
        bus=given.bus, token=given.token, tls_fingerprint=given.tls_fingerprint, clock_offset=given.clock_offset
    )
