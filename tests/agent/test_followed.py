"""Journals that are damaged, or that the disk does not let go."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from heliograph import state
from heliograph.agent.followed import UNREADABLE, Journals
from heliograph.journal import Journal, Route
from heliograph.journal_reader import Reader, segments
from tests.agent.conftest import task

_clock = itertools.count(0.0, 1e6)


def recorded(folder: Path, records: int) -> Journal:
    journal = Journal.open(Route(run="r"), folder=folder, start_agent=False)
    for number in range(records):
        assert journal.append(task(number))
    return journal


def followed(folder: Path) -> Journals:
    return Journals(state.namespace_folder(folder), "agent", {})


def settle(journals: Journals) -> list[int]:
    """One look at everything: the offsets of what was read, and all of it confirmed."""
    journals.discover(next(_clock))
    offsets = []
    for tail in journals.open():
        while found := tail.pull():
            offsets += [one.offset for one in found]
            for one in found:
                tail.confirm(one.cls, one.end, 1)
    for tail in journals.finished():
        journals.remove(tail)
    return offsets


def spoil(segment: Path) -> None:
    data = bytearray(segment.read_bytes())
    data[20] ^= 0xFF
    segment.write_bytes(data)


def test_a_journal_without_a_readable_head_is_kept_aside_with_its_records(tmp_path: Path) -> None:
    recorded(tmp_path, 3).close()
    (folder,) = (state.namespace_folder(tmp_path) / "journals").iterdir()
    spoil(segments(folder)[0][1])
    journals = followed(tmp_path)
    assert settle(journals) == []
    assert not journals.any()
    assert journals.none_left()
    assert len(list((journals.namespace / UNREADABLE / folder.name).iterdir())) == 1


def test_a_spoilt_head_costs_nothing_once_a_later_segment_has_one(tmp_path: Path) -> None:
    journal = recorded(tmp_path, 1)
    (folder,) = (state.namespace_folder(tmp_path) / "journals").iterdir()
    spoil(segments(folder)[0][1])
    journals = followed(tmp_path)
    assert settle(journals) == []
    assert all(journal.append(task(number, "x" * 16000)) for number in range(600))
    journal.close()
    assert len(segments(folder)) == 2
    offsets = [offset for _ in range(10) for offset in settle(journals)]
    assert len(offsets) == len(set(offsets)) == 601
    assert not folder.exists()


def test_a_journal_that_cannot_be_deleted_is_shipped_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(tmp_path, 3).close()
    journals = followed(tmp_path)

    def read_only(_: Reader) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Reader, "remove", read_only)
    assert len(settle(journals)) == 3
    assert [settle(journals) for _ in range(3)] == [[], [], []]
    assert journals.none_left()


def test_a_journal_that_could_not_be_read_for_a_moment_is_read_on(tmp_path: Path) -> None:
    journal = recorded(tmp_path, 3)
    journals = followed(tmp_path)
    assert len(settle(journals)) == 3
    journals.drop(journals.open()[0])
    journal.append(task(3))
    assert len(settle(journals)) == 1
    journal.close()
