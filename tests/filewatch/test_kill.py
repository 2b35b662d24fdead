"""Killed in the middle and started again: nothing is missed, what ran again is marked, and nobody is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heliograph import FileMonitor
from heliograph import journal as journals
from heliograph.filewatch.attach import opened
from heliograph.filewatch.config import Callback
from heliograph.filewatch.plan import watches_folder
from heliograph.messages import FileCallback, FileFound, WatchClosed
from tests.filewatch import callbacks
from tests.filewatch.conftest import Place, wait_for
from tests.parsl.conftest import of, recorded

ROOT = Path(__file__).parents[2]


class Host:
    """Engines on one memory, one after the other."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.memory, self.out = place.state.parent / "memory.db", place.state.parent / "records"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, callback: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.filewatch.host", self.place.root, self.memory, self.out, callback],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        (self.place.notes / "end").touch()
        assert self.process is not None
        assert self.process.wait(60) == 0

    def records(self, kind: str) -> list[dict[str, Any]]:
        if not self.out.exists():
            return []
        found = [json.loads(line) for line in self.out.read_text().splitlines()]
        return [record for record in found if record["kind"] == kind]


@pytest.fixture
def host(place: Place) -> Iterator[Host]:
    made = Host(place)
    yield made
    if made.process is not None:
        made.kill()


def test_killed_during_callbacks_and_started_again(place: Place, host: Host) -> None:
    begun = place.write("begun.dat")
    host.start("holds_on")
    wait_for(lambda: list(place.notes.glob("began-*")))
    host.kill()
    wait_for(lambda: not place.processes("keeper"), 5)
    late = place.write("late.dat")
    (place.notes / "go").touch()
    host.start("holds_on")
    wait_for(lambda: sum(len(call["paths"]) for call in host.records("file.callback")) == 2)
    host.end()
    calls = {tuple(call["paths"]): call["repeat"] for call in host.records("file.callback")}
    assert calls == {(begun,): True, (late,): False}
    assert {record["path"] for record in host.records("file.found")} == {begun, late}
    assert [record["unfinished"] for record in host.records("watch.closed")] == [0]


def test_callbacks_die_with_their_engine_and_so_does_what_they_started(place: Place, host: Host) -> None:
    place.write("a.dat")
    host.start("sleeps")
    wait_for(lambda: list(place.notes.iterdir()))
    assert place.processes("sleep 600")
    host.kill()
    wait_for(lambda: not place.processes("keeper") and not place.processes("sleep 600"), 5)


def test_killed_again_and_again(place: Place, host: Host) -> None:
    """At any moment: whatever was delivered more than once is marked from the second time on, and all was delivered."""
    rng = random.Random(7)
    expected = set()
    for number in range(6):
        host.start("names")
        wait_for(lambda n=number: len(host.records("watch.opened")) == n + 1)  # type: ignore[misc]
        for part in range(3):
            expected.add(place.write(f"{number}-{part}.dat"))
            time.sleep(rng.uniform(0.0, 0.2))
        time.sleep(rng.uniform(0.0, 0.3))
        host.kill()
    host.start("names")
    wait_for(lambda: len(host.records("watch.opened")) == 7)
    host.end()
    found = Counter(record["path"] for record in host.records("file.found"))
    assert set(found) == expected
    called: set[str] = set()
    for call in host.records("file.callback"):
        assert call["outcome"] == "ok"
        again = called & set(call["paths"])
        assert not again or call["repeat"]
        called |= set(call["paths"])
    assert called == expected
    repeated = {record["path"] for record in host.records("file.found") if record["repeat"]}
    assert {path for path, times in found.items() if times > 1} <= repeated
    sequences = [call["sequence"] for call in host.records("file.callback")]
    assert len(set(sequences)) == len(sequences)


def detached(place: Place, callback: Any, **more: Any) -> tuple[Any, journals.Route]:
    route = journals.Route(run="run-1", run_dir=str(place.notes))
    monitor = FileMonitor(callback, r"\.dat$", working_dir=place.root, sleep_dur=0.1, name="same", **more)
    return opened(monitor, route), route


def watch_process(place: Place) -> int:
    folder = watches_folder()
    wait_for(lambda: list(folder.glob("*/taken")))
    owner = next(folder.glob("*/taken")).read_text()
    return int(owner.split("/")[-2])


def test_a_watch_that_is_killed_is_told_and_the_next_one_goes_on(place: Place) -> None:
    place.write("a.dat")
    detached(place, callbacks.holds_on)
    wait_for(lambda: list(place.notes.glob("began-*")))
    os.kill(watch_process(place), signal.SIGKILL)
    wait_for(lambda: of(WatchClosed, recorded(place.state)))
    closed = of(WatchClosed, recorded(place.state))
    assert [(record.files, record.unfinished, record.reason) for record in closed] == [(1, 1, "killed")]
    wait_for(lambda: not place.processes("keeper"), 5)
    (place.notes / "go").touch()
    handle, _ = detached(place, callbacks.holds_on)
    handle.end()
    assert handle.wait(time.monotonic() + 30)
    records = recorded(place.state)
    assert [(record.outcome, record.repeat) for record in of(FileCallback, records)] == [("ok", True)]
    assert len(of(FileFound, records)) == 1


def test_a_watch_that_is_terminated_says_itself_what_it_leaves(place: Place) -> None:
    place.write("a.dat")
    handle, _ = detached(place, callbacks.holds_on)
    wait_for(lambda: list(place.notes.glob("began-*")))
    os.kill(watch_process(place), signal.SIGTERM)
    assert handle.wait(time.monotonic() + 10)
    closed = of(WatchClosed, recorded(place.state))
    assert [(record.files, record.unfinished, record.reason) for record in closed] == [(1, 1, "terminated")]
    wait_for(lambda: not place.processes("keeper"), 5)


def test_all_of_it_is_killed_and_the_next_start_says_so(place: Place) -> None:
    """As a batch system does it, the process that starts watches included."""
    place.write("a.dat")
    detached(place, callbacks.holds_on)
    wait_for(lambda: list(place.notes.glob("began-*")))
    for pid in place.processes("warden"):
        os.kill(pid, signal.SIGKILL)
    os.kill(watch_process(place), signal.SIGKILL)
    wait_for(lambda: not place.processes())
    assert of(WatchClosed, recorded(place.state)) == []
    (place.notes / "go").touch()
    os.utime(watches_folder() / "warden.lock", (0, 0))
    handle, _ = detached(place, callbacks.holds_on)
    handle.end()
    assert handle.wait(time.monotonic() + 30)
    wait_for(lambda: len(of(WatchClosed, recorded(place.state))) == 2)
    closed = of(WatchClosed, recorded(place.state))
    told = sorted((record.reason, record.files, record.unfinished) for record in closed)
    assert told == [("ended", 0, 0), ("killed", 1, 1)]


def test_a_watch_ends_with_its_program_and_not_before_its_files_are_done_with(place: Place) -> None:
    program = (
        "import sys\nfrom heliograph import FileMonitor\nfrom tests.filewatch.callbacks import names\n"
        "monitor = FileMonitor(names, 'dat$', working_dir=sys.argv[1], sleep_dur=0.5)\nmonitor.__enter__()\n"
        "open(sys.argv[1] + '/a.dat', 'w').write('last words')\nprint(monitor.log)\nimport os\nos._exit(1)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, place.root], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert ran.returncode == 1
    log = Path(ran.stdout.strip())
    wait_for(lambda: log.exists() and "watch.closed" in log.read_text())
    assert "'result': 'a.dat'" in log.read_text()
    assert "'reason': 'its program is gone'" in log.read_text()


def test_a_watch_lingers_no_longer_than_it_may(place: Place) -> None:
    place.write("a.dat")
    handle, _ = detached(place, callbacks.holds_on, linger=1.0)
    wait_for(lambda: list(place.notes.glob("began-*")))
    handle.end()
    assert handle.wait(time.monotonic() + 20)
    closed = of(WatchClosed, recorded(place.state))
    assert [(record.unfinished, record.reason) for record in closed] == [(1, "ended; out of time after 1 s")]
    assert not place.processes("keeper")


def test_no_watch_can_be_opened_and_the_program_goes_on(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.state.write_text("a file where the folder should be")
    with FileMonitor(Callback(name="a:b"), "dat", working_dir=place.root) as monitor:
        pass
    assert monitor.wait(0.1)
    assert "No file watch can be opened here" in caplog.text
