"""A journal that the agent follows, and how far what was read of it is confirmed.

In: a journal's folder and where the agent before this one had come to. Out: records to ship; a position for each class
(samples may be held back while states go on), from which a next agent goes on.
"""

from __future__ import annotations

from pathlib import Path

from heliograph.agent.persist import Cursor
from heliograph.journal_reader import Found, Reader
from heliograph.messages import Class


class Tail:
    """One journal. A record is pending from `pull` until `confirm` or `give_up`."""

    def __init__(self, folder: Path, cursor: Cursor | None = None) -> None:
        cursor = cursor or Cursor(confirmed={})
        # A class that an older agent did not know has nothing in what that agent was done with.
        done = min(cursor.confirmed.values(), default=0)
        self._floor = {cls: cursor.confirmed.get(cls, done) for cls in Class}
        self._first_pending = dict(self._floor)
        self._pending = dict.fromkeys(Class, 0)
        self.records = cursor.records
        self.known = False
        """Whether the run has learnt of this journal's route."""
        self._nameless = False
        self.reader = Reader(folder, position=min(self._floor.values()), clean=cursor.clean)

    @property
    def journal(self) -> str:
        return self.reader.journal

    def pull(self) -> list[Found]:
        """The next records that are there, none as long as no head says whose they are. Raises OSError."""
        some = self.reader.read()
        if self.reader.head is None:
            self._nameless = True
            return []
        if self._nameless:  # a later segment's head says it
            self._nameless = False
            self.reader.close()
            self.reader = Reader(self.reader.folder, position=min(self._floor.values()))
            some = self.reader.read()
        found = [one for one in some if one.offset >= self._floor[one.cls]]
        for one in found:
            if not self._pending[one.cls]:
                self._first_pending[one.cls] = one.offset
            self._pending[one.cls] += 1
        return found

    def confirm(self, cls: Class, end: int, count: int) -> None:
        """The bus has `count` more records of this class, the last one ending at `end`."""
        self._pending[cls] -= count
        self._first_pending[cls] = max(self._first_pending[cls], end)
        self.records += count

    def give_up(self, cls: Class) -> None:
        """One record will not be shipped (thinned out, or refused for good); the caller has counted it."""
        self._pending[cls] -= 1

    def position(self, cls: Class) -> int:
        """Below this everything of the class is done with."""
        if self.reader.head is None:
            return self._floor[cls]
        return self._first_pending[cls] if self._pending[cls] else max(self.reader.position, self._floor[cls])

    def settled(self) -> bool:
        return not any(self._pending.values())

    def finished(self) -> bool:
        """Nobody writes to it any more, all of it was read and all of that is done with."""
        return self.reader.ended and self.settled()

    def tidy(self) -> None:
        """Delete segments that nobody needs any more."""
        if self.reader.has_finished():
            self.reader.forget(min(self.position(cls) for cls in Class))

    def cursor(self) -> Cursor:
        return Cursor(
            confirmed={cls: self.position(cls) for cls in Class}, clean=self.reader.clean, records=self.records
        )
