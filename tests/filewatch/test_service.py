"""The file-watch service from outside: requests and a watch file in, rows in the store out, and SIGKILL in between."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from heliograph.bus import Outgoing, open_dead_letters, open_publisher
from heliograph.messages import Class
from heliograph_filewatch.admit import Refused
from heliograph_filewatch.config import BadWatchFile, Limits, load
from heliograph_filewatch.kept import Kept
from heliograph_filewatch.own import OwnRuns
from tests.filewatch.hosting import Filewatch, Site, with_modules_of, write_files
from tests.filewatch.test_mail import Inbox, free_port
from tests.fixtures.broker import Broker

CALLBACKS = """
import os, sys, time

def names(files):
    return ",".join(sorted(os.path.basename(f) for f in files))

def slow(files):
    with open(os.environ["TRACE"], "a") as trace:
        trace.write("began %s %d\\n" % (names(files), os.getpid()))
    time.sleep(float(open(os.environ["PAUSE"]).read()))
    return names(files)

def secrets(files):
    return ",".join(sorted(n for n in os.environ if n.startswith("HELIOGRAPH_")))
"""


def allowing(root: Path, more: str = "") -> str:
    return f"""
[allow]
roots = ["{root}"]
callbacks = ["jobs:names", "jobs:slow", "jobs:secrets"]
emails = ["@example.org"]
[limits]
interval = 0.1
{more}
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(f"spool:{tmp_path}/spool", f"sqlite:///{tmp_path}/heliograph.db")
    yield one
    one.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
def service(tmp_path: Path, site: Site, root: Path) -> Iterator[Filewatch]:
    (tmp_path / "jobs.py").write_text(CALLBACKS)
    (tmp_path / "pause").write_text("0")
    one = Filewatch(tmp_path, site, allowing(root), TRACE=str(tmp_path / "trace"), PAUSE=str(tmp_path / "pause"))
    yield one
    if one.process is not None and one.process.poll() is None:
        one.stop()
    assert one.wait(lambda: not one.hosts(), 20)


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


def test_callbacks_see_none_of_our_secrets(tmp_path: Path, site: Site, service: Filewatch, root: Path) -> None:
    service._variables["HELIOGRAPH_SMTP_PASSWORD"] = "secret-word"
    site.begin("r")
    site.ask("r", root, callbacks=["jobs:secrets"])
    write_files(root, ["a.dat"])
    service.start()
    (done,) = service.wait(lambda: site.callbacks("r"))
    assert done.outcome == "ok"
    assert not {"HELIOGRAPH_SMTP_PASSWORD", "HELIOGRAPH_BUS", "HELIOGRAPH_DATABASE"} & set(
        (done.result or "").split(",")
    )


def test_what_is_not_allowed_is_refused_recorded_and_counted(
    service: Filewatch, site: Site, root: Path, tmp_path: Path
) -> None:
    site.begin("r")
    (tmp_path / "elsewhere").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    write_files(tmp_path / "elsewhere", ["secret.dat"])
    bad: dict[str, dict[str, object]] = {
        "outside": {"root": tmp_path / "elsewhere"},
        "dots": {"root": f"{root}/../elsewhere"},
        "link": {"root": root / "link"},
        "callback": {"callbacks": ["os:system"]},
        "mail": {"email": "eve@evil.example"},
        "hook": {"webhook": "http://169.254.169.254/"},
        "giant": {"patterns": ["x" * 100_000]},
        "broken": {"patterns": ["("]},
    }
    for watch, wanted in bad.items():
        site.ask("r", **{"root": root, "watch": watch, **wanted})
    site.ask("r", root, "good", callbacks=["jobs:names"])
    service.start()
    service.wait(lambda: len(site.closed("r")) == len(bad))
    reasons = {w.watch: w.reason or "" for w in site.watches("r") if w.closed is not None}
    assert set(reasons) == set(bad)
    assert all(reason.startswith("refused: ") for reason in reasons.values())
    assert "allow.roots" in reasons["outside"]
    assert "allow.callbacks" in reasons["callback"]
    write_files(root, ["a.dat", "link-to.dat"])
    (root / "sly.dat").symlink_to(tmp_path / "elsewhere" / "secret.dat")
    service.wait(lambda: len(site.files("r")) >= 2)
    assert {f.watch for f in site.files("r")} == {"good"}
    assert not [f.path for f in site.files("r") if "sly" in f.path or "secret" in f.path]
    assert service.metric('requests_total{outcome="refused"}') == len(bad)
    assert service.metric('requests_total{outcome="accepted"}') == 1


def test_nobody_takes_all_the_room(service: Filewatch, site: Site, root: Path) -> None:
    service.file.write_text(allowing(root, "watches = 3\nwatches_per_run = 2"))
    for run in ("r", "s"):
        site.begin(run)
    for number in range(3):
        site.ask("r", root, f"w{number}")
    service.start()
    (reason,) = service.wait(lambda: site.closed("r"))
    assert reason == "refused: this service takes 2 watches of one run"
    site.ask("s", root, "first")
    site.ask("s", root, "second")
    (reason,) = service.wait(lambda: site.closed("s"))
    assert reason == "refused: this service watches for 3 requests already"
    assert len(service.hosts()) == 3
    with urllib.request.urlopen(f"{service.url()}/healthz", timeout=10) as answer:
        assert answer.status == 200


def test_an_expression_that_never_ends_costs_its_own_watch_and_nothing_else(
    service: Filewatch, site: Site, root: Path
) -> None:
    service.file.write_text(allowing(root, "step_cpu = 0.5"))
    site.begin("r")
    site.ask("r", root, "evil", patterns=[r"^(a+)+$"])
    site.ask("r", root, "good", patterns=["!"])
    write_files(root, ["a" * 60 + "!"])
    service.start()
    (reason,) = service.wait(lambda: site.closed("r"))
    assert "processor time" in reason
    service.wait(lambda: site.files("r"))
    assert {f.watch for f in site.files("r")} == {"good"}
    assert service.metric("runaway_total") == 1


def test_a_root_that_becomes_a_link_is_not_followed(service: Filewatch, site: Site, root: Path, tmp_path: Path) -> None:
    (root / "mine").mkdir()
    site.begin("r")
    site.ask("r", root / "mine")
    service.start()
    service.wait(lambda: site.watches("r"))
    write_files(tmp_path / "elsewhere", ["secret.dat"])
    (root / "mine").rename(root / "before")
    (root / "mine").symlink_to(tmp_path / "elsewhere")
    (reason,) = service.wait(lambda: site.closed("r"))
    assert "not the folder any more" in reason
    assert site.files("r") == []


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


def test_what_is_no_request_is_put_aside(service: Filewatch, site: Site) -> None:
    service.start()
    publisher = open_publisher(site.bus, name="evil")
    publisher.publish([Outgoing(run="r", cls=Class.COMMANDS, body=b"rubbish")])
    dead = open_dead_letters(site.bus)
    service.wait(lambda: dead.count() == 1)
    (letter,) = dead.list()
    assert (letter.route, letter.body) == ("commands.r", b"rubbish")
    assert "not a batch" in letter.reason


def test_the_watch_file_has_watches_of_its_own_under_a_run_of_their_own(
    service: Filewatch, site: Site, root: Path
) -> None:
    service.file.write_text(f"""
[[watch]]
name = "plots"
run = "nightly"
root = "{root}"
filetypes = ["*.png"]
patterns = ['\\.log$']
callbacks = ["jobs:names", ["ls", "-1"]]
interval = 0.1
""")
    service.start()
    write_files(root, ["a.png", "b.log"])
    run = service.wait(lambda: next(iter(site.runs("nightly")), None))
    service.wait(lambda: len(site.callbacks(run)) == 2)
    done = {c.callback: (c.outcome, c.result) for c in site.callbacks(run)}
    assert done == {"jobs:names": ("ok", "b.log"), "ls": ("ok", f"{root}/a.png\n")}
    assert service.stop() == 0
    service.start()
    write_files(root, ["c.log"])
    service.wait(lambda: len(site.callbacks(run)) == 3)
    assert len(site.runs("nightly")) == 1
    service.stop()
    service.file.write_text("")
    service.start()
    service.wait(lambda: site.closed(run) == ["it is not in the watch file any more"])
    service.wait(lambda: site.ended(run))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[allow", "is not a TOML file"),
        ("[allow]\nroots = ['scratch']", "'scratch' is not an absolute path"),
        ("[allow]\nfolders = ['/x']", "folders"),
        ("[[watch]]\nroot = '/tmp'\npatterns = ['(']", "'(' is not a regular expression"),
        ("[[watch]]\nroot = '/tmp'\npatterns = ['x']\nemail = 'nobody'", "email"),
        ("[limits]\nwatches = 0", "limits.watches must be more than 0"),
        ("[[watch]]\nroot='/a'\nname='x'\n[[watch]]\nroot='/b'\nname='x'", "two watches"),
    ],
)
def test_a_watch_file_that_cannot_be_is_said_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "watches.toml"
    file.write_text(text)
    with pytest.raises((BadWatchFile, Refused)) as caught:
        OwnRuns(Kept(tmp_path / "state"), load(file)).jobs()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_documented_watch_file_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "file-watch-service.md"
    (tmp_path / "watches.toml").write_text(page.read_text().split("```toml\n")[1].split("```")[0])
    found = load(tmp_path / "watches.toml")
    assert found.limits == Limits()
    (job,) = OwnRuns(Kept(tmp_path / "state"), found).jobs().values()
    assert [rule.callback.kind for rule in job.config.rules if rule.callback] == ["name", "command"]


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
