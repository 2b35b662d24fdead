"""What every carrier promises, tested on each of them: a folder, RabbitMQ, and HTTP into a hub."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph.bus import MAX_BODY, BadMessage, BadUrl, open_consumer, open_dead_letters, open_publisher
from heliograph.messages import RECORDS, Class
from tests.bus.carriers import Carrier, drain, eventually, intake, out
from tests.fixtures.broker import Broker


@pytest.fixture(params=["spool", "amqp", "http"])
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Carrier]:
    name: str = request.param
    if name == "amqp":
        broker: Broker = request.getfixturevalue("broker")
        url = broker.new_url()
        open_dead = open_dead_letters(url)
        open_dead.count()  # a server has declared the topology, as the hub does at its start
        open_dead.close()
        yield Carrier(name=name, publish_url=url, consume_url=url)
        return
    spool = f"spool:{tmp_path}/spool"
    if name == "spool":
        yield Carrier(name=name, publish_url=spool, consume_url=spool)
        return
    with intake(spool) as hub:
        yield Carrier(name=name, publish_url=hub.url, consume_url=spool)


def test_round_trip(carrier: Carrier) -> None:
    publisher, consumer = carrier.publisher(), carrier.consumer()
    sent = [out(os.urandom(100), run, cls) for run in ("r1", "run.with dots/slash é") for cls in sorted(RECORDS)]
    publisher.publish(sent[:4])
    publisher.publish(sent[4:])
    publisher.publish([])
    got = drain(consumer, len(sent))
    assert Counter((d.route, d.body) for d in got) == Counter((f"{o.cls.value}.{o.run}", o.body) for o in sent)
    assert not any(d.redelivered for d in got)
    consumer.ack(got)
    assert consumer.receive(10, 0.1) == []
    assert consumer.depth() == 0
    publisher.close()
    consumer.close()


def test_limit_is_kept_and_the_rest_comes_later(carrier: Carrier) -> None:
    publisher, consumer = carrier.publisher(), carrier.consumer()
    publisher.publish([out(b"%d" % index) for index in range(25)])
    got: list[bytes] = []
    while len(got) < 25:
        deliveries = consumer.receive(10, 20)
        assert 0 < len(deliveries) <= 10
        got += [d.body for d in deliveries]
        consumer.ack(deliveries)
    assert sorted(got) == sorted(b"%d" % index for index in range(25))
    publisher.close()
    consumer.close()


def test_acknowledged_out_of_order_and_in_parts_nothing_else_is_lost(carrier: Carrier) -> None:
    publisher, consumer = carrier.publisher(), carrier.consumer()
    for index in range(10):
        publisher.publish([out(b"%d" % index)])
    got = drain(consumer, 10)
    kept = [got[0], got[4], got[9]]
    consumer.ack([d for d in reversed(got) if d not in kept][:3])
    consumer.ack([d for d in got if d not in kept])
    consumer.close()
    again = carrier.consumer()
    back = drain(again, 3)
    assert sorted(d.body for d in back) == sorted(d.body for d in kept)
    assert all(d.redelivered for d in back)
    again.ack(back)
    assert again.receive(1, 0.2) == []
    again.close()
    publisher.close()


HOLDS = """
import sys, time
from heliograph.bus import open_consumer
consumer = open_consumer(sys.argv[1], name="writer")
got = []
while len(got) < 5:
    got += consumer.receive(10, 10)
print(len(got), flush=True)
time.sleep(60)
"""


def test_a_killed_consumer_loses_nothing(carrier: Carrier) -> None:
    publisher = carrier.publisher()
    for index in range(5):
        publisher.publish([out(b"%d" % index)])
    with subprocess.Popen([sys.executable, "-c", HOLDS, carrier.consume_url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"5\n"
        other = carrier.consumer()
        assert other.receive(10, 0.3) == []
        process.send_signal(signal.SIGKILL)
    got = drain(other, 5)
    assert sorted(d.body for d in got) == [b"%d" % index for index in range(5)]
    assert all(d.redelivered for d in got)
    other.ack(got)
    other.close()
    publisher.close()


def test_two_consumers_share(carrier: Carrier) -> None:
    publisher = carrier.publisher()
    one, two = carrier.consumer("one", prefetch=10), carrier.consumer("two", prefetch=10)
    for consumer in (one, two):
        assert consumer.receive(1, 0.1) == []
    for index in range(40):
        publisher.publish([out(b"%d" % index)])
    got: dict[str, list[bytes]] = {"one": [], "two": []}
    for _ in range(200):
        for name, consumer in (("one", one), ("two", two)):
            deliveries = consumer.receive(3, 0.05)
            got[name] += [d.body for d in deliveries]
            consumer.ack(deliveries)
        if sum(map(len, got.values())) >= 40:
            break
    assert sorted(got["one"] + got["two"]) == sorted(b"%d" % index for index in range(40))
    assert got["one"]
    assert got["two"]
    for closing in (one, two, publisher):
        closing.close()


def test_rejected_lands_in_the_dead_letters_with_its_reason_and_can_be_replayed(carrier: Carrier) -> None:
    publisher, consumer, dead = carrier.publisher(), carrier.consumer(), carrier.dead_letters()
    publisher.publish([out(b"poison", "r.1", Class.SAMPLES), out(b"fine"), out(b"hopeless")])
    by_body = {d.body: d for d in drain(consumer, 3)}
    consumer.reject(by_body[b"poison"], "not a batch: \udcff" + "x" * 10_000)
    consumer.reject(by_body[b"hopeless"], "hopeless")
    consumer.ack([by_body[b"fine"]])
    assert consumer.receive(5, 0.2) == []
    assert eventually(lambda: dead.count() == 2)
    for _ in range(3):  # looking changes nothing
        letters = {letter.body: letter for letter in dead.list()}
        assert letters.keys() == {b"poison", b"hopeless"}
        assert len(list(dead.list(limit=1))) == 1
        assert eventually(lambda: dead.count() == 2)
    poison = letters[b"poison"]
    assert poison.reason.startswith("not a batch: ")
    assert (poison.route, poison.size) == ("samples.r.1", 6)
    assert poison.at > 1_600_000_000_000_000
    assert b"poison" not in repr(poison).encode()
    assert dead.replay([poison.id, "no-such-letter"]) == 1
    assert dead.drop([letters[b"hopeless"].id]) == 1
    assert dead.replay([poison.id]) == 0
    assert dead.count() == 0
    (back,) = drain(consumer, 1)
    assert (back.body, back.route) == (b"poison", "samples.r.1")
    consumer.ack([back])
    assert consumer.depth() == 0
    for closing in (publisher, consumer, dead):
        closing.close()


def test_pause_and_resume(carrier: Carrier) -> None:
    publisher, consumer = carrier.publisher(), carrier.consumer()
    publisher.publish([out(b"held")])
    (held,) = drain(consumer, 1)
    consumer.pause()
    publisher.publish([out(b"later")])
    assert consumer.receive(5, 0.3) == []
    assert eventually(lambda: consumer.depth() == 1)
    other = carrier.consumer("other")
    (taken,) = drain(other, 1)
    assert taken.body == b"later"
    other.close()
    consumer.ack([held])
    consumer.resume()
    (later,) = drain(consumer, 1)
    assert later.body == b"later"
    consumer.ack([later])
    consumer.close()
    publisher.close()


def test_a_large_batch(carrier: Carrier) -> None:
    publisher, consumer = carrier.publisher(), carrier.consumer()
    body = os.urandom(MAX_BODY)
    publisher.publish([out(body)])
    (got,) = drain(consumer, 1)
    assert got.body == body
    consumer.ack([got])
    with pytest.raises(BadMessage, match=str(MAX_BODY)):
        publisher.publish([out(b"small"), out(body + b"!")])
    assert consumer.receive(1, 0.2) == []
    publisher.publish([out(b"small")])
    assert len(drain(consumer, 1)) == 1
    consumer.close()
    publisher.close()


def test_commands_go_past_the_writer_and_records_past_who_obeys_commands(carrier: Carrier) -> None:
    publisher = carrier.publisher()
    writer, obeys = carrier.consumer(), carrier.consumer("filewatch", classes=[Class.COMMANDS])
    for consumer in (writer, obeys):
        assert consumer.receive(1, 0.1) == []
    publisher.publish([out(b"1"), out(b"start", "r.1", Class.COMMANDS), out(b"2", cls=Class.CONTROL)])
    publisher.publish([out(b"stop", "r.1", Class.COMMANDS)])
    commands = drain(obeys, 2)
    assert [(d.route, d.body) for d in commands] == [("commands.r.1", b"start"), ("commands.r.1", b"stop")]
    records = drain(writer, 2)
    assert sorted(d.body for d in records) == [b"1", b"2"]
    assert writer.receive(5, 0.2) == obeys.receive(5, 0.2) == []
    writer.ack(records)
    obeys.ack(commands)
    assert eventually(lambda: (writer.depth(), obeys.depth()) == (0, 0))
    for closing in (writer, obeys, publisher):
        closing.close()


def test_commands_that_nobody_obeyed_yet_wait_and_those_put_aside_come_back_to_their_own(carrier: Carrier) -> None:
    publisher, dead = carrier.publisher(), carrier.dead_letters()
    for i in range(3):
        publisher.publish([out(b"%d" % i, cls=Class.COMMANDS)])
    first = carrier.consumer("filewatch", classes=[Class.COMMANDS])
    got = {d.body: d for d in drain(first, 3)}
    first.ack([got[b"0"]])
    first.reject(got[b"1"], "not a command")
    first.close()
    (letter,) = dead.list()
    assert (letter.route, letter.body) == ("commands.r1", b"1")
    assert dead.replay([letter.id]) == 1
    writer, again = carrier.consumer(), carrier.consumer("filewatch", classes=[Class.COMMANDS])
    back = drain(again, 2)
    assert sorted(d.body for d in back) == [b"1", b"2"]
    assert writer.receive(1, 0.3) == []
    again.ack(back)
    for closing in (writer, again, publisher, dead):
        closing.close()


@pytest.mark.parametrize(
    "url", ["", "kafka://x", "/tmp/x", "amqp:", "http:", "spool:x", "amqp://h:port/", "https://u:p@h"]
)
def test_urls_that_cannot_work_are_told_at_once_and_without_secrets(url: str) -> None:
    with pytest.raises(BadUrl):
        open_publisher(url, name="a")


@pytest.mark.parametrize("open_", [lambda url: open_consumer(url, name="a"), open_dead_letters])
def test_http_is_for_publishing_only(open_: object) -> None:
    assert callable(open_)
    with pytest.raises(BadUrl, match="amqp"):
        open_("http://hub:55055")
