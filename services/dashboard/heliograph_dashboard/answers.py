"""Answers to callbacks, made once for all who ask the same at the same time.

In: what a browser sent, byte by byte, and the version of the database. Out: the answer's bytes, also compressed. An
answer depends on nothing else: no page knows who asks.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final

KEPT_BYTES: Final = 64 << 20
LARGEST: Final = 8 << 20
LASTS: Final = 2.0
"""Seconds: what an answer says of the present moment may be that old."""
WORTH_PACKING: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes back to a browser."""

    status: int
    body: bytes
    packed: bytes | None = None
    """The same, compressed."""
    kind: str = "application/json"

    @property
    def size(self) -> int:
        return len(self.body) + len(self.packed or b"")


def answer_of(body: bytes, status: int = 200) -> Answer:
    packed = gzip.compress(body, 4) if len(body) >= WORTH_PACKING else None
    return Answer(status=status, body=body, packed=packed)


class Answers:
    """Recent answers, the least used forgotten first. Belongs to one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[Hashable, asyncio.Future[Answer]] = {}
        self.made = 0
        self.given = 0

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer for this key: kept, being made for somebody else, or made now."""
        self.given += 1
        known = self._kept.get(key)
        if known is not None and self._clock() - known[0] < LASTS:
            self._kept.move_to_end(key)
            return known[1]
        if (waiting := self._under_way.get(key)) is not None:
            return await asyncio.shield(waiting)
        self.made += 1
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._under_way[key] = future
        began = self._clock()
        try:
            answer = await make()
        except BaseException as error:
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # nobody else may be waiting for it
            else:
                future.cancel()  # the browser went away: whoever waits asks again
            raise
        else:
            future.set_result(answer)
            if answer.status == 200 and answer.size <= LARGEST:
                self._keep(key, began, answer)
            return answer
        finally:
            del self._under_way[key]

    def forget(self) -> None:
        """Make all answers anew, as after a start."""
        self._kept.clear()
        self._bytes = 0

    def _keep(self, key: Hashable, at: float, answer: Answer) -> None:
        before = self._kept.pop(key, None)
        self._bytes += answer.size - (before[1].size if before is not None else 0)
        self._kept[key] = (at, answer)
        while self._bytes > KEPT_BYTES:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= oldest.size
