"""The engine: what scans cost, and where events of the file system can be trusted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from heliograph.filewatch.mounts import events_trusted
from heliograph.filewatch.rounds import Rounds
from heliograph.filewatch.scan import Scan
from heliograph.messages import MAX_RECORD, encode
from tests.filewatch.conftest import Place, Watched


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


def test_events_of_a_root_that_is_made_anew(place: Place, watching: Callable[..., Watched]) -> None:
    """Those of the old folder tell nothing of the new one, and the next scan would come in hours."""
    place.write("a.dat")
    watch = watching(interval=3000.0, events=True)
    watch.go_on(lambda: watch.found and watch.engine.stats.scans == 2)
    place.root.rename(place.notes / "old")
    watch.go_on(lambda: watch.engine.stats.scans >= 3)
    place.write("new/b.dat")
    watch.go_on(lambda: len(watch.found) == 2)
    watch.go_on(lambda: watch.engine.stats.events)
    place.write("c.dat")
    watch.go_on(lambda: len(watch.found) == 3)


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


def test_a_root_that_goes_and_comes_back(place: Place, watching: Callable[..., Watched]) -> None:
    """As a scratch folder that is cleaned, or a file server that is away for a while."""
    watched = watching()
    place.write("a.dat")
    watched.go_on(lambda: watched.found)
    place.root.rename(place.notes / "away")
    scans = watched.engine.stats.scans
    watched.go_on(lambda: watched.engine.stats.scans > scans + 1)
    assert watched.engine.stats.errors == 1
    (place.notes / "away").rename(place.root)
    place.write("b.dat")
    watched.go_on(lambda: len(watched.found) == 2)
    place.root.rename(place.notes / "away")
    assert watched.finish() == 0
    assert [Path(path).name for path in watched.found] == ["a.dat", "b.dat"]


def test_a_tree_deeper_than_any_path_may_be(place: Place, watching: Callable[..., Watched]) -> None:
    """Its end cannot be named, which is an error of that folder; everything else is found."""
    here = os.open(place.root, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("deep.dat", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    place.write("a.dat")
    watched = watching()
    watched.finish()
    assert watched.found == [str(place.root / "a.dat")]
    assert watched.engine.stats.errors == 1
