"""The window of a timeline: what the URL and the controls ask for, and what that is in time.

In: texts and numbers of a browser. Out: frozen values; whatever cannot be understood is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from heliograph_dashboard.components.times import SECOND
from heliograph_dashboard.figures.clock import Clock
from heliograph_dashboard.figures.timeline_scene import Window
from heliograph_store.read.liveness import liveness
from heliograph_store.read.runs import Run

ALL: Final = "all"
FROZEN: Final = "frozen"
NARROWEST: Final = 1_000
"""Microseconds."""
CENTURY: Final = 100 * 366 * 86_400 * SECOND


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`since` and `until` freeze the window; else it follows the run's end, `last` seconds long or whole."""

    since: int | None = None
    until: int | None = None
    last: int | None = None
    node: str | None = None

    @property
    def frozen(self) -> bool:
        return self.since is not None and self.until is not None

    @property
    def span(self) -> str:
        """What the control shows."""
        return FROZEN if self.frozen else ALL if self.last is None else str(self.last)

    def query(self) -> dict[str, str]:
        """As it stands in the URL."""
        node = {"node": self.node} if self.node else {}
        if self.since is not None and self.until is not None:
            return {"from": _text(self.since), "to": _text(self.until), **node}
        return {**({"last": str(self.last)} if self.last else {}), **node}

    def stored(self) -> dict[str, Any]:
        return {"since": self.since, "until": self.until, "last": self.last, "node": self.node}


def from_query(query: Mapping[str, str]) -> Asked:
    since, until = _time(query.get("from")), _time(query.get("to"))
    node = query.get("node") or None
    if since is not None and until is not None and since < until:
        return Asked(since=since, until=until, node=node)
    return Asked(last=_seconds(query.get("last")), node=node)


def from_store(stored: Mapping[str, Any] | None) -> Asked:
    return Asked(**stored) if stored else Asked()


def spanned(asked: Asked, span: str, drawn: tuple[int, int] | None) -> Asked:
    """The control was set: freeze what is drawn, or follow."""
    if span == FROZEN:
        return asked if asked.frozen or drawn is None else replace(asked, since=drawn[0], until=drawn[1], last=None)
    return Asked(last=_seconds(span), node=asked.node)


def moved(asked: Asked, drawn: tuple[int, int], *, shift: float = 0.0, scale: float = 1.0) -> Asked:
    """Another window, in widths of the one that is drawn."""
    since, until = drawn
    width = until - since
    middle = since + width / 2 + shift * width
    half = max(NARROWEST, width * scale) / 2
    return replace(asked, since=max(0, round(middle - half)), until=round(middle + half), last=None)


def zoomed(asked: Asked, event: Mapping[str, Any], clock: Clock) -> Asked:
    """Plotly says what the user made of the axis."""
    if event.get("all"):
        return Asked(node=asked.node)
    since, until = clock.read(event.get("from")), clock.read(event.get("to"))
    if since is None or until is None or since >= until:
        return asked
    return replace(asked, since=max(0, since), until=max(until, since + NARROWEST), last=None)


def window_of(run: Run, asked: Asked, *, now: int, zone: str | None) -> Window:
    """The window in time; `now` is the end of a run that goes on."""
    alive = run.ended is None and liveness(run, now) in {"running", "unknown"}
    last = now if alive else run.ended or run.last_seen or run.began
    if asked.since is not None and asked.until is not None:
        since, until = asked.since, asked.until
    elif asked.last is not None:
        since, until = last - asked.last * SECOND, last
    else:
        since = run.began
        until = max(last, since) + max(NARROWEST, (last - since) // 100)
    until = min(max(until, since + NARROWEST), since + CENTURY)
    return Window(since=since, until=until, last=last, lost=not alive, clock=Clock.of(until, zone))


def _text(at: int) -> str:
    moment = datetime.fromtimestamp(at // SECOND, UTC).replace(microsecond=at % SECOND, tzinfo=None)
    return moment.isoformat(timespec="milliseconds" if at % 1000 == 0 else "microseconds") + "Z"


def _time(text: str | None) -> int | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        at = int(moment.timestamp()) * SECOND + moment.microsecond
    except (OverflowError, ValueError):
        return None
    return at if at > 0 else None


def _seconds(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and 0 < int(text) < CENTURY // SECOND else None
