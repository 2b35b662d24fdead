"""The engine: what settles, what is reported again, what is remembered."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.filewatch.config import BadWatch
from heliograph.filewatch.memory import MemoryFailed
from heliograph.filewatch.plan import forget_old, memory_path
from heliograph.filewatch.scan import Version
from heliograph.filewatch.settle import SKEW, Settling
from heliograph.messages import FileFound, encode
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


def test_a_damaged_memory_is_put_aside(place: Place, watching: Callable[..., Watched]) -> None:
    memory = place.notes / "memory.db"
    memory.write_bytes(b"this is no database at all" * 1000)
    place.write("a.dat")
    watch = watching(memory=str(memory))
    assert watch.finish() == 0
    assert len(watch.found) == 1
    assert [path for path in place.notes.iterdir() if "damaged" in path.name]


def test_memories_that_nobody_used_for_long_are_deleted(place: Place, watching: Callable[..., Watched]) -> None:
    place.write("a.dat")
    paths = [Path(memory_path(str(place.root), (), name)) for name in ("used", "left")]
    for path in paths:
        path.touch()
        os.utime(path, (0, 0))
    watching(memory=str(paths[0])).finish()
    forget_old(time.time())
    assert [path.exists() for path in paths] == [True, False]
    assert watching(memory=str(paths[0])).finish() == 0


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


def test_the_root_must_be_there(place: Place, watching: Callable[..., Watched]) -> None:
    with pytest.raises(BadWatch, match="working_dir"):
        watching(root=str(place.root / "missing"))
