"""The file-watch service from outside: requests and a watch file in, rows in the store out, and SIGKILL in between."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.filewatch.hosting import Filewatch, Site, write_files

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
    assert not Path(f"/proc/{running}").exists()
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
