"""Which exchanges and queues there are, and how they come to be.

In: a link of a user who may configure. Out: the topology of `heliograph.v1`, declared the same way by everybody.

    heliograph.v1 (topic)          states.# control.#  → heliograph.v1.states   quorum, unbounded
                                   samples.#           → heliograph.v1.samples  bounded, refuses what is too much
                                   commands.#          → heliograph.v1.commands quorum, for whoever obeys them
    heliograph.v1.unrouted (fanout) alternate exchange → heliograph.v1.unrouted
    heliograph.v1.dead (fanout)    put aside           → heliograph.v1.dead
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from heliograph.bus import BusUnavailable
from heliograph.bus.amqp.address import Address
from heliograph.bus.amqp.link import Fate, Link, Lost, Message, Received
from heliograph.messages import Class

EXCHANGE = "heliograph.v1"
STATES = "heliograph.v1.states"
SAMPLES = "heliograph.v1.samples"
COMMANDS = "heliograph.v1.commands"
UNROUTED = "heliograph.v1.unrouted"
DEAD = "heliograph.v1.dead"

SAMPLES_MAX_BYTES = 512 << 20
"""Bytes of samples that may wait. Part of the queue's identity, so a constant; a smaller limit is an operator's policy
(`max-length-bytes`), which the broker combines with it."""
CONSUMER_TIMEOUT = 6 * 3600 * 1000
"""Milliseconds that a delivery may stay unacknowledged. Consumers that die are found by heartbeats long before."""

_BINDINGS = {
    STATES: (f"{Class.STATES.value}.#", f"{Class.CONTROL.value}.#"),
    SAMPLES: (f"{Class.SAMPLES.value}.#",),
    COMMANDS: (f"{Class.COMMANDS.value}.#",),
}
_KNOWN = tuple(f"{cls.value}." for cls in Class)
_PRECONDITION_FAILED = 406
_log = logging.getLogger(__name__)


def declare(url: str) -> None:
    """Declare the topology, for servers that want it to be there before anybody publishes. Raises BusUnavailable."""
    link: Link | None = None
    try:
        link = Link(Address.parse(url), purpose="declare")
        declare_on(link)
    except Lost as error:
        raise BusUnavailable(str(error)) from error
    finally:
        if link is not None:
            link.close()


def declare_on(link: Link) -> None:
    """Declare everything, and let messages in that came before there was a queue for them. Raises Lost."""
    for name in (DEAD, UNROUTED):
        link.call("exchange_declare", exchange=name, exchange_type="fanout", durable=True)
        # Not a quorum queue: listing gives messages back, and those of RabbitMQ 4 count that against a message.
        _queue(link, name, {"x-queue-type": "classic"})
        link.call("queue_bind", queue=name, exchange=name, routing_key="")
    _queue(link, STATES, _states_arguments(link.version))
    _queue(link, SAMPLES, _samples_arguments())
    _queue(link, COMMANDS, _states_arguments(link.version))
    link.call(
        "exchange_declare",
        exchange=EXCHANGE,
        exchange_type="topic",
        durable=True,
        arguments={"alternate-exchange": UNROUTED},
    )
    for queue, keys in _BINDINGS.items():
        for key in keys:
            link.call("queue_bind", queue=queue, exchange=EXCHANGE, routing_key=key)
    _let_in(link)


def consumer_arguments() -> dict[str, Any]:
    """Arguments of a consumer; brokers before 4.3 ignore the timeout and use the queue's or their own."""
    return {"x-consumer-timeout": CONSUMER_TIMEOUT}


def queues_of(classes: Collection[Class]) -> list[str]:
    """The queues in which batches of these classes wait."""
    return [queue for queue, keys in _BINDINGS.items() if any(f"{cls.value}.#" in keys for cls in classes)]


def waiting(link: Link, *queues: str) -> int:
    """Messages that wait in these queues."""
    return sum(int(link.call("queue_declare", queue=q, passive=True).message_count) for q in queues)


def _states_arguments(version: tuple[int, int]) -> dict[str, Any]:
    """Redelivery alone must never put a message aside.

    RabbitMQ 4 does so after 20 deliveries unless the limit is -1. RabbitMQ 3 has no limit unless one is given, and
    takes a negative one for 0, so that the first redelivery would be the last: there it must not be given.
    """
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD}
    if version >= (4, 0):
        arguments["x-delivery-limit"] = -1
    if version >= (3, 12):
        arguments["x-consumer-timeout"] = CONSUMER_TIMEOUT
    return arguments


def _samples_arguments() -> dict[str, Any]:
    return {"x-queue-type": "classic", "x-max-length-bytes": SAMPLES_MAX_BYTES, "x-overflow": "reject-publish"}


def _queue(link: Link, name: str, arguments: dict[str, Any]) -> None:
    try:
        link.call("queue_declare", queue=name, durable=True, arguments=arguments)
    except Lost as error:
        if error.code != _PRECONDITION_FAILED:
            raise
        # Declared by an older broker version before its upgrade, or by an operator: its messages are worth more.
        _log.warning("queue %s exists with other arguments and is used as it is: %s", name, error)
        link.new_channel()
        link.call("queue_declare", queue=name, passive=True)


def _let_in(link: Link) -> None:
    """Publish again what went to 'unrouted' only because its queue was not there yet.

    That happens to messages published before the first declaration, and when a broker crashed in the second in which
    a quorum queue was declared, which can lose the whole queue. What is still unknown stays.
    """
    kept: Received | None = None
    for _ in range(waiting(link, UNROUTED) + 1000):  # a count may lag; and it ends although more keeps coming
        found = link.get(UNROUTED)
        if found is None:
            break
        if not found.key.startswith(_KNOWN):
            kept = found
            continue
        message = Message(exchange=EXCHANGE, key=found.key, body=found.body)
        if link.send([message]) == [Fate.CONFIRMED]:
            link.ack(found.tag)
        else:
            kept = found
    if kept is not None:
        link.requeue(kept.tag, multiple=True)
    link.breathe()
