"""Mail of whole watches: monitors with an address, each in a process of its own, beside mail servers of every kind.
None of them is in the way of what is watched, and what was not sent stands with the run."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from heliograph import FileMonitor
from heliograph import journal as journals
from heliograph.filewatch.attach import Handle, opened
from heliograph.messages import FileCallback, FileFound, WatchClosed
from tests.filewatch import callbacks
from tests.filewatch.conftest import Place, wait_for
from tests.filewatch.test_mail import Inbox, free_port
from tests.parsl.conftest import of, recorded

KINDS = ("taken", "refused", "unreachable", "slow")
Opens = Callable[[str, int], Handle]


@contextmanager
def serving(inbox: Inbox) -> Iterator[int]:
    """A mail server's port."""
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield int(controller.port)
    finally:
        controller.stop()


@contextmanager
def silence() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def opens(place: Place, monkeypatch: pytest.MonkeyPatch) -> Opens:
    """A watch of a folder of its own, whose mail goes to this port."""
    route = journals.Route(run="run-1", run_dir=str(place.notes))

    def one(kind: str, port: int) -> Handle:
        monkeypatch.setenv("HELIOGRAPH_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("HELIOGRAPH_SMTP_PORT", str(port))
        (place.root / kind).mkdir()
        folder = place.root / kind
        monitor = FileMonitor(
            callbacks.names, r"\.dat$", working_dir=folder, sleep_dur=0.1, name=kind, email=f"{kind}@example.org"
        )
        return opened(monitor, route)

    return one


def test_servers_that_refuse_are_away_or_hang_disturb_no_watch(place: Place, opens: Opens) -> None:
    taking, refusing = Inbox(), Inbox()
    refusing.refuse = "550 no such user here"
    with serving(taking) as taken, serving(refusing) as refused, silence() as silent:
        ports = {"taken": taken, "refused": refused, "unreachable": free_port(), "slow": silent}
        handles = [opens(kind, ports[kind]) for kind in KINDS]
        for number in range(2):
            for kind in KINDS:
                place.write(f"{kind}/{number}.dat")
            # With each server, the second file is called back while the first one's mail is in trouble.
            wait_for(lambda n=number: len(_called(place)) == (n + 1) * len(KINDS), 60)  # type: ignore[misc]
        for handle in handles:
            handle.end()
        assert all(handle.wait(time.monotonic() + 90) for handle in handles)
    records = recorded(place.state)
    assert sorted(Path(record.path).parent.name for record in of(FileFound, records)) == sorted(2 * KINDS)
    assert [call.outcome for call in _called(place)] == ["ok"] * 8
    assert [record.unfinished for record in of(WatchClosed, records)] == [0] * 4
    assert sorted(str(message.get_content()).strip() for _, _, message in taking.mails) == ["0.dat", "1.dat"]
    assert {tuple(recipients) for _, recipients, _ in taking.mails} == {("taken@example.org",)}
    unsent = [call for call in of(FileCallback, records) if call.outcome == "error"]
    assert sorted(call.callback for call in unsent) == sorted(2 * [f"mail to {kind}@example.org" for kind in KINDS[1:]])
    reasons = {kind: [call.result or "" for call in unsent if f" {kind}@" in call.callback] for kind in KINDS}
    assert all("550 no such user here" in text for text in reasons["refused"])
    assert any("Connection refused" in text for text in reasons["unreachable"])
    assert all((call.result or "").startswith("not sent: ") for call in unsent)
    log = (place.notes / "heliograph-watch.log").read_text()
    assert log.count("550 no such user here") == 1  # once a cause, not once a mail


def _called(place: Place) -> list[FileCallback]:
    """Calls of the monitors' own callbacks."""
    return [call for call in of(FileCallback, recorded(place.state)) if call.callback.endswith(":names")]
