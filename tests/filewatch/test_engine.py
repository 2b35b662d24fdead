"""The engine: what settles, what is reported again, what callbacks can do, what is remembered, what scans cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.filewatch.config import BadWatch, Callback, Notice, Rule, WatchConfig
from heliograph.filewatch.engine import Engine
from heliograph.filewatch.memory import MemoryFailed
from heliograph.filewatch.mounts import events_trusted
from heliograph.filewatch.portable import portable
from heliograph.filewatch.rounds import Rounds
from heliograph.filewatch.scan import Scan, Version
from heliograph.filewatch.settle import SKEW, Settling
from heliograph.messages import MAX_RECORD, FileFound, encode
from tests.filewatch import callbacks
from tests.filewatch.conftest import Place, Watched

V1, V2 = Version(1, 10**9, 7), Version(2, 10**9, 7)


def test_a_file_that_is_being_written_is_left_alone(place: Place, watching: Callable[..., Watched]) -> None:
    watch = watching(settle=1.0)
    place.write("old.dat", age=1000)
    with open(place.root / "a.dat", "w") as file:
        for _ in range(8):
            file.write("x")
            file.flush()
            end = time.monotonic() + 0.25
            watch.go_on(lambda end=end: time.monotonic() >= end)  # type: ignore[misc]
    assert watch.found == [f"{place.root}/old.dat"]
    watch.go_on(lambda: len(watch.found) == 2)
    assert [record.size for record in watch.of(FileFound)] == [1, 8]


def test_stillness_is_measured_by_our_own_clock() -> None:
    """A file server whose clock is behind makes every file look old."""
    settling = Settling(10.0)
    behind = Version(1, int((1_000_000 - SKEW) * 1e9), 7)
    settling.offer("a", behind, now=0.0, wall=1_000_000.0)
    assert settling.due(9.9, 10) == []
    assert settling.due(10.0, 10) == ["a"]
    assert settling.settled("a", behind, 10.0, 1_000_010.0)
    long_ago = Version(1, int((1_000_000 - SKEW - 11) * 1e9), 7)
    settling.offer("b", long_ago, now=0.0, wall=1_000_000.0)
    assert settling.due(0.0, 10) == ["b"]


@pytest.mark.parametrize("changed", [Version(2, 5, 7), Version(1, 6, 7), Version(1, 5, 8)])
def test_any_change_begins_anew(changed: Version) -> None:
    settling, first = Settling(10.0), Version(1, 5, 7)
    settling.offer("a", first, now=0.0, wall=0.0)
    assert settling.due(10.0, 10) == ["a"]
    assert not settling.settled("a", changed, 10.0, 10.0)
    assert settling.due(19.9, 10) == []
    assert settling.due(20.0, 10) == ["a"]
    assert settling.settled("a", changed, 20.0, 20.0)
    assert len(settling) == 0


def test_a_rewritten_file_is_reported_again_only_when_asked_for(place: Place, watching: Callable[..., Watched]) -> None:
    once, always = watching(), watching(on_change=True)
    place.write("a.dat", "1")
    for watch in (once, always):
        watch.go_on(lambda watch=watch: watch.found)  # type: ignore[misc]
    place.write("a.dat", "12")
    replacement = place.write("new", "123")
    always.go_on(lambda: len(always.found) == 2)
    os.replace(replacement, place.root / "a.dat")
    always.go_on(lambda: len(always.found) == 3)
    assert [record.size for record in always.of(FileFound)] == [1, 2, 3]
    assert once.finish() == 0
    assert len(once.found) == 1


def test_a_later_session_reports_what_was_rewritten_in_between(place: Place, watching: Callable[..., Watched]) -> None:
    memory = str(place.notes / "memory.db")
    place.write("same.dat")
    place.write("other.dat")
    first = watching(memory=memory, session="run 1")
    first.finish()
    assert len(first.found) == 2
    place.write("other.dat", "again")
    place.write("new.dat")
    second = watching(memory=memory, session="run 2")
    second.finish()
    assert sorted(second.found) == [f"{place.root}/new.dat", f"{place.root}/other.dat"]
    third = watching(memory=memory, session="run 2")
    third.finish()
    assert third.found == []


def test_two_watches_with_one_memory_share_the_files(place: Place, watching: Callable[..., Watched]) -> None:
    memory = str(place.notes / "memory.db")
    one, other = watching(callbacks.names, memory=memory), watching(callbacks.names, memory=memory)
    for number in range(20):
        place.write(f"{number}.dat")
    one.go_on(lambda: one.found or other.found)
    one.finish()
    other.finish()
    assert sorted(one.found + other.found) == sorted(f"{place.root}/{n}.dat" for n in range(20))
    assert sum(len(call.paths) for call in one.calls + other.calls) == 20


def test_links_to_folders_are_not_followed(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("deep/a.dat")
    (place.root / "deep" / "up").symlink_to(place.root)
    (place.root / "self").symlink_to("self")
    (place.root / "link.dat").symlink_to(place.write("target"))
    (place.root / "nowhere.dat").symlink_to("/nowhere")
    os.mkfifo(place.root / "pipe.dat")
    (place.root / "folder.dat").mkdir()
    watch = watching()
    watch.finish()
    assert sorted(watch.found) == [f"{place.root}/deep/a.dat", f"{place.root}/link.dat"]
    strict = watching(links=False)
    strict.finish()
    assert strict.found == [f"{place.root}/deep/a.dat"]


def test_names_that_are_no_text(place: Place, watching: Callable[..., Watched]) -> None:
    name = os.fsencode(place.root) + b"/\xff\xfe \n.dat"
    with open(name, "w") as file:
        file.write("x")
    watch = watching(lambda files: os.path.exists(files[0]), memory=str(place.notes / "memory.db"))
    assert watch.finish() == 0
    assert [call.result for call in watch.calls] == ["True"]
    for record in watch.records:
        encode(record)
    again = watching(lambda files: os.path.exists(files[0]), memory=str(place.notes / "memory.db"))
    again.finish()
    assert again.found == []


@pytest.mark.parametrize(
    ("callback", "outcome", "text"),
    [
        (callbacks.nothing, "ok", None),
        (callbacks.names, "ok", "a.dat"),
        (callbacks.fails, "error", "ValueError: cannot read 1 files"),
        (callbacks.leaves, "error", "SystemExit: 3"),
        (callbacks.is_killed, "killed", "SIGKILL"),
        (callbacks.unprintable, "unprintable", "RuntimeError: no text in here"),
        (callbacks.endless, "ok", "characters cut"),
    ],
)
def test_whatever_a_callback_does_is_recorded(
    place: Place, watching: Callable[..., Watched], callback: Callable[..., object], outcome: str, text: str | None
) -> None:
    place.write("a.dat")
    watch = watching([callback, callbacks.names], ["a", "a"])
    assert watch.finish() == 0
    first, other = sorted(watch.calls, key=lambda call: (call.callback.endswith("names"), call.sequence))[:2]
    assert first.outcome == outcome
    assert (text in first.result) if text is not None and first.result else first.result == text
    assert len(first.result or "") < 40_000
    assert other.outcome == "ok"


def test_a_callback_that_takes_too_long_is_ended_with_all_that_it_started(
    place: Place, watching: Callable[..., Watched]
) -> None:
    place.write("a.dat")
    watch = watching(callbacks.sleeps, timeout=2.0)
    assert watch.finish() == 0
    assert [call.outcome for call in watch.calls] == ["timeout"]
    pids = [pid for note in place.notes.iterdir() for pid in note.name.split("-")]
    assert len(pids) == 2
    end = time.monotonic() + 5
    while any(_lives(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_slow_callback_is_not_in_the_way_of_others(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.dat")
    watch = watching([callbacks.holds_on, callbacks.names], ["^a", "dat"], max_proc=2)
    watch.go_on(lambda: watch.calls)
    place.write("b.dat")
    watch.go_on(lambda: len(watch.calls) == 2)
    assert [call.result for call in watch.calls] == ["a.dat", "b.dat"]
    assert watch.engine.stats.running == 1
    (place.notes / "go").touch()
    assert watch.finish() == 0
    assert [call.result for call in watch.calls] == ["a.dat", "b.dat", "a.dat"]


def test_the_pool_is_bounded(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.dat")
    watch = watching([callbacks.holds_on] * 5, ["a"] * 4 + ["dat"], max_proc=2)
    watch.go_on(lambda: len(list(place.notes.iterdir())) == 2)
    end = time.monotonic() + 0.5
    watch.go_on(lambda: time.monotonic() > end)
    assert len(list(place.notes.iterdir())) == 2
    assert watch.engine.stats.waiting > 0
    (place.notes / "go").touch()
    assert watch.finish() == 0
    assert len(watch.calls) == 5


def test_commands_run_without_a_shell(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a $(touch hacked); b.dat")
    place.write("c.dat")
    echo = Callback(kind="command", name="echo", argv=("echo", "files:", "{}", "end"))
    wrong = Callback(kind="command", name="false", argv=("false",))
    missing = Callback(kind="command", name="missing", argv=("/nowhere/to/be/found",))
    watch = watching([echo, wrong, missing], ["dat", "c.dat", "c.d"])
    assert watch.finish() == 0
    results = {call.callback: (call.outcome, call.result) for call in watch.calls}
    assert results["echo"] == ("ok", f"files: {place.root}/a $(touch hacked); b.dat {place.root}/c.dat end\n")
    assert results["false"][0] == "error"
    assert "exit code 1" in (results["false"][1] or "")
    assert results["missing"][0] == "error"
    assert "/nowhere/to/be/found cannot be started" in (results["missing"][1] or "")
    assert not (place.root / "hacked").exists()


def test_callbacks_stand_where_they_are_told_and_nothing_of_this_process_changes(
    place: Place, watching: Callable[..., Watched]
) -> None:
    place.write("a.dat")
    before = os.getcwd(), dict(os.environ)
    watch = watching(lambda files: os.getcwd(), cwd=str(place.notes))
    assert watch.finish() == 0
    assert [call.result for call in watch.calls] == [str(place.notes)]
    assert (os.getcwd(), dict(os.environ)) == before


def test_notices_carry_what_callbacks_returned_and_cannot_disturb(place: Place) -> None:
    place.write("a.dat")
    told: list[Notice] = []

    def tell(notice: Notice) -> None:
        told.append(notice)
        raise RuntimeError("the mail server is on fire")

    rule = Rule(patterns=("dat",), callback=portable(callbacks.names))
    config = WatchConfig(watch="w", root=str(place.root), rules=(rule,), interval=0.1, settle=0.1, events=False)
    records: list[object] = []
    engine = Engine(config, report=records.append, notify=tell)
    assert engine.finish(time.monotonic() + 20) == 0
    assert [(notice.outcome, notice.result, notice.files) for notice in told] == [("ok", "a.dat", 1)]


def test_a_large_tree_is_scanned_in_slices_and_its_records_stay_small(
    place: Place, watching: Callable[..., Watched]
) -> None:
    for folder in range(4):
        (place.root / str(folder)).mkdir()
        for number in range(1000):
            (place.root / str(folder) / f"a-file-with-a-rather-long-name-{'x' * 200}-{number}.dat").touch()
    seen: list[str] = []
    scan = Scan(str(place.root), lambda path, entry: seen.append(path))
    slices = 1
    while not scan.advance(0.0):
        slices += 1
    assert slices > 10
    assert len(set(seen)) == len(seen) == 4000
    watch = watching(len)
    assert watch.finish(60) == 0
    assert len(watch.found) == 4000
    assert sum(int(call.result or "") for call in watch.calls) == 4000
    assert max(len(encode(record)) for record in watch.records) < MAX_RECORD
    assert watch.engine.stats.entries == 4004


def test_the_interval_grows_with_the_cost_of_scans(caplog: pytest.LogCaptureFixture) -> None:
    rounds = Rounds(asked=10.0)
    rounds.scanned(100.0, 0.1, 1000)
    assert rounds.next == 110.0
    with caplog.at_level("INFO", "heliograph.filewatch"):
        rounds.scanned(110.0, 3.0, 100_000)
    assert rounds.interval == pytest.approx(60.0)
    assert rounds.next == pytest.approx(170.0)
    assert "100000 entries takes 3.00 s" in caplog.text
    rounds.scanned(170.0, 0.1, 1000)
    assert rounds.interval == 10.0


def test_what_cannot_be_read_is_told_and_the_rest_is_found(
    place: Place, watching: Callable[..., Watched], caplog: pytest.LogCaptureFixture
) -> None:
    place.write("a.dat")
    watch = watching()
    watch.go_on(lambda: watch.found)
    place.root.rename(place.notes / "moved")
    watch.go_on(lambda: watch.engine.stats.errors)
    assert "cannot be read" in caplog.text
    (place.notes / "moved").rename(place.root)
    place.write("b.dat")
    watch.go_on(lambda: len(watch.found) == 2)


def test_a_damaged_memory_is_put_aside(place: Place, watching: Callable[..., Watched]) -> None:
    memory = place.notes / "memory.db"
    memory.write_bytes(b"this is no database at all" * 1000)
    place.write("a.dat")
    watch = watching(memory=str(memory))
    assert watch.finish() == 0
    assert len(watch.found) == 1
    assert [path for path in place.notes.iterdir() if "damaged" in path.name]


def test_a_memory_that_cannot_be_written_delays_and_loses_nothing(
    place: Place, watching: Callable[..., Watched]
) -> None:
    watch = watching(callbacks.names, memory=str(place.notes / "memory.db"))
    memory = watch.engine._memory
    claim, failed = memory.claim, []

    def full(files: object) -> object:
        if len(failed) < 2:
            failed.append(files)
            raise MemoryFailed("the disk is full")
        return claim(files)  # type: ignore[arg-type]

    memory.claim = full  # type: ignore[assignment, method-assign]
    place.write("a.dat")
    watch.go_on(lambda: watch.calls)
    assert len(failed) == 2
    assert len(watch.found) == 1


def test_events_tell_of_files_long_before_the_next_scan(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.dat")
    watch = watching(interval=3000.0, events=True)
    watch.go_on(lambda: watch.found and watch.engine.stats.scans == 2)
    assert watch.engine.stats.events
    place.write("b.dat")
    place.write("new/folder/c.dat")
    watch.go_on(lambda: len(watch.found) == 3)
    os.replace(place.write("hidden"), place.root / "d.dat")
    watch.go_on(lambda: len(watch.found) == 4)
    assert watch.engine.stats.scans == 2
    place.write("last.dat")
    assert watch.finish() == 0
    assert len(watch.found) == 5


def test_no_events_in_a_tree_with_links_to_folders(place: Place, watching: Callable[..., Watched]) -> None:
    """watchfiles would follow them, to the end of the file system."""
    (place.root / "all").symlink_to("/")
    watch = watching(interval=0.1, events=True)
    watch.go_on(lambda: watch.engine.stats.scans > 2)
    assert not watch.engine.stats.events


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
overlay /container overlay rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/home /home nfs4 rw 0 0
mds@tcp:/scratch /scratch lustre rw 0 0
/dev/sdb1 /local\\040disk xfs rw 0 0
server:/x /local\\040disk/far nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("root", "trusted"),
    [
        ("/usr/share", True),
        ("/tmp/x", True),
        ("/home/me", False),
        ("/scratch/run", False),
        ("/container/x", False),
        ("/local disk/near", True),
        ("/local disk", False),
        ("/", False),
    ],
)
def test_events_are_trusted_by_file_system(root: str, trusted: bool) -> None:
    assert events_trusted(root, MOUNTS) is trusted
    assert not events_trusted(root, "")


def test_the_root_must_be_there(place: Place, watching: Callable[..., Watched]) -> None:
    with pytest.raises(BadWatch, match="working_dir"):
        watching(root=str(place.root / "missing"))


def _lives(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False
