"""Which bus the records of a run go to.

In: the run's Route. Out: a target, found in this order: the environment, the route file in the run directory, the hub's
handshake; and when none of these has worked for a while, a spool in the run directory, from where the submitting node's
agent ships on. What was found is looked at again now and then, because routes come late and change.
"""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from heliograph import route as routes
from heliograph import settings
from heliograph.bus import BusUnavailable
from heliograph.route import Route, RouteFile

log = logging.getLogger("heliograph.agent")

GRACE = 30.0
"""Seconds without a way to the bus after which records go to the run directory's spool."""
LOOK_AGAIN = 15.0
"""Seconds after which the route file is read, and a hub asked, again."""
HUB_TIMEOUT = 5.0
HUB_PORT = 55055


@dataclass(frozen=True, kw_only=True)
class Target:
    """A bus with its token. `fallback`: the run directory's spool, for want of anything better."""

    bus: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    tls_fingerprint: str | None = None
    fallback: bool = False


class NoRoute(BusUnavailable):
    """Nobody has said yet where this run's records go."""


class Resolver:
    """Finds the target of one run. Used by the run's shipping thread; a hub's answer may take HUB_TIMEOUT."""

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
        except (OSError, ValueError, http.client.HTTPException) as error:
            log.info("Hub %s does not answer the handshake: %s", self._route.hub, type(error).__name__)
            return None

    def _long_failing(self, moment: float) -> bool:
        return self._failing_since is not None and moment - self._failing_since >= self._grace

    def _fallback(self) -> Target | None:
        """Not on the submitting node when the bus is known: its agent is the one that ships the spool on."""
        folder = self._route.run_dir
        if not folder or (self._route.owner and self._found is not None) or not Path(folder).is_dir():
            return None
        return Target(bus=f"spool:{routes.spool_path(folder)}", fallback=True)


def ask_hub(route: Route) -> Target:
    """The handshake: POST /v1/connect. Raises OSError, ValueError or HTTPException."""
    scheme, host, port = hub_address(route.hub or "")
    connection: http.client.HTTPConnection
    if scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=HUB_TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=HUB_TIMEOUT)
    headers = {"Content-Type": "application/json"}
    join = settings.join_token()
    if join:
        headers["Authorization"] = f"Bearer {join}"
    try:
        connection.request("POST", "/v1/connect", json.dumps({"run": route.run, "run_dir": route.run_dir}), headers)
        answer = connection.getresponse()
        body = answer.read(65536)
    finally:
        connection.close()
    if answer.status != 200:
        raise ValueError(f"the hub answers {answer.status}")
    found = json.loads(body)
    if not isinstance(found, dict) or not isinstance(found.get("bus"), str):
        raise ValueError("the answer names no bus")  # noqa: TRY004 - one thing for the caller: no route
    token = found.get("token")
    return Target(bus=found["bus"], token=token if isinstance(token, str) else None)


def hub_address(hub: str) -> tuple[str, str, int]:
    """(scheme, host, port) of 'host', 'host:port', '[v6]:port' or an http(s) URL. Raises ValueError."""
    scheme, found, rest = hub.partition("://")
    if not found:
        scheme, rest = "http", hub
    if scheme not in {"http", "https"}:
        raise ValueError(f"a hub is reached by http or https, not {scheme}")
    rest = rest.rstrip("/")
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.lstrip(":")
    elif rest.count(":") > 1:
        host, port = rest, ""
    else:
        host, _, port = rest.partition(":")
    if not host:
        raise ValueError("a hub's address has a host")
    return scheme, host, int(port) if port else HUB_PORT


def _as_target(given: RouteFile) -> Target:
    return Target(bus=given.bus, token=given.token, tls_fingerprint=given.tls_fingerprint)
