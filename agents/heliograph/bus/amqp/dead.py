"""What was put aside in RabbitMQ, and an operator's access to it.

In: the queues of dead and of unrouted messages. Out: letters; they are looked at without being taken out, and leave
their queue only when they were published again, or dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from heliograph.bus import BusUnavailable, DeadLetter
from heliograph.bus.amqp.address import Address
from heliograph.bus.amqp.link import Fate, Link, Lost, Message, Received
from heliograph.bus.amqp.topology import DEAD, EXCHANGE, UNROUTED, declare_on, waiting

REASON, AT = "x-heliograph-reason", "x-heliograph-at"
_REASON_LIMIT = 4000  # headers have to fit into one frame


def letter(*, route: str, body: bytes, reason: str) -> Message:
    """A message for the dead-letter exchange: its key stays the route that it came by."""
    text = reason[:_REASON_LIMIT].encode(errors="replace").decode()
    return Message(exchange=DEAD, key=route, body=body, headers={REASON: text, AT: time.time_ns() // 1000})


class AmqpDeadLetters:
    """Dead letters of a broker, and messages that no queue takes. Needs a user who may read and configure."""

    def __init__(self, url: str) -> None:
        self._address = Address.parse(url)
        self._link: Link | None = None
        self._held: deque[int] = deque()
        """Tags of messages that were looked at and are neither acknowledged nor given back."""

    def count(self) -> int:
        """Letters in both queues. The broker's count may lag a moment behind what was just looked at."""
        try:
            return waiting(self._connected(), DEAD, UNROUTED)
        except Lost as error:
            raise self._lost(error) from error

    def list(self, limit: int = 100) -> Iterator[DeadLetter]:
        """The oldest `limit` letters. They stay in their queues, at their places."""
        try:
            link = self._connected()
            with self._given_back(link):
                letters = [found for _, found in self._visit(link, limit)]
        except Lost as error:
            raise self._lost(error) from error
        yield from letters

    def replay(self, ids: Sequence[str]) -> int:
        """Publish these again where they came from."""
        return self._settle(set(ids), again=True)

    def drop(self, ids: Sequence[str]) -> int:
        """Delete these for good."""
        return self._settle(set(ids), again=False)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
            self._held.clear()

    def _settle(self, ids: set[str], *, again: bool) -> int:
        done = 0
        try:
            link = self._connected()
            with self._given_back(link):
                # All are looked at before any is published: what nobody takes comes back into the queue looked at.
                chosen = [(tag, found) for tag, found in self._visit(link, None) if found.id in ids]
                for tag, found in chosen:
                    if again and link.send([_original(found)]) != [Fate.CONFIRMED]:
                        raise BusUnavailable(f"{self._address}: letter {found.id} was not taken; try again later")
                    link.ack(tag)
                    self._held.remove(tag)
                    done += 1
        except Lost as error:
            raise self._lost(error) from error
        return done

    def _visit(self, link: Link, limit: int | None) -> Iterator[tuple[int, DeadLetter]]:
        """Each letter once, with its tag, which is held from then on.

        Until the queues are empty and not by their counts, which lag behind what was just given back.
        """
        for queue in (DEAD, UNROUTED):
            while limit is None or len(self._held) < limit:
                message = link.get(queue)
                if message is None:
                    break
                self._held.append(message.tag)
                yield message.tag, _dead_letter(message)

    @contextlib.contextmanager
    def _given_back(self, link: Link) -> Iterator[None]:
        """Put what is still held at the end back to its place."""
        try:
            yield
        finally:
            if link is self._link:
                if self._held:
                    link.requeue(self._held[-1], multiple=True)
                    self._held.clear()
                link.breathe()

    def _connected(self) -> Link:
        if self._link is None:
            link = Link(self._address, purpose="dead letters")
            try:
                declare_on(link)
            except Lost:
                link.close()
                raise
            self._link = link
        return self._link

    def _lost(self, error: Lost) -> BusUnavailable:
        self.close()
        return BusUnavailable(str(error))


def _original(found: DeadLetter) -> Message:
    return Message(exchange=EXCHANGE, key=found.route, body=found.body)


def _dead_letter(message: Received) -> DeadLetter:
    reason = message.headers.get(REASON) or _broker_reason(message.headers)
    at = message.headers.get(AT)
    digest = hashlib.sha256(f"{message.key}\0{reason}\0{at}\0".encode(errors="replace") + message.body)
    return DeadLetter(
        id=digest.hexdigest()[:20],  # the same at every look, which a broker's own tags are not
        reason=str(reason),
        route=message.key,
        at=at if isinstance(at, int) else 0,
        size=len(message.body),
        body=message.body,
    )


def _broker_reason(headers: dict[str, Any]) -> str:
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return f"put aside by the broker: {deaths[0].get('reason', 'unknown')}"
    return "no queue takes this route"
