"""Journals that were cut, torn, written on, and inherited across a fork give back every whole record, each once."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph import journal_reader, state
from heliograph import messages as m
from heliograph.journal import Journal, Limits, Route
from heliograph.journal_reader import Reader, head_of, read_all, segments

texts = st.text(max_size=40)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("append"), texts),
        st.tuples(st.just("cut"), st.integers(0, 200)),
        st.tuples(st.just("garbage"), st.binary(min_size=1, max_size=40)),
        st.tuples(st.just("fork"), texts),
    ),
    max_size=14,
)


def task(number: int, text: str) -> m.TaskState:
    return m.TaskState(at=1, origin="o", number=number, try_=0, state="running", fail_history=text)


def in_child(journal: Journal, record: m.TaskState) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if journal.append(record) else 1)
    assert os.waitpid(pid, 0)[1] == 0


@settings(max_examples=60, deadline=None)
@given(actions)
def test_every_whole_record_comes_back_under_its_own_id(some: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        journal = Journal.open(Route(run="r"), folder=top, start_agent=False, limits=Limits(segment=600))
        journals = state.namespace_folder(top) / "journals"
        expected: list[m.TaskState] = []
        for number, (action, value) in enumerate(some):
            if action == "append":
                expected.append(task(number, str(value)))
                assert journal.append(expected[-1])
            elif action == "fork":
                expected.append(task(number, str(value)))
                in_child(journal, expected[-1])
            else:
                start, path = segments(journals / journal.id)[-1]
                mine = read_all(journals / journal.id)
                if action == "garbage":
                    with open(path, "ab") as file:
                        file.write(value)  # type: ignore[arg-type]
                elif mine and mine[-1].offset >= start:
                    last = mine[-1]  # the tear lies anywhere in the last record
                    lost = min(int(value), last.end - last.offset)  # type: ignore[call-overload]
                    os.truncate(path, last.end - start - lost)
                    if lost:
                        expected = [r for r in expected if m.encode(r) != last.payload]
        every = [(folder.name, f) for folder in journals.iterdir() for f in read_all(folder)]
        found = [(f"{name}:{f.offset}", m.decode(f.payload)) for name, f in every]
        assert sorted((r.number, r.fail_history) for _, r in found) == [(r.number, r.fail_history) for r in expected]  # type: ignore[union-attr]
        assert len({record_id for record_id, _ in found}) == len(found)
        journal.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 30))
def test_a_reader_that_stops_anywhere_goes_on_where_it_was(stop: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        journal = Journal.open(Route(run="r"), folder=Path(name), start_agent=False, limits=Limits(segment=700))
        for n in range(count):
            journal.append(task(n, "x" * (n * 7 % 50)))
        journal.close()
        (folder,) = (state.namespace_folder(Path(name)) / "journals").iterdir()
        everything = read_all(folder)
        resumed_at = next((f.offset for f in everything if f.offset >= stop), everything[-1].end)
        reader = Reader(folder, position=resumed_at)
        rest = []
        while not reader.ended:
            rest += reader.read()
        assert [f.offset for f in rest] == [f.offset for f in everything if f.offset >= resumed_at]
        assert reader.clean
        assert reader.head is not None
        assert reader.head.route.run == "r"


def test_a_child_writes_a_journal_of_its_own_and_never_as_the_owner(tmp_path: Path) -> None:
    journal = Journal.open(Route(run="r", owner=True), folder=tmp_path, start_agent=False)
    journal.append(task(1, ""))
    in_child(journal, task(2, ""))
    journal.append(task(3, ""))
    folders = list((state.namespace_folder(tmp_path) / "journals").iterdir())
    heads = {folder.name: head_of(segments(folder)[0][1]) for folder in folders}
    assert len(folders) == 2
    for folder_id, head in heads.items():
        assert head is not None
        assert head.route.owner == (folder_id == journal.id)
        assert (head.pid == os.getpid()) == (folder_id == journal.id)


def test_a_child_that_never_records_leaves_the_parents_lock_alone(tmp_path: Path) -> None:
    """A forked child outlives its parent: the parent's journal is seen as left all the same."""
    script = (
        "import os, sys, time; from pathlib import Path\n"
        "from tests.journal.test_recovery import *\n"
        "journal = Journal.open(Route(run='r'), folder=Path(sys.argv[1]), start_agent=False)\n"
        "journal.append(task(1, ''))\n"
        "child = os.fork()\n"
        "if child == 0: time.sleep(60)\n"
        "print(child, flush=True); os._exit(0)\n"
    )
    done = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert done.stdout is not None
    child = int(done.stdout.readline())
    done.wait()
    try:
        (folder,) = (state.namespace_folder(tmp_path) / "journals").iterdir()
        reader = Reader(folder)
        deadline = time.monotonic() + 5
        while not reader.ended and time.monotonic() < deadline:
            reader.read()
        assert reader.ended
        assert not reader.clean
    finally:
        os.kill(child, signal.SIGKILL)
        done.stdout.close()


def test_a_child_forked_in_c_does_not_hold_up_the_segments_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_reader, "ASK_SECONDS", 0.1)
    journal = Journal.open(Route(run="r"), folder=tmp_path, start_agent=False, limits=Limits(segment=400))
    journal.append(task(0, ""))
    library = ctypes.CDLL(None)
    child = library.fork()  # no handler of Python's runs, so the child keeps the first segment's lock
    if child == 0:
        library.sleep(60)
        library._exit(0)
    try:
        for n in range(1, 30):
            journal.append(task(n, ""))
        reader = Reader(state.namespace_folder(tmp_path) / "journals" / journal.id)
        seen: list[int] = []
        deadline = time.monotonic() + 5
        while len(seen) < 30 and time.monotonic() < deadline:
            seen += [m.decode(f.payload).number for f in reader.read()]  # type: ignore[union-attr]
            time.sleep(0.01)
        assert seen == list(range(30))
        assert not reader.ended
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    journal.close()


def test_a_reader_tails_a_living_process_and_sees_its_end(tmp_path: Path) -> None:
    journal = Journal.open(Route(run="r"), folder=tmp_path, start_agent=False, limits=Limits(segment=400))
    folder = state.namespace_folder(tmp_path) / "journals" / journal.id
    reader = Reader(folder)
    seen: list[int] = []
    for n in range(30):
        journal.append(task(n, ""))
        for _ in range(3):
            seen += [m.decode(f.payload).number for f in reader.read()]  # type: ignore[union-attr]
        assert not reader.ended
    assert seen == list(range(30))
    before = len(segments(folder))
    reader.forget(reader.position)
    assert len(segments(folder)) == 1 < before
    assert reader.unread() == 0
    journal.close()
    while not reader.ended:
        reader.read()
    assert reader.clean
    reader.remove()
    assert not folder.exists()


def test_processes_that_multiprocessing_forks_end_cleanly(tmp_path: Path) -> None:
    script = (
        "import multiprocessing, sys; from pathlib import Path\n"
        "from tests.journal.test_recovery import *\n"
        "journal = Journal.open(Route(run='r'), folder=Path(sys.argv[1]), start_agent=False)\n"
        "process = multiprocessing.get_context('fork').Process(target=journal.append, args=(task(1, ''),))\n"
        "process.start(); process.join(); journal.append(task(2, ''))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    for folder in (state.namespace_folder(tmp_path) / "journals").iterdir():
        reader = Reader(folder)
        while not reader.ended:
            reader.read()
        assert reader.clean
