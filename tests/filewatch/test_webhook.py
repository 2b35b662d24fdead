"""A webhook posts what the mail says, to the host that was named and to no other."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from heliograph.filewatch.config import BadWatch
from heliograph.filewatch.notify import Notifier, check_webhook
from heliograph.filewatch.notify_target import NotSent
from heliograph.filewatch.notify_webhook import Webhook
from tests.filewatch.notices import ABOUT, notice
from tests.fixtures.certificates import self_signed


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted; `answers` are given one after the other, the last one for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.answers: list[tuple[int, dict[str, str]]] = [(204, {})]
        self.hang = threading.Event()

    def url(self, path: str = "/hook?key=hidden-word", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.server_address[1]}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.posts.append((self.path, {k.lower(): v for k, v in self.headers.items()}, data))
        answers = self.server.answers
        status, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_the_same_content_as_the_mail_in_fields(receiver: Receiver) -> None:
    Webhook(receiver.url()).send(notice(paths=("/scr/a b.png", "/scr/\udcff")), ABOUT)
    ((path, headers, data),) = receiver.posts
    assert path == "/hook?key=hidden-word"
    assert headers["content-type"] == "application/json"
    assert data["about"] == ABOUT
    assert (data["watch"], data["callback"], data["outcome"]) == ("plots", "analysis.plots:summarise", "ok")
    assert data["result"] == notice().result
    assert data["files"] == ["/scr/a b.png", "/scr/\udcff"]
    assert data["elapsed_seconds"] == 1.5
    assert str(data["at"]).endswith("+00:00")


def test_a_repeat_can_be_known_by_its_key(receiver: Receiver) -> None:
    hook = Webhook(receiver.url())
    for one in (notice(), notice(repeat=True), notice(sequence=4)):
        hook.send(one, ABOUT)
    first, again, other = (headers["idempotency-key"] for _, headers, _ in receiver.posts)
    assert first == again != other


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        receiver.answers = [(307, {"Location": elsewhere.url()})]
        with pytest.raises(NotSent, match=r"307.*not followed") as caught:
            Webhook(receiver.url()).send(notice(), ABOUT)
        assert not caught.value.again
        assert not elsewhere.posts


@pytest.mark.parametrize(("status", "again"), [(400, False), (404, False), (429, True), (500, True), (503, True)])
def test_an_answer_says_whether_it_is_worth_another_try(receiver: Receiver, status: int, again: bool) -> None:
    receiver.answers = [(status, {})]
    with pytest.raises(NotSent, match=str(status)) as caught:
        Webhook(receiver.url()).send(notice(), ABOUT)
    assert caught.value.again is again


def test_certificates_are_checked(receiver: Receiver, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate.both)
    receiver.socket = server_side.wrap_socket(receiver.socket, server_side=True)
    trusts = ssl.create_default_context(cafile=str(certificate.certificate))
    Webhook(receiver.url(scheme="https"), context=trusts).send(notice(), ABOUT)
    with pytest.raises(NotSent, match="TLS failed"):
        Webhook(receiver.url(scheme="https")).send(notice(), ABOUT)
    assert len(receiver.posts) == 1


def test_unreachable_silent_and_dripping_servers_are_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(NotSent, match="no answer in time"):
            Webhook(f"http://127.0.0.1:{port}/", patience=0.2).send(notice(), ABOUT)
        over = threading.Event()

        def drip() -> None:
            silent.accept()[0].close()  # the one from above
            connection, _ = silent.accept()
            with connection:
                while not over.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(NotSent):
            Webhook(f"http://127.0.0.1:{port}/", patience=5.0, longest=0.3).send(notice(), ABOUT)
        over.set()
        thread.join(10)
    with pytest.raises(NotSent, match="refused"):
        Webhook(f"http://127.0.0.1:{port}/").send(notice(), ABOUT)


def test_a_notifier_tries_again_and_tells_no_secret(receiver: Receiver) -> None:
    receiver.answers = [(503, {}), (503, {}), (200, {})]
    one = Notifier([Webhook(receiver.url())], pauses=(0.01, 0.01))
    one(notice())
    one.close(20)
    assert len(receiver.posts) == 3
    assert one.failed() == []
    receiver.answers = [(404, {})]
    other = Notifier([Webhook(receiver.url())], pauses=(0.01,))
    other(notice())
    other.close(20)
    end = time.monotonic() + 10
    records = other.failed()
    while not records and time.monotonic() < end:
        records = other.failed()
    assert "404" in (records[0].result or "")
    assert records[0].callback.startswith("webhook 127.0.0.1")
    assert "hidden-word" not in str(records) + other.trouble


@pytest.mark.parametrize(
    "url",
    ["", "ftp://h/x", "http://", "https:///x", "http://u:geheim@h/", "http://h:port/", "http://h/a b", "h/x", None, 5],
)
def test_what_is_no_webhook_is_refused_with_the_arguments_name_and_without_the_url(url: object) -> None:
    with pytest.raises(BadWatch, match=r"^webhook: ") as caught:
        check_webhook(url)
    assert "geheim" not in str(caught.value)
