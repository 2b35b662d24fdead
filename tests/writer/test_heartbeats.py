"""A writer on RabbitMQ whose commits take longer than its heartbeats keeps its connection, and writes each batch once.

Heartbeats are of four seconds here, so that none of this takes minutes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

import pytest

from heliograph.bus import BusUnavailable, Consumer, Outgoing
from heliograph.bus.amqp import AmqpConsumer, AmqpPublisher, declare
from heliograph.messages import Batch, Class
from heliograph_writer.config import WriterConfig
from heliograph_writer.loop import WriterLoop
from heliograph_writer.metrics import WriterMetrics, value
from heliograph_writer.stop import Stop
from tests.bus.carriers import drain, eventually
from tests.fixtures.broker import Broker
from tests.fixtures.proxy import Proxy
from tests.writer.doubles import MemoryStore, Result, body

pytestmark = pytest.mark.slow
HEARTBEAT = 4
LONG = 5 * HEARTBEAT
"""Seconds: the broker gives up after three heartbeats at the latest."""


class SlowStore(MemoryStore):
    """The first commit takes `LONG`."""

    def write(self, batches: Sequence[Batch], /) -> Result:
        if not self.writes:
            time.sleep(LONG)
        return super().write(batches)


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.close()


def test_a_commit_of_many_heartbeats_costs_neither_the_connection_nor_a_redelivery(broker: Broker, stop: Stop) -> None:
    url = broker.new_url()
    declare(url)
    publisher, store, metrics, opened = AmqpPublisher(url, name="a"), SlowStore(), WriterMetrics(), []
    *first, one_more = [Outgoing(run="r", cls=Class.CONTROL, body=body(offsets=[n])) for n in range(21)]
    last = [one_more]
    publisher.publish(first)
    end = time.monotonic() + 90

    class Watched(AmqpConsumer):
        def receive(self, limit, timeout):  # type: ignore[no-untyped-def]
            if value(metrics.batches) >= 21 or time.monotonic() > end:
                stop.ask()
            elif value(metrics.batches) == 20 and last:
                # Over a new connection all that was not acknowledged would come before this.
                publisher.publish([last.pop()])
            return super().receive(limit, timeout)

    def open_consumer() -> Consumer:
        opened.append(Watched(url, name="w", heartbeat=HEARTBEAT))
        return opened[-1]

    config = WriterConfig(linger=0.0, idle_wait=0.2, backoff_first=0.01, backoff_last=0.1)
    WriterLoop(config=config, open_consumer=open_consumer, writer=store, metrics=metrics, stop=stop).run()
    publisher.close()
    assert len(opened) == 1, "the connection was lost"
    assert set(store.rows.values()) == {1}, "batches were delivered again"
    assert len(store.rows) == 21


def test_a_network_that_swallows_everything_is_noticed_by_who_only_listens(broker: Broker) -> None:
    vhost = broker.new_vhost()
    declare(broker.url(vhost))
    with Proxy(broker.port) as proxy:
        consumer = AmqpConsumer(broker.url(vhost, port=proxy.port), name="w", heartbeat=HEARTBEAT)
        assert consumer.receive(1, 0.1) == []
        proxy.swallow()

        def noticed() -> bool:
            try:
                return bool(consumer.receive(1, 0.5))
            except BusUnavailable:
                return True

        assert eventually(noticed, 60)
        proxy.heal()
        publisher = AmqpPublisher(broker.url(vhost), name="a")
        publisher.publish([Outgoing(run="r", cls=Class.STATES, body=b"1")])
        end, got = time.monotonic() + 60, []
        while not got and time.monotonic() < end:
            with contextlib.suppress(BusUnavailable):
                got = drain(consumer, 1, timeout=5)
        assert [delivery.body for delivery in got] == [b"1"]
        consumer.ack(got)
        publisher.close()
        consumer.close()
