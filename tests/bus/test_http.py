"""The HTTP carrier: what each answer means, one connection for many batches, and only the known certificate."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph.bus import BadMessage, BadUrl, BusFull, BusUnavailable
from heliograph.bus.http import HttpPublisher
from heliograph.bus.spool import SpoolConsumer
from heliograph.messages import Class
from tests.bus.carriers import TOKEN, Intake, drain, intake, out
from tests.fixtures.certificates import self_signed
from tests.fixtures.proxy import Proxy


@pytest.fixture
def spool(tmp_path: Path) -> str:
    return f"spool:{tmp_path}/spool"


@pytest.fixture
def hub(spool: str) -> Iterator[Intake]:
    with intake(spool) as server:
        yield server


@pytest.mark.parametrize(
    ("status", "body", "error", "text"),
    [
        (503, b'{"error": {"what": "the bus does not answer"}}', BusUnavailable, "503, the bus does not answer"),
        (500, b"<html>oops", BusUnavailable, "500, <html>oops"),
        (404, b"", BusUnavailable, "is this a Heliograph hub"),
        (302, b"", BusUnavailable, "302"),
        (408, b"{}", BusUnavailable, "408"),
        (429, b'{"error": {"what": "no more samples"}}', BusFull, "429, no more samples"),
        (400, b'{"error": {"what": "not a batch"}}', BadMessage, "400, not a batch"),
        (413, b'{"error": {"what": "larger than 5 bytes"}}', BadMessage, "larger than 5"),
        (401, b'{"error": "x"}', BusUnavailable, "token is missing, wrong"),
        (403, b"\xff\xfe", BusUnavailable, "token is missing, wrong"),
    ],
)
def test_every_answer_means_wait_thin_out_or_give_up(
    hub: Intake, status: int, body: bytes, error: type[Exception], text: str
) -> None:
    publisher = HttpPublisher(hub.url, name="a", token=TOKEN)
    hub.answer = (status, body)
    with pytest.raises(error, match=text) as caught:
        publisher.publish([out(b"x"), out(b"y")])
    assert TOKEN not in str(caught.value)
    assert len(hub.requests) == 1
    hub.answer = None
    publisher.publish([out(b"x")])
    publisher.close()


def test_a_wrong_token_waits_and_is_never_shown(hub: Intake) -> None:
    publisher = HttpPublisher(hub.url, name="a", token="wrong-word")
    with pytest.raises(BusUnavailable, match="401, no such token") as caught:
        publisher.publish([out(b"x")])
    assert "wrong-word" not in str(caught.value)
    publisher.close()


def test_many_batches_go_over_one_connection_and_names_are_escaped(hub: Intake, spool: str) -> None:
    publisher = HttpPublisher(hub.url + "/", name="a", token=TOKEN)
    for _ in range(3):
        publisher.publish([out(b"x", "a/b?c#d e%20é", Class.SAMPLES), out(b"y")])
    assert len(hub.connections) == 1
    assert hub.requests[0] == ("/v1/intake/samples/a%2Fb%3Fc%23d%20e%2520%C3%A9", f"Bearer {TOKEN}")
    consumer = SpoolConsumer(spool, name="w")
    assert {d.route for d in drain(consumer, 6)} == {"samples.a/b?c#d e%20é", "states.r1"}
    consumer.close()
    publisher.close()


def test_a_connection_that_the_hub_closed_meanwhile_is_made_again(hub: Intake) -> None:
    with Proxy(hub.server_address[1]) as proxy:
        publisher = HttpPublisher(f"http://127.0.0.1:{proxy.port}", name="a", token=TOKEN)
        publisher.publish([out(b"1")])
        proxy.cut()
        publisher.publish([out(b"2")])
        proxy.refuse()
        with pytest.raises(BusUnavailable, match="Connection refused"):
            publisher.publish([out(b"3")])
        proxy.accept()
        publisher.publish([out(b"3")])
        publisher.close()


def test_nobody_there_and_unknown_hosts(hub: Intake) -> None:
    with pytest.raises(BusUnavailable, match="Connection refused"):
        HttpPublisher("http://127.0.0.1:1", name="a").publish([out(b"x")])
    with pytest.raises(BusUnavailable, match="host name is not known"):
        HttpPublisher("http://no-such-host.invalid", name="a").publish([out(b"x")])
    with pytest.raises(BusUnavailable, match="TLS failed"):
        HttpPublisher(hub.url.replace("http:", "https:"), name="a").publish([out(b"x")])


def test_a_server_that_never_answers(hub: Intake) -> None:
    with Proxy(hub.server_address[1]) as proxy:
        publisher = HttpPublisher(f"http://127.0.0.1:{proxy.port}", name="a", token=TOKEN, answer_timeout=0.5)
        proxy.swallow()
        began = time.monotonic()
        with pytest.raises(BusUnavailable, match="no answer in time"):
            publisher.publish([out(b"x")])
        assert time.monotonic() - began < 5
        proxy.heal()
        publisher.publish([out(b"x")])
        publisher.close()


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("http://", {}, "no host"),
        ("http://h:x", {}, "host or port"),
        ("https://user:secret@h", {}, "token is given apart"),
        ("https://h?token=secret", {}, "token is given apart"),
        ("https://h", {"tls_fingerprint": "abc"}, "64 hexadecimal"),
        ("http://h", {"tls_fingerprint": "ab" * 32}, "https"),
        ("http://h", {"token": "secret\r\nx: y"}, "header"),
    ],
)
def test_what_cannot_work_says_why(url: str, options: dict[str, str], text: str) -> None:
    with pytest.raises(BadUrl, match=text) as caught:
        HttpPublisher(url, name="a", **options)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


# -- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def secure_hub(spool: str, tmp_path: Path) -> Iterator[tuple[str, str, Intake]]:
    """A hub's https URL and its fingerprint."""
    files = self_signed(tmp_path / "tls")
    server = Intake(spool)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    der = ssl.PEM_cert_to_DER_cert(files.certificate.read_text())
    yield server.url.replace("http:", "https:"), hashlib.sha256(der).hexdigest(), server
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_the_known_certificate_is_enough(secure_hub: tuple[str, str, Intake], spool: str) -> None:
    url, fingerprint, _ = secure_hub
    colons = "SHA256:" + ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    for given in (fingerprint, colons):
        publisher = HttpPublisher(url, name="a", token=TOKEN, tls_fingerprint=given)
        publisher.publish([out(b"x")])
        publisher.close()
    consumer = SpoolConsumer(spool, name="w")
    assert len(drain(consumer, 2)) == 2
    consumer.close()


def test_another_certificate_gets_no_token(secure_hub: tuple[str, str, Intake]) -> None:
    url, fingerprint, server = secure_hub
    other = ("0" if fingerprint[0] != "0" else "1") + fingerprint[1:]
    publisher = HttpPublisher(url, name="a", token=TOKEN, tls_fingerprint=other)
    for _ in range(2):
        with pytest.raises(BusUnavailable, match="another certificate"):
            publisher.publish([out(b"x")])
    with pytest.raises(BusUnavailable, match="TLS failed"):  # and without a fingerprint authorities decide
        HttpPublisher(url, name="a", token=TOKEN).publish([out(b"x")])
    assert server.requests == []
