"""Mail that a real SMTP server receives; and servers that refuse, are away, are slow or want TLS disturb nothing."""

from __future__ import annotations

import contextlib
import email
import email.policy
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from hypothesis import given
from hypothesis import strategies as st

from heliograph.filewatch.config import BadWatch, Notice
from heliograph.filewatch.notify import check_email
from heliograph.filewatch.notify_mail import Mail
from heliograph.filewatch.notify_target import NotSent
from heliograph.settings import Smtp
from tests.filewatch.notices import ABOUT, notice
from tests.fixtures.certificates import self_signed


class Inbox:
    """Receives mail: (sender, recipients, message). `refuse` is the answer to RCPT when set."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], EmailMessage]] = []
        self.users: list[str] = []
        self.refuse = ""

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, message))
        return "250 OK"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == b"open sesame", handled=False)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


Serve = Callable[..., int]


@pytest.fixture
def serve(inbox: Inbox) -> Iterator[Serve]:
    """Starts a server with these options; returns its port."""
    running: list[Controller] = []

    def start(**options: Any) -> int:
        controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), **options)
        controller.start()
        running.append(controller)
        return int(controller.port)

    yield start
    for controller in running:
        controller.stop()


def sent(target: Mail, one: Notice) -> None:
    target.send(one, ABOUT)


def mail(port: int, **options: Any) -> Mail:
    about_server = {"host": "127.0.0.1", "port": port, "sender": "watch@cluster.example"}
    context = options.pop("context", None)
    patience = options.pop("patience", 5.0)
    longest = options.pop("longest", 20.0)
    return Mail(
        to="ada@example.org",
        smtp=Smtp(**{**about_server, **options}),
        context=context,
        patience=patience,
        longest=longest,
    )


def test_the_return_value_arrives_as_the_body_with_the_right_sender_and_recipient(serve: Serve, inbox: Inbox) -> None:
    sent(mail(serve()), notice())
    ((sender, recipients, message),) = inbox.mails
    assert (sender, recipients) == ("watch@cluster.example", ["ada@example.org"])
    assert (message["From"], message["To"]) == ("watch@cluster.example", "ada@example.org")
    for word in ("climate/42", "plots", "analysis.plots:summarise", "2 files"):
        assert word in message["Subject"]
    assert message.get_content().splitlines() == ["two plots", ".", "From here on: ü"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Heliograph-Task"] == "7"


def test_a_repeat_and_a_failure_say_so_and_a_repeat_has_the_same_id(serve: Serve, inbox: Inbox) -> None:
    target = mail(serve())
    sent(target, notice())
    sent(target, notice(repeat=True))
    sent(target, notice(outcome="timeout", sequence=4, files=1, result="took more than 5 s"))
    first, again, failed = (message for _, _, message in inbox.mails)
    assert "(again)" in again["Subject"]
    assert "(again)" not in first["Subject"]
    assert first["Message-ID"] == again["Message-ID"] != failed["Message-ID"]
    assert "timeout" in failed["Subject"]
    assert "1 file," in failed["Subject"]


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.text(max_size=60), st.text(max_size=200))
def test_nothing_in_a_notice_adds_a_header(run: str, task: str, watch: str, callback: str, result: str) -> None:
    built = mail(25).message(notice(watch=watch, callback=callback, result=result), {"run": run, "task": task})
    raw = built.as_bytes(policy=email.policy.SMTP)
    back = email.message_from_bytes(raw, policy=email.policy.default)
    allowed = {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Heliograph-Run", "X-Heliograph-Task"}
    assert set(back.keys()) - allowed == {"Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert back["To"] == "ada@example.org"


def test_a_header_injection_becomes_part_of_the_subject(serve: Serve, inbox: Inbox) -> None:
    evil = "x\r\nBcc: everybody@example.org\r\n\r\nfree money"
    sent(mail(serve()), notice(callback=evil, watch=evil))
    ((_, recipients, message),) = inbox.mails
    assert recipients == ["ada@example.org"]
    assert message["Bcc"] is None
    assert "free money" not in message.get_content()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.org",
        "ada@",
        "a b@c",
        "ada@exa mple.org",
        "a@b\nBcc: c@d",
        "a@b,c@d",
        "<a@b>",
        "a@-b.c",
        None,
    ],
)
def test_what_is_no_address_is_refused_with_the_arguments_name(text: object) -> None:
    with pytest.raises(BadWatch, match=r"^email: "):
        check_email(text)
    for odd in (5, "ada@b..c", "é@example.org", "a@" + "x" * 64 + ".org"):
        with pytest.raises(BadWatch):
            check_email(odd)


def test_addresses_of_all_kinds_are_taken() -> None:
    for text in ("ada@example.org", "root@localhost", "a.b+c@x-y.example", "o'neil@example.org"):
        assert check_email(f" {text} ") == text
    assert check_email("ada@bücher.example") == "ada@xn--bcher-kva.example"


def test_a_refused_recipient_is_told_with_the_servers_own_words(serve: Serve, inbox: Inbox) -> None:
    inbox.refuse = "550 no such person here"
    with pytest.raises(NotSent, match="550 no such person here") as caught:
        sent(mail(serve()), notice())
    assert not caught.value.again
    inbox.refuse = "451 try later"
    with pytest.raises(NotSent, match="451") as caught:
        sent(mail(serve()), notice())
    assert caught.value.again


def test_an_unreachable_server_is_named() -> None:
    port = free_port()
    with pytest.raises(NotSent, match=f"127.0.0.1:{port}: Connection refused") as caught:
        sent(mail(port), notice())
    assert caught.value.again


@pytest.fixture
def dripping() -> Iterator[int]:
    """A server that sends a byte of its greeting now and then and never comes to an end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)

        def drip() -> None:
            taken: list[socket.socket] = []
            while not over.wait(0.05):
                with contextlib.suppress(TimeoutError):
                    taken.append(listener.accept()[0])
                for one in taken:
                    try:
                        one.sendall(b"2")
                    except OSError:
                        continue
            for one in taken:
                one.close()

        thread = threading.Thread(target=drip)
        thread.start()
        yield int(listener.getsockname()[1])
        over.set()
        thread.join(10)


def test_a_server_that_only_drips_is_cut_off(dripping: int) -> None:
    with pytest.raises(NotSent):
        sent(mail(dripping, patience=5.0, longest=0.4), notice())


def test_starttls_and_a_password_and_only_for_a_certificate_that_holds(
    serve: Serve, inbox: Inbox, tmp_path: Path
) -> None:
    one = self_signed(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(one.both)
    port = serve(tls_context=server_side, authenticator=inbox.authenticate, auth_required=True)
    trusts = ssl.create_default_context(cafile=str(one.certificate))
    account = {"tls": "starttls", "user": "heliograph", "password": "open sesame"}
    sent(mail(port, context=trusts, **account), notice())
    assert inbox.users == ["heliograph"]
    assert len(inbox.mails) == 1
    with pytest.raises(NotSent, match="535"):
        sent(mail(port, context=trusts, **{**account, "password": "wrong"}), notice())
    with pytest.raises(NotSent, match="TLS failed"):
        sent(mail(port, **account), notice())
    assert len(inbox.mails) == 1


def test_tls_from_the_first_byte(serve: Serve, inbox: Inbox, tmp_path: Path) -> None:
    one = self_signed(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(one.both)
    client_side = ssl.create_default_context(cafile=str(one.certificate))
    port = free_port()
    controller = Controller(inbox, hostname="127.0.0.1", port=port, ssl_context=server_side)
    # Its own probe does not know this certificate.
    controller._trigger_server = lambda: mail(port, tls="ssl", context=client_side)._connect([]).close()
    controller.start()
    try:
        sent(mail(port, tls="ssl", context=client_side), notice())
    finally:
        controller.stop()
    assert len(inbox.mails) == 1


def test_a_server_without_starttls_gets_neither_mail_nor_password(serve: Serve, inbox: Inbox) -> None:
    with pytest.raises(NotSent, match="STARTTLS"):
        sent(mail(serve(), tls="starttls", user="u", password="secret-word"), notice())
    assert not inbox.mails


def test_a_password_never_travels_in_the_clear_and_never_shows() -> None:
    target = mail(25, host="mail.invalid", user="u", password="secret-word")
    with pytest.raises(NotSent, match="not sent without TLS") as caught:
        sent(target, notice())
    assert "secret-word" not in str(caught.value) + repr(target._smtp)
