"""The journals that an agent follows.

In: the namespace's folder, and how far the agent before had come. Out: a tail for each journal: found, read, deleted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from heliograph.agent.persist import Cursor
from heliograph.agent.tail import Tail
from heliograph.route import Route

log = logging.getLogger("heliograph.agent")

LIST_EVERY = 10.0
"""Seconds after which the folder is listed even when its time stamp says that nothing has changed."""
UNREADABLE = "unreadable"
"""Folder of a namespace for journals that a person has to look at."""
EMPTY_FOR = 60.0
"""Seconds after which a journal without a segment is given up: its process died before it wrote anything."""


class Journals:
    """Not thread-safe. `agent` is the id under which the agent's own records stand, `least_interval` the least seconds
    between samples that the site allows."""

    def __init__(self, namespace: Path, agent: str, cursors: dict[str, Cursor], *, least_interval: float = 0.0) -> None:
        self.namespace = namespace
        self._folder = namespace / "journals"
        self._agent = agent
        self._least = least_interval
        self._cursors = cursors
        self._tails: dict[str, Tail] = {}
        self._stamp = 0
        self._list_at = 0.0
        self._torn = 0
        self._kept: set[str] = set()
        """Journals that are done with and cannot be deleted: shipped again and again if they were followed again."""

    def discover(self, moment: float) -> None:
        """Find new journals."""
        stamp = self._folder.stat().st_mtime_ns
        fresh = time.time_ns() - stamp < 2_000_000_000  # a second change within the clock's tick would not be seen
        if stamp == self._stamp and not fresh and moment < self._list_at:
            return
        self._stamp, self._list_at = stamp, moment + LIST_EVERY
        for folder in self._folder.iterdir():
            if folder.name not in self._tails and folder.name not in self._kept:
                self._tails[folder.name] = Tail(folder, self._cursors.pop(folder.name, None))
        self._cursors.clear()  # the rest are of journals that are gone

    def open(self) -> list[Tail]:
        return [tail for tail in self._tails.values() if not tail.reader.ended]

    def finished(self) -> list[Tail]:
        """Those that are done with; and segments of others that are."""
        done = []
        for tail in self._tails.values():
            if tail.finished() or self._never_written(tail):
                done.append(tail)
            else:
                tail.tidy()
        return done

    def remove(self, tail: Tail) -> None:
        """Delete a journal that is done with."""
        try:
            if tail.reader.head is None and tail.reader.position > 0:
                self._set_aside(tail)
            else:
                tail.reader.remove()
        except OSError as error:
            log.warning("Journal %s cannot be deleted: %s", tail.journal, error)
            self._kept.add(tail.journal)
        self._forget(tail)

    def drop(self, tail: Tail) -> None:
        """It cannot be read: when it is listed again, it is read on from where it was."""
        self._cursors[tail.journal] = tail.cursor()
        self._forget(tail)

    def _forget(self, tail: Tail) -> None:
        tail.reader.close()
        self._torn += tail.reader.torn
        del self._tails[tail.journal]

    def any(self) -> bool:
        return bool(self._tails)

    def others(self) -> bool:
        """Whether there is a journal that is not the agent's own."""
        return any(tail.reader.head is None or tail.reader.head.maker != self._agent for tail in self._tails.values())

    def runs(self) -> set[str]:
        """The runs of all journals that are here."""
        return {tail.reader.head.route.run for tail in self._tails.values() if tail.reader.head is not None}

    def recorded(self) -> set[str]:
        """The runs for which somebody but agents has recorded here."""
        heads = (tail.reader.head for tail in self._tails.values())
        return {head.route.run for head in heads if head is not None and not head.maker}

    def none_left(self) -> bool:
        return all(folder.name in self._kept for folder in self._folder.iterdir())

    def intervals(self) -> dict[str, float]:
        """The runs with a living process here, and the seconds between their samples."""
        return {route.run: self.paced(route).sample_interval for route in self._living()}

    def paced(self, route: Route) -> Route:
        """The route with its samples no closer than the site allows; a run that wants none gets none."""
        if 0 < route.sample_interval < self._least:
            return replace(route, sample_interval=self._least)
        return route

    def living(self) -> bool:
        """Whether a process may still record here."""
        return next(iter(self._living()), None) is not None

    def owned(self) -> set[str]:
        """The runs whose own process lives here."""
        return {route.run for route in self._living() if route.owner}

    def cursors(self) -> dict[str, Cursor]:
        return {name: tail.cursor() for name, tail in self._tails.items()}

    def unread(self, run: str) -> int:
        """Bytes of a run's journals that were not read yet."""
        total = 0
        for tail in self.open():
            if tail.reader.head is not None and tail.reader.head.route.run == run:
                try:
                    total += tail.reader.unread()
                except OSError:
                    continue
        return total

    def torn(self) -> int:
        return self._torn + sum(tail.reader.torn for tail in self._tails.values())

    def _living(self) -> Iterable[Route]:
        for tail in self.open():
            if tail.reader.head is not None and not tail.reader.head.maker:
                yield tail.reader.head.route

    def _never_written(self, tail: Tail) -> bool:
        if tail.reader.head is not None or tail.reader.position:
            return False
        try:
            return time.time() - tail.reader.folder.stat().st_mtime > EMPTY_FOR and not any(
                tail.reader.folder.glob("*.seg")
            )
        except OSError:
            return True

    def _set_aside(self, tail: Tail) -> None:
        """A journal whose heads are all broken: nobody knows whose records these are. Kept for a person to look at."""
        aside = self.namespace / UNREADABLE
        aside.mkdir(mode=0o700, exist_ok=True)
        tail.reader.folder.rename(aside / tail.journal)
        log.error("Journal %s has no readable head; it is kept in %s", tail.journal, aside)
