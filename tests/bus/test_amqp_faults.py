"""Faults of the broker and of the network under load: what was confirmed arrives, at least once."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import msgspec
import pytest

from heliograph.bus import BusUnavailable
from heliograph.bus.amqp import AmqpConsumer, AmqpPublisher, declare
from heliograph.messages import Class
from tests.bus.carriers import drain, out
from tests.fixtures.broker import Broker
from tests.fixtures.proxy import Proxy

RECORDS = 50_000
PER_BATCH = 50
PER_PUBLISH = 4


@dataclass
class Sender:
    """Publishes numbered records from its own thread, and again whatever was not confirmed. Keeps the ledger."""

    url: str
    records: int = RECORDS
    confirmed: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        publisher = AmqpPublisher(self.url, name="sender")
        step = PER_BATCH * PER_PUBLISH
        for start in range(0, self.records, step):
            numbers = range(start, min(start + step, self.records))
            batches = [
                out(msgspec.msgpack.encode(list(numbers[i : i + PER_BATCH])), "r1", _class(i))
                for i in range(0, len(numbers), PER_BATCH)
            ]
            while not self.stop.is_set():
                try:
                    publisher.publish(batches)
                except BusUnavailable as error:
                    self.failures.append(str(error))
                    time.sleep(0.05)
                else:
                    self.confirmed += numbers
                    break
        publisher.close()


def _class(i: int) -> Class:
    return Class.CONTROL if i == 0 else Class.STATES


@dataclass
class Receiver:
    """Consumes and acknowledges in its own thread, through every loss of its connection."""

    url: str
    got: set[int] = field(default_factory=set)
    deliveries: int = 0
    losses: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        consumer = AmqpConsumer(self.url, name="receiver")
        while not self.stop.is_set():
            try:
                deliveries = consumer.receive(100, 0.2)
            except BusUnavailable:
                self.losses += 1
                time.sleep(0.05)
                continue
            for delivery in deliveries:
                self.got.update(msgspec.msgpack.decode(delivery.body))
            self.deliveries += len(deliveries)
            consumer.ack(deliveries)
        consumer.close()


@dataclass
class Running:
    sender: Sender
    receiver: Receiver
    threads: list[threading.Thread]

    def wait_for(self, confirmed: int, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while len(self.sender.confirmed) < confirmed and time.monotonic() < end:
            time.sleep(0.005)
        assert len(self.sender.confirmed) >= confirmed, self.sender.failures[-3:]

    def finish(self) -> None:
        try:
            self.wait_for(self.sender.records, 120)
            end = time.monotonic() + 60
            while len(self.receiver.got) < self.sender.records and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            self.sender.stop.set()
            self.receiver.stop.set()
            for thread in self.threads:
                thread.join(30)


def start(publish_url: str, consume_url: str, records: int = RECORDS) -> Running:
    sender, receiver = Sender(publish_url, records), Receiver(consume_url)
    threads = [threading.Thread(target=each.run, daemon=True) for each in (sender, receiver)]
    for thread in threads:
        thread.start()
    return Running(sender, receiver, threads)


def test_a_broker_killed_twice_during_publishing_loses_no_confirmed_record(broker: Broker) -> None:
    url = broker.new_url()
    declare(url)
    time.sleep(1.5)  # a queue declared in the second before a crash can be lost itself; that has a test of its own
    running = start(url, url)
    for share in (4, 2):
        running.wait_for(RECORDS // share)
        broker.kill()
        at_kill = len(running.sender.confirmed)
        broker.start()
        assert at_kill < RECORDS, "killed too late to show anything"
    running.finish()
    assert running.sender.failures
    assert running.receiver.losses
    assert set(running.sender.confirmed) == set(range(RECORDS))
    assert running.receiver.got == set(range(RECORDS))


def test_connections_cut_ten_times_lose_no_confirmed_record(broker: Broker) -> None:
    vhost = broker.new_vhost()
    declare(broker.url(vhost))
    with Proxy(broker.port) as before, Proxy(broker.port) as behind:
        running = start(broker.url(vhost, port=before.port), broker.url(vhost, port=behind.port))
        for cut in range(1, 11):
            running.wait_for(RECORDS * cut // 12)
            before.cut()
            behind.cut()
        running.finish()
        assert before.accepted >= 8
    assert running.receiver.got == set(range(RECORDS))


def test_a_network_that_swallows_everything_ends_in_an_error_and_heals(broker: Broker) -> None:
    vhost = broker.new_vhost()
    url = broker.url(vhost)
    declare(url)
    with Proxy(broker.port) as proxy:
        publisher = AmqpPublisher(broker.url(vhost, port=proxy.port), name="a", confirm_timeout=1)
        consumer = AmqpConsumer(url, name="w")
        publisher.publish([out(b"1")])
        proxy.swallow()
        began = time.monotonic()
        with pytest.raises(BusUnavailable, match=r"no confirm|no answer"):
            publisher.publish([out(b"2")])
        assert time.monotonic() - began < 20
        proxy.heal()
        publisher.publish([out(b"3")])
        bodies = {d.body for d in drain(consumer, 3, timeout=3)}
        assert {b"1", b"3"} <= bodies
        consumer.close()
        publisher.close()


def test_a_frozen_broker_neither_blocks_connecting_nor_closing_for_long(broker: Broker) -> None:
    url = broker.new_url()
    consumer, publisher = AmqpConsumer(url, name="w"), AmqpPublisher(url, name="a")
    assert consumer.receive(1, 0.1) == []
    publisher.publish([out(b"1")])
    broker.freeze()
    try:
        began = time.monotonic()
        consumer.close()
        publisher.close()
        assert time.monotonic() - began < 6
        with pytest.raises(BusUnavailable, match="no answer"):
            publisher.publish([out(b"2")])
        assert time.monotonic() - began < 20
    finally:
        broker.thaw()
    assert [d.body for d in drain(consumer, 1)] == [b"1"]
    consumer.close()


def publish_until_refused(publisher: AmqpPublisher, seconds: float) -> None:
    """The broker may let some in before its alarm has gone around; what it refuses it refuses within `seconds`."""
    for _ in range(600):
        began = time.monotonic()
        try:
            publisher.publish([out(b"1")])
        finally:
            assert time.monotonic() - began < seconds
        time.sleep(0.1)


def test_a_broker_whose_disk_is_full_says_so_at_once_and_goes_on_later(broker: Broker) -> None:
    url = broker.new_url()
    declare(url)
    publisher, consumer = AmqpPublisher(url, name="a"), AmqpConsumer(url, name="w")
    publisher.publish([out(b"1")])
    broker.control("set_disk_free_limit", "100000000000000")
    try:
        with pytest.raises(BusUnavailable, match=r"takes no messages for now.*disk"):
            publish_until_refused(publisher, seconds=5)
        held = drain(consumer, 1)  # consuming goes on: it is what makes room
        assert [d.body for d in held] == [b"1"]
        consumer.ack(held)
    finally:
        broker.control("set_disk_free_limit", "50000000")
    publisher.publish([out(b"2")])
    while (body := drain(consumer, 1)[0].body) != b"2":
        assert body == b"1"
    consumer.close()
    publisher.close()
