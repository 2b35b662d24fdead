"""RabbitMQ alone: topology, rights, limits, dead letters, and what a lost connection looks like."""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from heliograph.bus import BadMessage, BadUrl, BusFull, BusUnavailable, Outgoing
from heliograph.bus.amqp import AmqpConsumer, AmqpDeadLetters, AmqpPublisher, declare
from heliograph.bus.amqp.address import Address
from heliograph.bus.amqp.link import Fate, Link, Message
from heliograph.bus.amqp.topology import EXCHANGE, SAMPLES, STATES, UNROUTED, _states_arguments
from heliograph.messages import Class
from tests.bus.carriers import drain, eventually, out
from tests.fixtures.broker import Broker
from tests.fixtures.certificates import self_signed
from tests.fixtures.proxy import Proxy


@pytest.fixture
def vhost(broker: Broker) -> str:
    return broker.new_vhost()


@pytest.fixture
def url(broker: Broker, vhost: str) -> str:
    return broker.url(vhost)


def queue(broker: Broker, vhost: str, name: str) -> Any:
    return broker.admin("GET", f"queues/{vhost}/{name}")


# -- topology --------------------------------------------------------------------------------------------------------


def test_the_topology_is_as_designed_and_declaring_twice_changes_nothing(
    broker: Broker, vhost: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "heliograph"):
        declare(url)
        declare(url)
    assert not caplog.records
    states, samples = queue(broker, vhost, STATES), queue(broker, vhost, SAMPLES)
    assert (states["type"], states["durable"]) == ("quorum", True)
    assert samples["durable"]
    assert samples["arguments"]["x-overflow"] == "reject-publish"
    assert samples["arguments"]["x-max-length-bytes"] > 0
    exchange = broker.admin("GET", f"exchanges/{vhost}/{EXCHANGE}")
    assert (exchange["type"], exchange["durable"]) == ("topic", True)
    assert exchange["arguments"] == {"alternate-exchange": UNROUTED}


@pytest.mark.parametrize(
    ("version", "limit", "timeout"),
    [((3, 10), None, False), ((3, 11), None, False), ((3, 13), None, True), ((4, 0), -1, True), ((4, 3), -1, True)],
)
def test_redelivery_has_no_limit_on_any_broker(version: tuple[int, int], limit: int | None, timeout: bool) -> None:
    arguments = _states_arguments(version)
    assert arguments.get("x-delivery-limit") == limit
    assert ("x-consumer-timeout" in arguments) is timeout


def test_thirty_redeliveries_put_nothing_aside(url: str) -> None:
    publisher = AmqpPublisher(url, name="a")
    declare(url)
    publisher.publish([out(b"x")])
    for _ in range(30):
        consumer = AmqpConsumer(url, name="w")
        assert len(drain(consumer, 1)) == 1
        consumer.close()
    consumer = AmqpConsumer(url, name="w")
    (got,) = drain(consumer, 1)
    assert got.redelivered
    consumer.ack([got])
    dead = AmqpDeadLetters(url)
    assert dead.count() == 0
    for closing in (publisher, consumer, dead):
        closing.close()


def test_a_queue_that_somebody_declared_otherwise_is_used_as_it_is(url: str, caplog: pytest.LogCaptureFixture) -> None:
    link = Link(Address.parse(url), purpose="operator")
    link.call("queue_declare", queue=STATES, durable=True, arguments={"x-queue-type": "classic"})
    link.close()
    consumer, publisher = AmqpConsumer(url, name="w"), AmqpPublisher(url, name="a")
    with caplog.at_level(logging.WARNING, "heliograph"):
        assert consumer.receive(1, 0.1) == []
    assert [record.getMessage().split(" exists")[0] for record in caplog.records] == [f"queue {STATES}"]
    publisher.publish([out(b"x")])
    assert len(drain(consumer, 1)) == 1
    consumer.close()
    publisher.close()


def test_what_the_broker_itself_puts_aside_is_a_dead_letter_too(broker: Broker, vhost: str, url: str) -> None:
    """As after an upgrade to RabbitMQ 4, where a queue from before gets a limit."""
    declare(url)
    broker.admin(
        "PUT", f"policies/{vhost}/limit", {"pattern": "states", "definition": {"delivery-limit": 1}, "priority": 1}
    )
    publisher, dead = AmqpPublisher(url, name="a"), AmqpDeadLetters(url)
    publisher.publish([out(b"x", "r.1")])
    for _ in range(6):
        consumer = AmqpConsumer(url, name="w")
        consumer.receive(1, 0.5)
        consumer.close()
        if dead.count():
            break
    (letter,) = dead.list()
    assert (letter.reason, letter.route, letter.body) == ("put aside by the broker: delivery_limit", "states.r.1", b"x")
    publisher.close()
    dead.close()


# -- routes ----------------------------------------------------------------------------------------------------------


def test_an_unknown_class_waits_among_the_unrouted_and_can_be_seen_and_dropped(url: str) -> None:
    declare(url)
    link = Link(Address.parse(url), purpose="newer agent")
    assert link.send([Message(exchange=EXCHANGE, key="novelties.r1", body=b"new")]) == [Fate.CONFIRMED]
    link.close()
    consumer, dead = AmqpConsumer(url, name="w"), AmqpDeadLetters(url)
    assert consumer.receive(1, 0.3) == []
    (letter,) = dead.list()
    assert (letter.reason, letter.route, letter.body) == ("no queue takes this route", "novelties.r1", b"new")
    assert dead.replay([letter.id]) == 1  # still nobody takes it
    assert eventually(lambda: dead.count() == 1)
    assert dead.drop([letter.id]) == 1
    assert dead.count() == 0
    consumer.close()
    dead.close()


def test_what_came_before_its_queue_is_delivered_once_the_queue_is_there(broker: Broker, vhost: str, url: str) -> None:
    """As after a crash of the broker in the second of the first declaration, which can lose a quorum queue."""
    declare(url)
    broker.admin("DELETE", f"queues/{vhost}/{STATES}")
    publisher = AmqpPublisher(url, name="a")
    publisher.publish([out(b"%d" % index) for index in range(5)])
    consumer = AmqpConsumer(url, name="w")
    got = drain(consumer, 5)
    assert sorted(d.body for d in got) == [b"%d" % index for index in range(5)]
    consumer.ack(got)
    dead = AmqpDeadLetters(url)
    assert dead.count() == 0
    for closing in (publisher, consumer, dead):
        closing.close()


def test_a_returned_message_is_not_confirmed(broker: Broker, vhost: str, url: str) -> None:
    link = Link(Address.parse(url), purpose="operator")
    link.call("exchange_declare", exchange=EXCHANGE, exchange_type="topic", durable=True)
    fates = link.send([Message(exchange=EXCHANGE, key="states.r", body=b"x")])
    assert fates == [Fate.RETURNED]
    link.close()
    publisher = AmqpPublisher(url, name="a")
    with pytest.raises(BusUnavailable, match="start a writer"):
        publisher.publish([out(b"x")])
    publisher.close()


def test_publishing_before_anything_is_declared_says_what_is_missing(url: str) -> None:
    publisher = AmqpPublisher(url, name="a")
    with pytest.raises(BusUnavailable, match=r"no exchange.*start a writer"):
        publisher.publish([out(b"x")])
    declare(url)
    publisher.publish([out(b"x")])
    publisher.close()


def test_a_deleted_queue_is_declared_again_by_its_consumer(broker: Broker, vhost: str, url: str) -> None:
    consumer, publisher = AmqpConsumer(url, name="w"), AmqpPublisher(url, name="a")
    assert consumer.receive(1, 0.1) == []
    broker.admin("DELETE", f"queues/{vhost}/{SAMPLES}")
    with pytest.raises(BusUnavailable, match="a queue went away"):
        consumer.receive(1, 5)
    assert consumer.receive(1, 0.1) == []
    publisher.publish([out(b"x", cls=Class.SAMPLES)])
    assert len(drain(consumer, 1)) == 1
    consumer.close()
    publisher.close()


# -- rights and limits -----------------------------------------------------------------------------------------------


def test_a_publisher_needs_no_right_but_to_write_into_the_exchange(broker: Broker, vhost: str, url: str) -> None:
    declare(url)
    user = broker.new_user(vhost, "p/w:@", write=r"^heliograph\.v1$")
    restricted = broker.url(vhost, user=user, password="p/w:@")
    publisher, consumer = AmqpPublisher(restricted, name="a"), AmqpConsumer(url, name="w")
    publisher.publish([out(b"%s" % cls.value.encode(), cls=cls) for cls in Class])
    assert len(drain(consumer, 3)) == 3
    with pytest.raises(BusUnavailable, match="refused"):
        AmqpConsumer(restricted, name="w").receive(1, 1)
    with pytest.raises(BusUnavailable, match="refused"):
        AmqpDeadLetters(restricted).count()
    consumer.close()
    publisher.close()


def test_a_user_who_may_not_even_write_is_told_so(broker: Broker, vhost: str, url: str) -> None:
    declare(url)
    user = broker.new_user(vhost, "secret-word")
    publisher = AmqpPublisher(broker.url(vhost, user=user, password="secret-word"), name="a")
    with pytest.raises(BusUnavailable, match=f"{user}.*ACCESS_REFUSED") as caught:
        publisher.publish([out(b"x")])
    assert "secret-word" not in str(caught.value) + repr(caught.value.__cause__)
    publisher.close()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": "wrong-word"}, "user 'guest': refused, user or password is wrong"),
        ({"vhost": "nowhere"}, "vhost 'nowhere'.*there is no such vhost"),
        ({"port": 1}, "127.0.0.1:1.*Connection refused"),
    ],
)
def test_a_wrong_address_names_host_and_user_but_never_the_password(
    broker: Broker, change: dict[str, Any], text: str
) -> None:
    url = broker.url(**{"vhost": "/", **change})
    with pytest.raises(BusUnavailable, match=text) as caught:
        AmqpPublisher(url, name="a").publish([out(b"x")])
    assert "wrong-word" not in str(caught.value)
    assert "wrong-word" not in repr(Address.parse(url)) + str(Address.parse(url))


def test_tls_with_the_right_authority_and_without(broker: Broker, vhost: str, url: str, tmp_path: Path) -> None:
    declare(url)
    files, others = self_signed(tmp_path / "broker"), self_signed(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.both)
    with Proxy(broker.port, tls=context) as proxy:
        secure = broker.url(vhost, port=proxy.port).replace("amqp:", "amqps:")
        publisher = AmqpPublisher(f"{secure}?cafile={files.certificate}", name="a")
        publisher.publish([out(b"x")])
        publisher.close()
        for wrong in (secure, f"{secure}?cafile={others.certificate}"):
            with pytest.raises(BusUnavailable, match=r"TLS failed \(self.signed certificate"):
                AmqpPublisher(wrong, name="a").publish([out(b"x")])
        named = secure.replace("127.0.0.1", "localhost") + f"?cafile={files.certificate}"
        with pytest.raises(BusUnavailable, match=r"TLS failed \(.*(not valid for|mismatch)"):
            AmqpPublisher(named, name="a").publish([out(b"x")])


def test_the_known_certificate_is_enough_and_another_gets_no_password(
    broker: Broker, vhost: str, url: str, tmp_path: Path
) -> None:
    """No authority and no name is asked for; before the certificate is known to be the right one, nothing is sent."""
    declare(url)
    files = self_signed(tmp_path / "broker")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.both)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(files.certificate.read_text())).hexdigest()
    with Proxy(broker.port, tls=context) as proxy:
        secure = broker.url(vhost, port=proxy.port).replace("amqp:", "amqps:").replace("127.0.0.1", "localhost")
        for given in (digest, f"sha256:{digest.upper()}"):
            publisher = AmqpPublisher(f"{secure}?fingerprint={given}", name="a")
            publisher.publish([out(b"x")])
            publisher.close()
        with pytest.raises(BusUnavailable, match=r"TLS failed \(.*known fingerprint"):
            AmqpPublisher(f"{secure}?fingerprint={'ab' * 32}", name="a").publish([out(b"x")])


def test_tls_towards_a_plain_port_and_unknown_hosts_say_so(broker: Broker) -> None:
    with pytest.raises(BusUnavailable, match="TLS failed"):
        AmqpPublisher(broker.url().replace("amqp:", "amqps:"), name="a").publish([])
    with pytest.raises(BusUnavailable, match=r"no-such-host\.invalid.*host name is not known"):
        AmqpPublisher("amqp://no-such-host.invalid/", name="a").publish([])


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("amqp:///vhost", "no host"),
        ("amqp://u:pass/word@h/v", "port is not a number"),
        ("amqp://u:secret@h/a/b", "%2F"),
        ("amqps://h/?cafile=/nowhere/ca.pem", "not a file"),
        ("amqp://u:secret@h/?cafile=/etc/hosts", "amqps"),
        ("amqps://u:secret@h/?verify=no", "verify"),
        ("amqps://h/?cafile=/etc/hostname", "cannot be used"),
        ("amqps://h/?fingerprint=abc", "64 hexadecimal"),
        (f"amqps://h/?fingerprint={'ab' * 32}&cafile=/etc/hosts", "not both"),
        (f"amqp://u:secret@h/?fingerprint={'ab' * 32}", "amqps"),
    ],
)
def test_urls_that_cannot_work_say_why(url: str, text: str) -> None:
    with pytest.raises(BadUrl, match=text) as caught:
        AmqpPublisher(url, name="a")
    assert "secret" not in str(caught.value)
    assert "word" not in str(caught.value).replace("user:password", "")


def test_url_parts_are_decoded_and_have_defaults() -> None:
    address = Address.parse("amqp://a%40b:p%2Fw@[::1]:1234/my%2Fvhost")
    assert (address.user, address.password, address.host, address.port) == ("a@b", "p/w", "::1", 1234)
    assert address.vhost == "my/vhost"
    assert (Address.parse("amqp://h").vhost, Address.parse("amqp://h/").vhost, Address.parse("amqp://h").port) == (
        "/",
        "/",
        5672,
    )
    assert Address.parse("amqps://h").port == 5671
    assert Address.parse("amqps://h").tls is not None


def test_a_full_queue_of_samples_refuses_and_states_still_pass(broker: Broker, vhost: str, url: str) -> None:
    declare(url)
    broker.admin(
        "PUT",
        f"policies/{vhost}/small",
        {"pattern": "samples", "definition": {"max-length-bytes": 10_000}, "priority": 1},
    )
    publisher, consumer = AmqpPublisher(url, name="a"), AmqpConsumer(url, name="w")
    with pytest.raises(BusFull, match="samples"):  # noqa: PT012 - how many fit is the broker's matter
        for _ in range(100):
            publisher.publish([out(b"x" * 1000, cls=Class.SAMPLES)])
    publisher.publish([out(b"state")])
    taken = drain(consumer, 500, timeout=2)
    consumer.ack(taken)
    publisher.publish([out(b"y", cls=Class.SAMPLES)])
    assert [d.body for d in drain(consumer, 1)] == [b"y"]
    publisher.close()
    consumer.close()


def test_a_run_name_that_is_no_key_is_bad(url: str) -> None:
    publisher = AmqpPublisher(url, name="a")
    with pytest.raises(BadMessage, match="run name"):
        publisher.publish([Outgoing(run="ä" * 130, cls=Class.STATES, body=b"x")])


# -- connections -----------------------------------------------------------------------------------------------------


def test_many_batches_share_round_trips(broker: Broker, vhost: str, url: str) -> None:
    """With 50 ms each way, 50 batches one by one would take five seconds."""
    declare(url)
    with Proxy(broker.port) as proxy:
        publisher = AmqpPublisher(broker.url(vhost, port=proxy.port), name="a")
        publisher.publish([out(b"x")])
        proxy.delay = 0.05
        began = time.monotonic()
        publisher.publish([out(b"x" * 100) for _ in range(50)])
        assert time.monotonic() - began < 2.5
        publisher.close()


def test_publisher_and_consumer_come_back_after_a_cut(broker: Broker, vhost: str) -> None:
    with Proxy(broker.port) as proxy:
        url = broker.url(vhost, port=proxy.port)
        consumer, publisher = AmqpConsumer(url, name="w"), AmqpPublisher(url, name="a")
        assert consumer.receive(1, 0.1) == []
        publisher.publish([out(b"1")])
        (held,) = drain(consumer, 1)
        proxy.cut()
        publisher.publish([out(b"2")])  # the connection had gone stale: no error
        with pytest.raises(BusUnavailable, match=r"(?i)connection"):
            consumer.receive(1, 5)
        consumer.ack([held])  # too late, and no error
        consumer.reject(held, "too late")
        got = drain(consumer, 2)
        assert {d.body for d in got} == {b"1", b"2"}
        assert {d.redelivered for d in got if d.body == b"1"} == {True}
        consumer.ack(got)
        proxy.refuse()
        with pytest.raises(BusUnavailable):
            publisher.publish([out(b"3")])
        assert consumer.depth() is None
        proxy.accept()
        publisher.publish([out(b"3")])
        again = drain(consumer, 1)
        while {d.body for d in again} != {b"3"}:  # acknowledgements that were lost in the cut: delivered once more
            assert all(d.redelivered for d in again)
            again = drain(consumer, 1)
        publisher.close()
        consumer.close()


def test_a_paused_consumer_survives_a_cut_and_resumes(broker: Broker, vhost: str) -> None:
    with Proxy(broker.port) as proxy:
        url = broker.url(vhost, port=proxy.port)
        consumer, publisher = AmqpConsumer(url, name="w"), AmqpPublisher(url, name="a")
        assert consumer.receive(1, 0.1) == []
        consumer.pause()
        publisher.publish([out(b"x")])
        proxy.cut()
        with pytest.raises(BusUnavailable):
            consumer.receive(1, 1)
        assert consumer.receive(1, 0.3) == []
        assert eventually(lambda: consumer.depth() == 1)
        consumer.resume()
        assert [d.body for d in drain(consumer, 1)] == [b"x"]
        consumer.close()
        publisher.close()


def test_waiting_costs_almost_nothing(url: str) -> None:
    consumer = AmqpConsumer(url, name="w")
    consumer.receive(1, 0.1)
    began = time.thread_time()
    assert consumer.receive(1, 3) == []
    assert time.thread_time() - began < 0.03
    consumer.close()


def test_a_delivery_ends_the_wait(url: str) -> None:
    consumer, publisher = AmqpConsumer(url, name="w"), AmqpPublisher(url, name="a")
    consumer.receive(1, 0.1)
    timer = threading.Timer(0.3, publisher.publish, [[out(b"x")]])
    timer.start()
    began = time.monotonic()
    assert len(consumer.receive(5, 10)) == 1
    assert time.monotonic() - began < 5
    timer.join()
    consumer.close()
    publisher.close()


def test_closing_leaves_no_descriptor_behind(url: str) -> None:
    declare(url)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        publisher, consumer, dead = AmqpPublisher(url, name="a"), AmqpConsumer(url, name="w"), AmqpDeadLetters(url)
        publisher.publish([out(b"x")])
        consumer.ack(drain(consumer, 1))
        dead.count()
        for closing in (publisher, consumer, dead):
            closing.close()
            closing.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
