"""A watch's outbox: nothing that was appended is lost, whoever dies when; what was confirmed does not come again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.messages import Class, FileFound, RunHeartbeat, decode
from heliograph_filewatch.host import Reporter
from heliograph_filewatch.outbox import Outbox, Unsent


def found(number: int) -> FileFound:
    return FileFound(at=number, watch="w", path=f"/scr/{number}" + "x" * (number % 97), size=1, mtime=1)


def taken(unsent: Unsent, *, confirm: bool = True) -> list[int]:
    """`at` of everything that is there now."""
    numbers: list[int] = []
    while frames := unsent.pull():
        numbers += [decode(frame.payload).at for _, frame in frames]
        if not confirm:
            break
        unsent.confirm(frames[-1][1].end)
    return numbers


def test_what_is_appended_comes_until_it_is_confirmed(tmp_path: Path) -> None:
    outbox, unsent = Outbox(tmp_path / "o"), Unsent(tmp_path / "o")
    assert taken(unsent) == []
    outbox.append(found(1))
    outbox.append(RunHeartbeat(at=2))
    assert taken(unsent, confirm=False) == taken(unsent, confirm=False) == [1, 2]
    assert [cls for cls, _ in unsent.pull()] == [Class.STATES, Class.CONTROL]
    assert taken(unsent) == [1, 2]
    assert unsent.waiting() == 0
    again = Unsent(tmp_path / "o")
    assert (taken(again), again.id) == ([], unsent.id)
    outbox.append(found(3))
    assert taken(again) == [3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["append", "append", "append", "torn", "writer dies", "reader dies", "take", "look"])))
def test_whoever_dies_nothing_is_lost_and_offsets_never_repeat(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("outbox") / "o"
    outbox, unsent = Outbox(folder, most=300), Unsent(folder)
    appended: list[int] = []
    received: list[int] = []
    for step in [*steps, "writer dies", "append", "take"]:
        if step == "append":
            appended.append(len(appended))
            outbox.append(found(appended[-1]))
        elif step == "torn":
            os.write(outbox._file, b"HGJ1\x02\xff\xff")
            outbox.close()
            outbox = Outbox(folder, most=300)
        elif step == "writer dies":
            outbox.close()
            outbox = Outbox(folder, most=300)
        elif step == "reader dies":
            unsent = Unsent(folder)
        elif step == "look":
            taken(unsent, confirm=False)
        else:
            received += taken(unsent)
    outbox.close()
    assert received == appended
    assert len(list(folder.glob("*.out"))) <= 2


def test_a_disk_that_takes_no_more_is_an_error_for_whoever_reports(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, outbox._file)
    os.close(full)
    report = Reporter(outbox)
    with pytest.raises(OSError, match="No space"):
        report(found(1))
    assert report.failed is not None
    report.close()
