"""Programs that close, reuse and rearrange descriptors: no record is lost, and none ever lands in a file of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from heliograph.journal import Journal, Route, now
from heliograph.journal_reader import read_all
from heliograph.messages import TaskState, decode

MARK = b"the program's own words\n"


def task(number: int) -> TaskState:
    return TaskState(at=now()[0], origin="", number=number, try_=0, state="running")


def opened(state: Path) -> Journal:
    return Journal.open(Route(run="r"), folder=state, start_agent=False)


def numbers(state: Path) -> list[int]:
    """The tasks of every journal, in no order of journals."""
    found = []
    for folder in state.glob("*/journals/*"):
        found += [decode(one.payload) for one in read_all(folder)]
    return sorted(record.number for record in found if isinstance(record, TaskState))


def in_a_child(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, where descriptors may be closed without hurting the tests."""
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from tests.attack.test_descriptors import MARK, numbers, opened, task\n"
        f"state, folder = Path({str(tmp_path / 'state')!r}), Path({str(tmp_path)!r})\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code + textwrap.dedent(body)],
        env={**os.environ, "HELIOGRAPH_AGENT": "off"},
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def take_lowest(journal: Journal, folder: Path) -> list[int]:
    """Close everything and open as many files as it takes to get the journal's number again."""
    fd = journal._segment.fd  # type: ignore[union-attr]
    os.closerange(3, fd + 100)
    taken: list[int] = []
    while not taken or taken[-1] != fd:
        taken.append(os.open(folder / f"own-{len(taken)}", os.O_RDWR | os.O_CREAT))
        os.write(taken[-1], MARK)
    return taken


def take_by_number(journal: Journal, folder: Path) -> list[int]:
    fd = journal._segment.fd  # type: ignore[union-attr]
    own = os.open(folder / "own-0", os.O_RDWR | os.O_CREAT)
    os.write(own, MARK)
    os.dup2(own, fd)
    return [own, fd]


@pytest.mark.parametrize("take", ["take_lowest", "take_by_number"])
def test_a_record_never_lands_in_the_programs_own_file(tmp_path: Path, take: str) -> None:
    done = in_a_child(
        tmp_path,
        f"""
        from tests.attack.test_descriptors import {take} as take
        journal = opened(state)
        took = [journal.append(task(n)) for n in range(5)]
        taken = take(journal, folder)
        took += [journal.append(task(n)) for n in range(5, 10)]
        journal.close()
        print(all(took), numbers(state) == list(range(10)))
        print({{os.pread(fd, 1000, 0) for fd in taken}} == {{MARK}})  # still open, and the program's
        """,
    )
    assert done.stdout.split() == ["True"] * 3
    assert {path.read_bytes() for path in tmp_path.glob("own-*")} == {MARK}


def test_a_journal_given_up_never_closes_what_has_its_number(tmp_path: Path) -> None:
    done = in_a_child(
        tmp_path,
        """
        import gc
        journal = opened(state)
        journal.append(task(1))
        own = os.open(folder / "own", os.O_RDWR | os.O_CREAT)
        os.dup2(own, journal._segment.fd)
        number = journal._segment.fd
        journal.close()
        del journal
        gc.collect()
        os.write(number, MARK)
        print(numbers(state))
        """,
    )
    assert done.stdout.strip() == "[1]"
    assert (tmp_path / "own").read_bytes() == MARK


def test_standard_streams_that_are_closed_do_not_become_the_journal(tmp_path: Path) -> None:
    """Else what the program (or a child) prints would be written into it."""
    done = in_a_child(
        tmp_path,
        """
        saved = os.dup(1)
        for fd in (0, 1, 2):
            os.close(fd)
        journal = opened(state)
        taken = journal._segment.fd
        journal.append(task(1))
        os.dup2(saved, 1)
        print(taken > 2, numbers(state))
        """,
    )
    assert done.stdout.strip() == "True [1]"


def test_few_descriptors_are_enough(tmp_path: Path) -> None:
    done = in_a_child(
        tmp_path,
        """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        journal = opened(state)
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        journal._look_at = 0.0  # looking for an agent takes a descriptor that is not to be had
        took = [journal.append(task(n)) for n in range(3)]
        for fd in held:
            os.close(fd)
        print(took, numbers(state))
        """,
    )
    assert done.stdout.strip() == "[True, True, True] [0, 1, 2]"


def test_no_descriptor_left_at_the_beginning_costs_records_only_until_there_is_one(tmp_path: Path) -> None:
    done = in_a_child(
        tmp_path,
        """
        import resource, time
        import heliograph.state
        heliograph.state.namespace_key()
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        held = []
        try:
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        journal = opened(state)
        lost = journal.append(task(0))
        for fd in held:
            os.close(fd)
        time.sleep(1.1)
        kept = journal.append(task(1))
        print(lost, kept, sum(journal.dropped.values()), numbers(state))
        """,
    )
    assert done.stdout.strip() == "False True 1 [1]"


def test_a_child_made_without_python_knowing_leaves_its_own_files_alone(tmp_path: Path) -> None:
    """C libraries fork without Python's hooks; the first append then finds another process id."""
    done = in_a_child(
        tmp_path,
        """
        import ctypes
        journal = opened(state)
        journal.append(task(1))
        pid = ctypes.CDLL(None).fork()
        if pid == 0:
            own = os.open(folder / "own", os.O_RDWR | os.O_CREAT)
            os.dup2(own, journal._segment.fd)
            number = journal._segment.fd
            took = journal.append(task(2))
            os.write(number, MARK)
            os._exit(0 if took else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        journal.append(task(3))
        print(status, numbers(state))
        """,
    )
    assert done.stdout.strip() == "0 [1, 2, 3]"
    assert (tmp_path / "own").read_bytes() == MARK


@pytest.mark.parametrize("limit", [0, 300, 1000, 5000])
def test_files_that_may_not_grow(tmp_path: Path, limit: int) -> None:
    """RLIMIT_FSIZE: what is said to be written down is there, and the rest is counted."""
    done = in_a_child(
        tmp_path,
        f"""
        import resource
        journal = opened(state)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        took = [n for n in range(200) if journal.append(task(n))]
        print(numbers(state) == took, sum(journal.dropped.values()) + len(took), len(took))
        """,
    )
    right, counted, took = done.stdout.split()
    assert (right, counted) == ("True", "200")
    assert int(took) > (190 if limit >= 1000 else -1)
