"""The journal as its process sees it: what it takes, what it refuses, and that it never raises."""

from __future__ import annotations

import itertools
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from heliograph import messages as m
from heliograph import state
from heliograph.journal import Journal, Limits, Route, clip, close_run, journal_for, now
from heliograph.journal_reader import Reader, read_all, segments
from heliograph.segment import Segment
from tests.journal.conftest import FullDisk

ROUTE = Route(run="run-1")


def opened(folder: Path, **more: object) -> Journal:
    return Journal.open(ROUTE, folder=folder, start_agent=False, **more)  # type: ignore[arg-type]


def task(number: int, text: str | None = None) -> m.TaskState:
    at, mono = now()
    return m.TaskState(at=at, mono=mono, origin="o", number=number, try_=0, state="running", fail_history=text)


def sample(number: int) -> m.TaskSample:
    return m.TaskSample(at=1, origin="o", number=number, try_=0, host="h", pid=1)


def journals(folder: Path) -> list[Path]:
    return sorted((state.namespace_folder(folder) / "journals").iterdir())


def records(folder: Path) -> list[m.AnyRecord]:
    return [m.decode(found.payload) for journal in journals(folder) for found in read_all(journal)]


def test_records_come_back_in_order_over_several_segments(tmp_path: Path) -> None:
    journal = opened(tmp_path, limits=Limits(segment=2000))
    assert all(journal.append(task(n)) for n in range(200))
    journal.close()
    (folder,) = journals(tmp_path)
    assert len(segments(folder)) > 3
    assert [record.number for record in records(tmp_path)] == list(range(200))  # type: ignore[union-attr]
    offsets = [found.offset for found in read_all(folder)]
    assert offsets == sorted(set(offsets))


def test_threads_lose_and_mix_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path, limits=Limits(segment=5000))

    def write(first: int) -> None:
        for n in range(first, first + 500):
            journal.append(task(n, "x" * (n % 90)))

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 4000, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert sorted(record.number for record in records(tmp_path)) == list(range(4000))  # type: ignore[union-attr]
    found = read_all(journals(tmp_path)[0])
    assert len({f.offset for f in found}) == 4000
    assert sum(journal.dropped.values()) == 0


def test_threads_that_are_first_at_once_leave_no_journal_that_never_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIOGRAPH_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("HELIOGRAPH_AGENT", "off")
    together = threading.Barrier(8)
    found = []

    def first() -> None:
        together.wait()
        found.append(journal_for(ROUTE))

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    close_run(ROUTE.run)
    for folder in journals(tmp_path):
        reader = Reader(folder)
        while not reader.ended:
            reader.read()
        assert reader.clean


def test_odd_content_is_recorded_and_readable(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    odd = m.TaskState(
        at=1,
        origin="o",
        number=1,
        try_=0,
        state="failed",
        fail_cost=float("nan"),
        fail_history="half \ud800 pair",
        hashsum=Path("/a/path"),  # type: ignore[arg-type]
        invoked=1 << 80,
    )
    assert journal.append(odd)
    assert journal.append(m.NodeSample(at=1, host="h", load1=float("inf"), gpus=[m.Gpu(index=0, power=float("-inf"))]))
    assert journal.append(m.RunStarted(at=1, name="n", sample_interval=float("nan")))
    assert journal.append(m.TaskState(at=1, origin="o", number=2, try_=0, state="failed", fail_cost=1.5))
    first, node, run, plain = records(tmp_path)
    assert (first.fail_cost, first.invoked, first.hashsum) == (None, None, "/a/path")  # type: ignore[union-attr]
    assert first.fail_history == "half ? pair"  # type: ignore[union-attr]
    assert (node.load1, node.gpus[0].power) == (None, None)  # type: ignore[union-attr]
    assert run.sample_interval == 0.0  # type: ignore[union-attr]
    assert plain.fail_cost == 1.5  # type: ignore[union-attr]


def test_what_cannot_be_written_is_counted_and_told_before_the_next(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert not journal.append(task(1, "x" * (m.MAX_RECORD + 1)))
    assert not journal.append(None)  # type: ignore[arg-type]
    assert journal.append(task(2))
    assert journal.append(task(3))
    assert journal.dropped == {m.Class.CONTROL: 0, m.Class.STATES: 2, m.Class.SAMPLES: 0, m.Class.COMMANDS: 0}
    told, second, third = records(tmp_path)
    assert isinstance(told, m.Dropped)
    assert (told.journal, told.states, told.samples) == (journal.id, 2, 0)
    assert (second.number, third.number) == (2, 3)  # type: ignore[union-attr]


def test_records_are_written_together_and_dropped_one_by_one(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert journal.append(task(1), task(2))
    assert not journal.append(task(3), task(4, "x" * (m.MAX_RECORD + 1)), task(5))
    assert journal.append(task(6))
    assert [type(found) for found in records(tmp_path)].count(m.Dropped) == 1
    assert [found.number for found in records(tmp_path) if isinstance(found, m.TaskState)] == [1, 2, 3, 5, 6]
    assert journal.dropped[m.Class.STATES] == 1


def test_of_records_written_together_only_those_without_room_are_dropped(full_disk: FullDisk) -> None:
    journal = opened(full_disk.folder, limits=Limits(reserve=0))
    assert journal.append(task(0))
    full_disk.fill()
    count = 1
    while journal.append(*(task(count + n) for n in range(50))):
        count += 50
    full_disk.free()
    journal._retry_at = 0.0  # it would look again within a second
    assert journal.append(task(-1))
    found = [record.number for record in records(full_disk.folder) if isinstance(record, m.TaskState)]
    dropped = journal.dropped[m.Class.STATES]
    assert found == [*range(count + 50 - dropped), -1]
    assert 0 < dropped <= 50


def test_over_its_cap_samples_go_first_then_states_and_control_stays(tmp_path: Path) -> None:
    journal = opened(tmp_path, limits=Limits(process=64_000, segment=8_000, reserve=0))
    took = [(journal.append(sample(n)), journal.append(task(n))) for n in range(2000)]
    samples, states = [s for s, _ in took], [t for _, t in took]
    assert False in samples
    assert False in states
    assert samples.index(False) < states.index(False)
    assert journal.append(m.RunEnded(at=1))
    assert journal.dropped[m.Class.SAMPLES] == samples.count(False)
    assert journal.dropped[m.Class.STATES] == states.count(False)
    assert journal.dropped[m.Class.CONTROL] == 0
    *_, told, ended = records(tmp_path)
    assert isinstance(told, m.Dropped)
    assert isinstance(ended, m.RunEnded)
    assert (told.samples, told.states) == (samples.count(False), states.count(False))
    assert sum(path.stat().st_size for _, path in segments(journals(tmp_path)[0])) < 64_000


def test_the_cap_of_the_node_counts_every_journal(tmp_path: Path) -> None:
    limits = Limits(node=40_000, reserve=0)
    first = opened(tmp_path, limits=limits)
    while first.append(task(1)) and sum(first.dropped.values()) == 0:
        (state.namespace_folder(tmp_path) / "usage").unlink(missing_ok=True)
        first._look_at = 0.0
    second = opened(tmp_path, limits=limits)
    (state.namespace_folder(tmp_path) / "usage").unlink(missing_ok=True)
    assert not second.append(task(2))
    assert second.append(m.RunEnded(at=1))


@pytest.mark.parametrize("broken", ["a file in the way", "a link", "nothing above", "somebody's", "only readable"])
def test_a_folder_that_cannot_be_used_counts_and_says_so_once(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    if broken == "a file in the way":
        folder.write_text("")
    elif broken == "a link":
        (tmp_path / "real").mkdir()
        folder.symlink_to(tmp_path / "real")
    elif broken == "nothing above":
        (tmp_path / "above").write_text("")
        folder = tmp_path / "above" / "state"
    elif broken == "somebody's":
        folder = Path("/proc/1")  # root's, or for root a folder where nothing can be made
    else:
        folder = Path("/proc/sys/heliograph")
    with caplog.at_level(logging.WARNING):
        journal = opened(folder)
        assert [journal.append(task(n)) for n in range(3)] == [False] * 3
        assert not journal.append(sample(1))
        journal.close()
    assert journal.dropped == {m.Class.CONTROL: 0, m.Class.STATES: 3, m.Class.SAMPLES: 1, m.Class.COMMANDS: 0}
    assert len(caplog.records) == 1


def test_a_folder_that_heals_is_used_and_the_gap_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("")
    journal = opened(folder)
    assert not journal.append(task(1))
    folder.unlink()
    journal._retry_at = 0.0  # it would look again within a second
    assert journal.append(task(2))
    told, second = records(folder)
    assert isinstance(told, m.Dropped)
    assert told.states == 1
    assert second.number == 2  # type: ignore[union-attr]


def test_a_disk_that_fills_up_and_has_space_again(full_disk: FullDisk) -> None:
    journal = opened(full_disk.folder, limits=Limits(reserve=0, process=1 << 30, node=1 << 30))
    assert journal.append(task(0))
    full_disk.fill()
    numbers = [n for n in range(1, 500) if journal.append(task(n, "y" * 500))]
    lost = 499 - len(numbers)
    assert lost > 400
    assert journal.dropped[m.Class.STATES] == lost
    full_disk.free()
    journal._retry_at = 0.0  # it would look again within a second
    assert journal.append(task(1000))
    journal.close()
    found = records(full_disk.folder)
    told = [record for record in found if isinstance(record, m.Dropped)]
    assert told[-1].states == lost
    assert [0, *numbers, 1000] == [record.number for record in found if isinstance(record, m.TaskState)]


def test_a_limit_on_file_size_means_more_segments(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from tests.journal.test_journal import opened, task\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "journal = opened(Path(sys.argv[1]))\n"
        "[journal.append(*(task(n + i, 'z' * 300) for i in range(5))) for n in range(0, 500, 5)]\n"
        "print(sum(journal.dropped.values()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    dropped = int(done.stdout)
    assert dropped < 20  # the record that met the limit of each segment is counted, not silently lost
    tasks = [record.number for record in records(tmp_path) if isinstance(record, m.TaskState)]
    assert len(tasks) == len(set(tasks)) == 500 - dropped
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_after_close_a_record_begins_a_new_journal(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    before = journal.id
    journal.append(task(1))
    journal.close()
    journal.close()
    assert journal.append(task(2))
    assert journal.id != before
    assert {path.name for path in journals(tmp_path)} == {before, journal.id}


def test_a_journal_that_ends_while_another_thread_turns_a_segment_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path, limits=Limits(segment=1))
    after = Segment.after

    def ended_meanwhile(*given: Any) -> Segment:
        journal.close()
        return after(*given)

    monkeypatch.setattr(Segment, "after", ended_meanwhile)
    assert journal.append(task(0))
    monkeypatch.undo()
    assert journal.append(task(1))
    journal.close()
    assert [type(record) for record in records(tmp_path)] == [m.TaskState, m.TaskState]


def test_a_journal_deleted_under_its_process_is_begun_anew(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(task(1))
    (folder,) = journals(tmp_path)
    for _, path in segments(folder):
        path.unlink()
    folder.rmdir()
    journal._look_at = 0.0  # within three seconds
    assert journal.append(task(2))
    assert [record.number for record in records(tmp_path)] == [2]  # type: ignore[union-attr]


def test_a_signal_handler_may_append_in_the_middle_of_an_append(tmp_path: Path) -> None:
    journal = opened(tmp_path, limits=Limits(segment=3000))
    numbers_rung, taken = itertools.count(10_000), list[bool]()

    def ring(_signal: int, _frame: object) -> None:
        taken.append(journal.append(task(next(numbers_rung))))  # may itself be interrupted

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for n in range(5000):
            assert journal.append(task(n))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    journal.close()
    numbers = [record.number for record in records(tmp_path)]  # type: ignore[union-attr]
    assert sorted(n for n in numbers if n < 10_000) == list(range(5000))
    assert len({n for n in numbers if n >= 10_000}) == taken.count(True) == len(taken) > 0


def test_state_folder_is_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    opened(folder).append(task(1))
    for path in [folder, *folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_folder_that_holds_other_things_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o755)
    (folder / "thesis.tex").touch()
    assert opened(folder).append(task(1))
    assert folder.stat().st_mode & 0o777 == 0o755
    made = [path for path in folder.iterdir() if path.is_dir()]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o700]
    folder.chmod(0o777)
    refused = opened(folder)
    assert not refused.append(task(2))
    assert sum(refused.dropped.values()) == 1
    assert folder.stat().st_mode & 0o777 == 0o777


def test_clip_keeps_both_ends_and_stays_within_the_limit() -> None:
    text = clip("a" * 100_000 + "the end", 1000)
    assert text is not None
    assert len(text) <= 1000
    assert text.startswith("a")
    assert text.endswith("the end")
    assert clip("\udcff") == "?"
    assert clip(None) is None


def test_importing_the_journal_loads_no_heavy_module() -> None:
    script = (
        "import sys, heliograph.journal\n"
        "print([n for n in ('pika', 'psutil', 'heliograph.bus', 'heliograph.agent', 'subprocess', 'ssl') "
        "if n in sys.modules])"
    )
    environ = {**os.environ, "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", _with_path() + script], capture_output=True, text=True, env=environ, check=True
    )
    assert done.stdout.strip() == "[]"


def _with_path() -> str:
    return f"import sys; sys.path = {sys.path!r}\n"
