"""Notices in the background: a server that does not take them holds nothing up, and what is not sent is told."""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from heliograph.filewatch.config import BadWatch
from heliograph.filewatch.notify import Notifier, notifier
from heliograph.settings import Smtp, smtp
from tests.filewatch.notices import ABOUT, notice
from tests.filewatch.test_mail import Inbox, Serve, free_port, inbox, mail, serve

__all__ = ["inbox", "serve"]


def drained(one: Notifier, count: int, timeout: float = 20) -> list[Any]:
    found: list[Any] = []
    end = time.monotonic() + timeout
    while len(found) < count and time.monotonic() < end:
        found += one.failed()
        time.sleep(0.01)
    return found


def test_a_notifier_sends_in_the_background_and_close_waits_for_it(serve: Serve, inbox: Inbox) -> None:
    one = Notifier([mail(serve())], about=ABOUT)
    for number in range(5):
        one(notice(sequence=number))
    one(notice(sequence=9, result=None))  # a callback that returned nothing
    one.close(20)
    assert len(inbox.mails) == 5
    assert (one.failed(), one.unsent, one.trouble) == ([], 0, "")


def test_what_cannot_be_sent_is_logged_once_counted_and_told_as_records(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    one = Notifier([mail(port)], about=ABOUT, pauses=())
    with caplog.at_level(logging.WARNING, "heliograph"):
        for number in range(4):
            one(notice(sequence=number))
        records = drained(one, 4)
        one.close(5)
    assert len(caplog.records) == 1
    assert one.unsent == 4
    assert f"127.0.0.1:{port}" in one.trouble
    assert {r.outcome for r in records} == {"error"}
    assert {r.callback for r in records} == {"mail to ada@example.org"}
    assert len({r.sequence for r in records}) == 4
    assert all("Connection refused" in (r.result or "") for r in records)
    assert records[0].paths == ["/scr/run1/a.png", "/scr/run1/b.png"]


def test_a_server_that_hangs_holds_up_neither_the_watch_nor_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = Notifier([mail(silent.getsockname()[1], patience=60.0, longest=60.0)], most=3, pauses=())
        began = time.monotonic()
        for number in range(50):
            one(notice(sequence=number))
        one.close(0.2)
        assert time.monotonic() - began < 30  # not the 60 s of one notice
        told = one.failed()
        assert one.unsent == len(told) == 50
        assert sum("while it was being sent" in (record.result or "") for record in told) == 1
        one(notice())
        assert len(one.failed()) == 1


def test_a_server_that_comes_back_gets_what_was_tried_before(serve: Serve, inbox: Inbox) -> None:
    inbox.refuse = "451 not now"
    one = Notifier([mail(serve())], pauses=(0.05, 0.05, 0.05, 20.0))
    one(notice())
    time.sleep(0.1)
    inbox.refuse = ""
    one.close(30)
    assert len(inbox.mails) == 1
    assert one.failed() == []


def test_settings_come_from_the_environment_and_from_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "password").write_text("open sesame\n")
    found = smtp(
        {
            "HELIOGRAPH_SMTP_HOST": "mail.example.org",
            "HELIOGRAPH_SMTP_TLS": "SSL",
            "HELIOGRAPH_SMTP_USER": "u",
            "HELIOGRAPH_SMTP_PASSWORD_FILE": str(tmp_path / "password"),
            "HELIOGRAPH_SMTP_SENDER": "a@b.example",
        }
    )
    assert (found.host, found.port, found.tls, found.password) == ("mail.example.org", 465, "ssl", "open sesame")
    assert "sesame" not in repr(found)
    assert smtp({}) == Smtp(host="localhost", port=25, tls="none")
    with caplog.at_level(logging.WARNING, "heliograph"):
        odd = smtp({"HELIOGRAPH_SMTP_TLS": "yes please", "HELIOGRAPH_SMTP_PORT": "smtp"})
    assert (odd.tls, odd.port) == ("starttls", 587)
    assert len(caplog.records) == 2


def test_a_notifier_for_bad_targets_is_refused_where_it_is_made() -> None:
    with pytest.raises(BadWatch, match=r"^email: "):
        notifier(email="nobody", webhook=None)
    with pytest.raises(BadWatch, match=r"^webhook: "):
        notifier(email=None, webhook="ftp://x")
    assert notifier(email="", webhook=None).failed() == []
