"""Takes batches from RabbitMQ and acknowledges them when their owner says so.

In: the queues of the topology. Out: deliveries; what is put aside goes, confirmed, to the dead-letter exchange.

A lost connection costs nothing but time: the broker delivers again what was not acknowledged, and acknowledging what
came over an older connection does nothing. It is noticed by heartbeats, which a thread answers while the owner is busy:
a connection that dies during each long commit would have the same batches delivered for ever.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

from heliograph.bus import BusUnavailable, Delivery
from heliograph.bus.amqp.address import Address
from heliograph.bus.amqp.dead import letter
from heliograph.bus.amqp.keeper import Keeper
from heliograph.bus.amqp.link import Fate, Link, Lost, Received
from heliograph.bus.amqp.topology import consumer_arguments, declare_on, queues_of, waiting
from heliograph.messages import RECORDS, Class

_LINGER = 0.002
"""Seconds to wait for more of a burst: deliveries arrive in pieces of a few, and each store transaction costs."""
HEARTBEAT = 20
"""Seconds. After one to two and a half times as long both sides give up a connection over which nothing comes."""


@dataclass(frozen=True, kw_only=True)
class _Token:
    link: Link
    tag: int


class AmqpConsumer:
    """Connects and declares at the first `receive`, and again whenever the connection was lost."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        prefetch: int = 200,
        classes: Collection[Class] = RECORDS,
        heartbeat: int = HEARTBEAT,
    ) -> None:
        self._address = Address.parse(url)
        self._queues = queues_of(classes)
        self._name = name
        self._prefetch = prefetch
        self._heartbeat = heartbeat
        self._lock = threading.RLock()
        """Held by whoever uses the link: the owner's calls, or the keeper between them."""
        self._keeper: Keeper | None = None
        self._link: Link | None = None
        self._consumers: list[str] = []
        self._paused = False
        self._unsettled: dict[int, None] = {}
        """Tags that were handed out over this link, in order."""

    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        with self._lock:
            return self._receive(limit, timeout)

    def _receive(self, limit: int, timeout: float) -> list[Delivery]:
        try:
            link = self._connected()
            if self._paused:
                link.wait(lambda: False, timeout)
                return []
            if not link.wait(lambda: bool(link.inbox), timeout):
                return []
            known = 0
            while known < len(link.inbox) < limit:
                known = len(link.inbox)
                link.wait(partial(_more, link, known), _LINGER)
        except Lost as error:
            raise self._lost(error) from error
        return [self._delivery(link, link.inbox.popleft()) for _ in range(min(limit, len(link.inbox)))]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge; silently too late when the connection was lost since."""
        with self._lock, contextlib.suppress(BusUnavailable):
            tags = {token.tag for token in map(_token, deliveries) if token.link is self._link}
            tags &= self._unsettled.keys()
            if self._link is not None and tags:
                self._acknowledge(self._link, tags)

    def reject(self, delivery: Delivery, reason: str) -> None:
        token = _token(delivery)
        with self._lock:
            if token.link is not self._link or token.tag not in self._unsettled:
                return  # delivered again by now, to be rejected there
            try:
                fates = token.link.send([letter(route=delivery.route, body=delivery.body, reason=reason)])
            except Lost as error:
                raise self._lost(error) from error
            if fates != [Fate.CONFIRMED]:
                raise BusUnavailable(f"{self._address}: the dead letter was not taken ({fates[0].value})")
            self.ack([delivery])

    def pause(self) -> None:
        with self._lock, contextlib.suppress(BusUnavailable):
            self._paused = True
            self._switch()

    def resume(self) -> None:
        with self._lock, contextlib.suppress(BusUnavailable):
            self._paused = False
            self._switch()

    def depth(self) -> int | None:
        with self._lock:
            if self._link is None:
                return None
            try:
                return waiting(self._link, *self._queues)
            except Lost as error:
                self._lost(error)
                return None

    def close(self) -> None:
        with self._lock:
            if self._link is not None:
                self._link.close()
            self._forget()

    def _connected(self) -> Link:
        if self._link is None:
            link = Link(self._address, purpose=self._name, heartbeat=self._heartbeat)
            try:
                declare_on(link)
                link.call("basic_qos", prefetch_count=self._prefetch)
            except Lost:
                link.close()
                raise
            self._link = link
            self._keeper = Keeper(self._lock, self._breathe, self._heartbeat / 4)
            self._switch()
        return self._link

    def _breathe(self) -> None:
        # What went wrong stands in the link, and the owner's next call says so.
        if self._link is not None:
            with contextlib.suppress(Lost):
                self._link.breathe()

    def _switch(self) -> None:
        """Consume, or stop consuming, as it is wanted. What was delivered before stays ours."""
        link = self._link
        if link is None:
            return
        try:
            if self._paused:
                while self._consumers:
                    link.call("basic_cancel", consumer_tag=self._consumers.pop())
            elif not self._consumers:
                self._consumers = [link.consume(q, arguments=consumer_arguments()) for q in self._queues]
        except Lost as error:
            raise self._lost(error) from error

    def _delivery(self, link: Link, message: Received) -> Delivery:
        self._unsettled[message.tag] = None
        token = _Token(link=link, tag=message.tag)
        return Delivery(body=message.body, token=token, route=message.key, redelivered=message.redelivered)

    def _acknowledge(self, link: Link, tags: set[int]) -> None:
        """One message to the broker for all that came before anything unsettled, one for each of the rest.

        Tags still in the inbox are larger than any that was handed out, so 'up to this tag' never includes them.
        """
        first = list(takewhile(tags.__contains__, self._unsettled))
        try:
            if first:
                link.ack(first[-1], multiple=True)
            for tag in sorted(tags.difference(first)):
                link.ack(tag)
            link.breathe()
        except Lost as error:
            raise self._lost(error) from error
        for tag in tags:
            del self._unsettled[tag]

    def _lost(self, error: Lost) -> BusUnavailable:
        if self._link is not None:
            self._link.close()
        self._forget()
        return BusUnavailable(str(error))

    def _forget(self) -> None:
        if self._keeper is not None:
            self._keeper.end()
            self._keeper = None
        self._link = None
        self._consumers.clear()
        self._unsettled.clear()


def _more(link: Link, known: int) -> bool:
    return len(link.inbox) > known


def _token(delivery: Delivery) -> _Token:
    if not isinstance(delivery.token, _Token):
        raise TypeError("this delivery came from another bus")
    return delivery.token
