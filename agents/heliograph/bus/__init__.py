"""The bus between agents and writers: one interface, three carriers.

In: encoded batches. Out: the same batches, at least once, in any order.

`amqp://` and `amqps://` is RabbitMQ, `http://` and `https://` goes through the hub (publish only), `spool:/folder` is a
folder on a file system that both sides see. Callers import this module only; the carriers import lazily, so that
a node with a spool never loads pika. Every carrier turns its library's errors into the three below, and each of them
answers one question: wait, thin out, or give up on this message?
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from heliograph.messages import RECORDS, BadMessage, Class

__all__ = [
    "BadMessage",
    "BadUrl",
    "BusFull",
    "BusUnavailable",
    "Consumer",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Outgoing",
    "Publisher",
    "hidden",
    "open_consumer",
    "open_dead_letters",
    "open_publisher",
]


MAX_BODY = 4 << 20
"""Largest encoded batch in bytes that every carrier takes. An agent's own batches stay at 1 MiB and one record; who
reads holds a hundred of them in memory."""


class BusUnavailable(Exception):
    """The bus cannot be reached or does not answer: keep the message and try again later."""


class BusFull(Exception):
    """The bus refuses messages of this class for now (the bounded sample queue): keep, thin out, count, try later."""


class BadUrl(ValueError):
    """A bus URL that cannot work. The text says what is wrong and what a right one looks like, without secrets."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """One encoded batch (`messages.encode(Batch)`) with what the bus needs to route it."""

    run: str
    cls: Class
    body: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One received batch. `token` is the carrier's own handle for ack and reject; `route` is '<class>.<run>'."""

    body: bytes = field(repr=False)
    token: object = field(repr=False)
    route: str = ""
    redelivered: bool = False


class Publisher(Protocol):
    """Hands batches to the bus. Not thread-safe: one publisher a thread."""

    def publish(self, batches: Sequence[Outgoing]) -> None:
        """Return only when the bus has confirmed every batch durably.

        Raises BusUnavailable or BusFull when it may or may not have taken some of them: publish all of them again
        later (the store drops duplicates). Raises BadMessage when a batch can never be taken (too large).
        Errors do not say which batch they mean: keep classes apart, and publish one by one after a BadMessage.
        No batches at all asks amqp and spool whether they can be reached.
        """

    def close(self) -> None: ...


class Consumer(Protocol):
    """Receives batches. Not thread-safe: every call from the thread that opened it."""

    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        """Up to `limit` deliveries; waits at most `timeout` seconds for the first. Raises BusUnavailable."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """These are committed: forget them. What cannot be acknowledged any more will be delivered again."""

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move this one to the dead letters, with its reason. Never requeues."""

    def pause(self) -> None:
        """Take no new deliveries until `resume` (the store is down); keep the connection alive in `receive`."""

    def resume(self) -> None: ...

    def depth(self) -> int | None:
        """Batches waiting in the bus for all consumers, None when unknown."""

    def close(self) -> None:
        """Stop; what was delivered and not acknowledged goes back to the bus for other consumers."""


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A message that was put aside: `at` in microseconds UTC."""

    id: str
    reason: str
    route: str
    at: int
    size: int
    body: bytes = field(repr=False)


class DeadLetters(Protocol):
    """An operator's access to what was put aside."""

    def count(self) -> int: ...
    def list(self, limit: int = 100) -> Iterator[DeadLetter]: ...
    def replay(self, ids: Sequence[str]) -> int: ...
    def drop(self, ids: Sequence[str]) -> int: ...
    def close(self) -> None: ...


def hidden(url: str) -> str:
    """The URL without its user information and query, for logs, reprs and errors."""
    parts = urlsplit(url)
    if "@" not in parts.netloc and not parts.query:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def open_publisher(url: str, *, name: str, token: str | None = None, tls_fingerprint: str | None = None) -> Publisher:
    """A publisher for this URL. `name` identifies the sender (the agent's id) and names its spool subfolder."""
    scheme = _scheme(url)
    if scheme == "spool":
        from heliograph.bus import spool

        return spool.SpoolPublisher(url, name=name)
    if scheme in {"amqp", "amqps"}:
        from heliograph.bus import amqp

        return amqp.AmqpPublisher(url, name=name)
    from heliograph.bus import http

    return http.HttpPublisher(url, name=name, token=token, tls_fingerprint=tls_fingerprint)


def open_consumer(url: str, *, name: str, prefetch: int = 200, classes: Collection[Class] = RECORDS) -> Consumer:
    """A consumer for this URL; declares the topology where the carrier has one. `prefetch` is in batches.

    `classes` is what it takes. Commands and records go by different ways, so that a writer never sees a command and
    whoever obeys commands sees nothing else; the classes of records share theirs and cannot be taken apart.
    """
    scheme = _scheme(url)
    if scheme == "spool":
        from heliograph.bus import spool

        return spool.SpoolConsumer(url, name=name, classes=classes)
    if scheme in {"amqp", "amqps"}:
        from heliograph.bus import amqp

        return amqp.AmqpConsumer(url, name=name, prefetch=prefetch, classes=classes)
    raise BadUrl(f"{hidden(url)}: an http bus only takes messages; a writer consumes from amqp:// or spool:")


def open_dead_letters(url: str) -> DeadLetters:
    """The dead letters of this bus."""
    scheme = _scheme(url)
    if scheme == "spool":
        from heliograph.bus import spool

        return spool.SpoolDeadLetters(url)
    if scheme in {"amqp", "amqps"}:
        from heliograph.bus import amqp

        return amqp.AmqpDeadLetters(url)
    raise BadUrl(f"{hidden(url)}: dead letters are listed on the broker's own URL (amqp:// or spool:)")


def _scheme(url: str) -> str:
    scheme = url.partition(":")[0].lower()
    if scheme not in {"spool", "amqp", "amqps", "http", "https"}:
        raise BadUrl(
            f"bus URL {hidden(url)!r} has no known scheme; use spool:/folder, amqp://host/vhost or http://hub-host:55055"
        )
    return scheme
