"""The file-watch service from outside: requests and a watch file in, rows in the store out, and SIGKILL in between."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from aiosmtpd.controller import Controller

from tests.filewatch.hosting import Filewatch, Site, with_modules_of, write_files
from tests.filewatch.service_fixtures import CALLBACKS, allowing, root, service, site
from tests.filewatch.test_mail import Inbox, free_port
from tests.fixtures.broker import Broker

__all__ = ["root", "service", "site"]


def test_a_run_leaves_the_watching_to_the_service_until_it_ends(service: Filewatch, site: Site, root: Path) -> None:
    site.begin("r")
    write_files(root, ["a.dat", "b.txt", "deep/c.dat"])
    site.ask("r", root, callbacks=["jobs:names"], origin="parsl", number=7)
    service.start()
    service.wait(lambda: len(site.callbacks("r")) >= 1 and len(site.files("r")) == 2)
    service.wait(lambda: sum(len(c.paths) for c in site.callbacks("r")) == 2)
    assert service.wait(lambda: service.ready()["ready"])
    (watch,) = site.watches("r")
    assert (watch.root, watch.closed, watch.task is not None) == (str(root), None, True)
    assert service.metric("watches") == 1
    write_files(root, ["last.dat"])
    site.end("r")
    (reason,) = service.wait(lambda: site.closed("r"))
    assert "the run has ended" in reason
    assert sorted(f.path for f in site.files("r")) == sorted(
        str(root / name) for name in ("a.dat", "deep/c.dat", "last.dat")
    )
    assert {c.outcome for c in site.callbacks("r")} == {"ok"}
    (watch,) = site.watches("r")
    assert (watch.files, watch.unfinished) == (3, 0)
    site.ask("r", root)  # delivered once more, late
    service.wait(lambda: service.metric('requests_total{outcome="known"}') == 1)
    assert service.hosts() == []
    assert service.stop() == 0


def test_a_watch_is_stopped_when_asked_and_a_stop_before_the_start_counts_too(
    service: Filewatch, site: Site, root: Path
) -> None:
    site.begin("r")
    service.start()
    site.withdraw("r", "early")
    site.ask("r", root, "late")
    service.wait(lambda: [w.watch for w in site.watches("r")] == ["late"])
    site.ask("r", root, "early")
    site.withdraw("r", "late")
    reasons = service.wait(lambda: found if len(found := site.closed("r")) == 2 else None)
    assert sorted(reasons) == ["enough", "it has ended: enough"]


def test_killed_during_callbacks_and_started_again_nothing_is_missed_and_repeats_are_marked(
    service: Filewatch, site: Site, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "pause").write_text("60")
    trace = tmp_path / "trace"
    site.begin("r")
    site.ask("r", root, callbacks=["jobs:slow"])
    write_files(root, ["a.dat", "b.dat"])
    service.start()
    service.wait(lambda: trace.exists() and "began" in trace.read_text())
    running = int(trace.read_text().split()[-1])
    service.kill()
    write_files(root, ["while-away.dat"])
    (tmp_path / "pause").write_text("0")
    service.start()
    service.wait(lambda: len({p for c in site.callbacks("r") if c.outcome == "ok" for p in c.paths}) == 3)
    service.wait(lambda: not Path(f"/proc/{running}").exists())
    done = Counter(p for c in site.callbacks("r") if c.outcome == "ok" for p in c.paths)
    assert set(done) == {str(root / name) for name in ("a.dat", "b.dat", "while-away.dat")}
    again = [c for c in site.callbacks("r") if c.repeat]
    assert again
    assert str(root / "while-away.dat") not in {p for c in again for p in c.paths}
    assert len(site.files("r")) == 3


def test_only_the_process_of_a_watch_is_killed_and_it_comes_back(service: Filewatch, site: Site, root: Path) -> None:
    site.begin("r")
    site.ask("r", root)
    service.start()
    (first,) = service.wait(service.hosts)
    service.wait(lambda: site.watches("r"))
    os.kill(first, signal.SIGKILL)
    write_files(root, ["a.dat"])
    service.wait(lambda: site.files("r"))
    (second,) = service.hosts()
    assert second != first
    assert service.metric("restarts_total") == 1


def test_a_stopped_service_goes_on_where_it_was(service: Filewatch, site: Site, root: Path) -> None:
    site.begin("r")
    site.ask("r", root, callbacks=["jobs:names"])
    write_files(root, ["a.dat"])
    service.start()
    service.wait(lambda: site.callbacks("r"))
    assert service.stop() == 0
    assert service.hosts() == []
    assert site.closed("r") == []
    service.start()
    write_files(root, ["b.dat"])
    service.wait(lambda: len(site.callbacks("r")) == 2)
    assert sorted(p for c in site.callbacks("r") for p in c.paths) == [str(root / "a.dat"), str(root / "b.dat")]
    assert not any(c.repeat for c in site.callbacks("r"))


PROGRAM = """
import sys, time
from pathlib import Path
import heliograph
from heliograph.filewatch import FileMonitor

root = Path(sys.argv[1])
with heliograph.run("program", bus=sys.argv[2]):
    monitor = FileMonitor(
        ["jobs:names", None], [r"[.]dat$", r"[.]log$"], working_dir=root, sleep_dur=0.1, where="service"
    )
    with monitor:
        (root / "a.dat").write_text("x")
        (root / "b.log").write_text("x")
"""


def test_a_program_leaves_its_monitor_to_the_service_by_way_of_its_journal_and_agent(
    service: Filewatch, site: Site, root: Path, tmp_path: Path
) -> None:
    service.start()
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    environment |= {"HELIOGRAPH_STATE_DIR": str(tmp_path / "agent"), "PYTHONPATH": with_modules_of(tmp_path)}
    command = [sys.executable, "program.py", str(root), site.bus]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    run = service.wait(lambda: next(iter(site.runs("program")), None))
    service.wait(lambda: site.closed(run))
    assert sorted(f.path for f in site.files(run)) == [str(root / "a.dat"), str(root / "b.log")]
    service.wait(lambda: site.callbacks(run))
    (done,) = site.callbacks(run)
    assert (done.callback, done.outcome, done.result) == ("jobs:names", "ok", "a.dat")


def test_mail_of_a_requested_watch_is_sent_and_what_is_not_shows_with_the_run(
    service: Filewatch, site: Site, root: Path
) -> None:
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        service._variables["HELIOGRAPH_SMTP_HOST"] = "127.0.0.1"
        service._variables["HELIOGRAPH_SMTP_PORT"] = str(controller.port)
        site.begin("r")
        site.ask("r", root, callbacks=["jobs:names"], email="ada@example.org")
        write_files(root, ["a.dat"])
        service.start()
        service.wait(lambda: inbox.mails)
        _, recipients, message = inbox.mails[0]
        assert recipients == ["ada@example.org"]
        assert message.get_content().strip() == "a.dat"
        assert "run r" in message["Subject"]
        inbox.refuse = "550 gone"
        write_files(root, ["b.dat"])
        service.wait(lambda: len(site.callbacks("r")) == 3)
        (failed,) = [c for c in site.callbacks("r") if c.outcome == "error"]
        assert failed.callback == "mail to ada@example.org"
        assert "550 gone" in (failed.result or "")
        site.end("r")
        (reason,) = service.wait(lambda: site.closed("r"))
        assert "1 notifications not sent" in reason
    finally:
        controller.stop()


def test_on_rabbitmq_and_postgresql_from_the_request_to_the_rows(
    tmp_path: Path, root: Path, broker: Broker, postgres_url: str
) -> None:
    (tmp_path / "jobs.py").write_text(CALLBACKS)
    site = Site(broker.new_url(), postgres_url)
    one = Filewatch(tmp_path, site, allowing(root))
    try:
        one.start()
        site.begin("r")
        site.ask("r", root, callbacks=["jobs:names"])
        write_files(root, ["a.dat"])
        one.wait(lambda: site.callbacks("r"))
        one.kill()
        write_files(root, ["b.dat"])
        one.start()
        one.wait(lambda: len(site.callbacks("r")) == 2)
        site.end("r")
        (reason,) = one.wait(lambda: site.closed("r"))
        assert "the run has ended" in reason
        assert sorted(c.result or "" for c in site.callbacks("r")) == ["a.dat", "b.dat"]
        assert one.stop() == 0
    finally:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
        site.close()


def test_what_could_not_be_written_down_is_found_once_more(service: Filewatch, site: Site, root: Path) -> None:
    site.begin("r")
    site.ask("r", root, callbacks=["jobs:names"])
    service.start()
    service.wait(lambda: site.watches("r"))
    (outbox,) = (service.folder / "state" / "watches").glob("*/outbox/*.out")
    (host,) = service.hosts()
    os.truncate(outbox, 8 << 20)  # its next record lies beyond what this process may write, as on a full disk
    resource.prlimit(host, resource.RLIMIT_FSIZE, (4 << 20, 4 << 20))
    write_files(root, ["a.dat"])
    service.wait(lambda: site.callbacks("r"))
    assert [f.path for f in site.files("r")] == [str(root / "a.dat")]
    assert {c.outcome for c in site.callbacks("r")} == {"ok"}
