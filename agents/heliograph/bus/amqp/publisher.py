"""Publishes batches to RabbitMQ: persistent, mandatory, confirmed.

In: encoded batches. Out: nothing, once the broker has confirmed all of them; otherwise one of the bus's three errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from heliograph.bus import MAX_BODY, BadMessage, BusFull, BusUnavailable, Outgoing
from heliograph.bus.amqp.address import Address
from heliograph.bus.amqp.link import CONFIRM_TIMEOUT, Fate, Link, Lost, Message
from heliograph.bus.amqp.topology import EXCHANGE
from heliograph.messages import Class

_LONGEST_KEY = 255


class AmqpPublisher:
    """Connects at the first `publish`, and again whenever the connection was lost."""

    def __init__(self, url: str, *, name: str, confirm_timeout: float = CONFIRM_TIMEOUT) -> None:
        self._address = Address.parse(url)
        self._confirm_timeout = confirm_timeout
        self._name = name
        self._link: Link | None = None

    def publish(self, batches: Sequence[Outgoing]) -> None:
        messages = [_message(batch) for batch in batches]
        fates = self._send(messages)
        if Fate.RETURNED in fates:
            raise BusUnavailable(f"{self._address}: no queue takes messages yet; start a writer, which declares them")
        refused = [batch for batch, fate in zip(batches, fates, strict=True) if fate is Fate.REFUSED]
        if refused and all(batch.cls is Class.SAMPLES for batch in refused):
            raise BusFull(f"{self._address}: the queue of samples is full")
        if refused:
            raise BusUnavailable(f"{self._address}: the broker refused {len(refused)} messages")

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _send(self, messages: list[Message]) -> list[Fate]:
        used_before = self._link is not None
        try:
            return self._connected().send(messages)
        except Lost as error:
            self.close()
            if error.code == 406 and "size" in str(error):
                raise BadMessage(f"a batch is too large for this broker: {error}") from error
            if not used_before or error.code is not None:
                raise BusUnavailable(_advice(error)) from error
        # The connection went stale while nobody published; that says nothing about the broker now.
        try:
            return self._connected().send(messages)
        except Lost as error:
            self.close()
            raise BusUnavailable(_advice(error)) from error

    def _connected(self) -> Link:
        if self._link is None:
            self._link = Link(self._address, purpose=self._name, confirm_timeout=self._confirm_timeout)
        return self._link


def _message(batch: Outgoing) -> Message:
    key = f"{batch.cls.value}.{batch.run}"
    if len(key.encode()) > _LONGEST_KEY:
        raise BadMessage(f"run name of {len(batch.run)} characters; RabbitMQ takes keys of up to {_LONGEST_KEY} bytes")
    if len(batch.body) > MAX_BODY:
        raise BadMessage(f"batch of {len(batch.body)} bytes; the bus takes up to {MAX_BODY}")
    return Message(exchange=EXCHANGE, key=key, body=batch.body)


def _advice(error: Lost) -> str:
    if error.code == 404:
        return f"{error}; start a writer, which declares the exchange"
    return str(error)
