"""The worker half: what it records around a function, and that it never reaches into the program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from parsl.app.errors import BashExitFailure, wrap_error

from heliograph import state as states
from heliograph import worker
from heliograph.failure import MESSAGE_LIMIT, TRACEBACK_LIMIT, clean, describe
from heliograph.journal import Journal
from heliograph.messages import NodeSeen, Record, TaskEnded, TaskRunning
from heliograph.worker import Try
from tests.plain.conftest import Program, recorded

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _no_try_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests elsewhere leave tries that began in this very process and never end; here none is running."""
    monkeypatch.setattr(worker, "_process", None)


class Kept:
    """A journal that keeps its records in memory."""

    id = "kept"

    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record) -> bool:
        self.records.append(record)
        return True

    def last(self) -> TaskEnded:
        record = self.records[-1]
        assert isinstance(record, TaskEnded)
        return record


class Broken:
    id = "broken"

    def append(self, record: Record) -> bool:
        raise RuntimeError("no")


def a_try(number: int = 7, *, shared: bool = False) -> Try:
    return Try(origin="o", number=number, try_=1, executor="htex", shared=shared)


def ended(outcome: object, *, returned: bool = False) -> TaskEnded:
    kept = Kept()
    worker.ended(kept, worker.began(kept, a_try()), outcome, returned=returned)
    return kept.last()


def test_a_try_has_a_beginning_and_an_end(open_journal: Callable[[], Journal], state: Path) -> None:
    journal = open_journal()
    began = worker.began(journal, a_try())
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    worker.ended(journal, began, 3, returned=True)
    first, last = recorded(state)
    assert isinstance(first, TaskRunning)
    assert isinstance(last, TaskEnded)
    for record in (first, last):
        assert (record.origin, record.number, record.try_) == ("o", 7, 1)
        assert (record.host, record.pid) == (states.host(), os.getpid())
    assert (first.executor, first.shared, first.thread) == ("htex", False, threading.get_native_id())
    assert first.create_time == states.process_start(os.getpid())
    assert last.ok
    assert 100_000 <= last.elapsed < 10_000_000
    assert 80_000 <= (last.cpu_user or 0) + (last.cpu_system or 0) <= last.elapsed + 20_000
    assert last.peak_exact is (sys.platform == "linux")
    assert (last.peak_rss or 0) > MIB


def test_the_peak_of_a_small_task_after_a_big_one_is_its_own(program: Program) -> None:
    got = program.python("""
        from heliograph import journal, worker
        opened = journal.journal_for(journal.Route(run="r"))
        def task(number, size):
            began = worker.began(opened, worker.Try(origin="", number=number, try_=0, executor=None))
            block = bytearray(size)
            del block
            worker.ended(opened, began, None, returned=True)
        task(0, 400 << 20)
        task(1, 10 << 20)
    """)
    big, small = (got.one(TaskEnded, number=number) for number in (0, 1))
    assert (big.peak_rss or 0) > 400 * MIB
    if small.peak_exact:
        assert 10 * MIB < (small.peak_rss or 0) < 200 * MIB
    assert small.peak_exact is os.access("/proc/self/clear_refs", os.W_OK)


MARK = """
import mmap, os, resource, sys
from heliograph import worker
before = int(sys.argv[1])
if before:  # what this process was before exec stays in its ru_maxrss
    filled = bytearray(before << 20)
    os.execv(sys.executable, [sys.executable, sys.argv[0], "0"])
mark, read = worker.Mark(), worker.high_water
def high_water():
    global looks
    looks += 1
    return read()
worker.high_water = high_water
for size in (0, 0, 0, 30, 0, 200, 0, 0):
    looks = 0
    worker._reset_peak(worker._here())
    kept = mmap.mmap(-1, max(1, size) << 20)
    for at in range(0, size << 20, 4096):
        kept[at] = 1
    told = mark.of(worker._usage(resource.RUSAGE_SELF).maxrss)
    print(size, looks, abs(told - read()))
    kept.close()
"""


@pytest.mark.parametrize("before", [0, 2, 100])
def test_the_mark_is_right_whatever_the_process_was_before(before: int, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(MARK)
    # By a shell in between, whose size becomes the floor: that of these tests may be larger than everything here.
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, str(program), str(before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert [size for size, _, _ in found] == [0, 0, 0, 30, 0, 200, 0, 0]
    assert all(off <= worker.Mark.NEAR + MIB // 2 for _, _, off in found)  # the kernel counts pages in batches
    assert found[5][1] == 0  # nothing but ru_maxrss was asked where that is the mark


def test_the_memory_of_a_child_counts_for_the_peak(program: Program) -> None:
    got = program.python("""
        import subprocess, sys
        from heliograph import journal, worker
        opened = journal.journal_for(journal.Route(run="r"))
        began = worker.began(opened, worker.Try(origin="", number=0, try_=0, executor=None))
        subprocess.run([sys.executable, "-c", "bytearray(300 << 20)"])
        worker.ended(opened, began, None, returned=True)
    """)
    assert (got.one(TaskEnded).peak_rss or 0) > 300 * MIB


def test_tries_side_by_side_share_the_process() -> None:
    kept = Kept()
    outer = worker.began(kept, a_try(1))
    inner = worker.began(kept, a_try(2))
    worker.ended(kept, inner, None, returned=True)
    assert not kept.last().peak_exact
    worker.ended(kept, outer, None, returned=True)
    assert not kept.last().peak_exact  # what the inner one took is in it
    alone = worker.began(kept, a_try(3))
    worker.ended(kept, alone, None, returned=True)
    assert [r.shared for r in kept.records if isinstance(r, TaskRunning)] == [False, True, False]


def test_a_thread_is_billed_its_own_time() -> None:
    kept = Kept()
    stop = threading.Event()

    def other() -> None:
        while not stop.is_set():
            pass

    busy = threading.Thread(target=other)
    busy.start()
    try:
        began = worker.began(kept, a_try(shared=True))
        time.sleep(0.3)
        worker.ended(kept, began, None, returned=True)
    finally:
        stop.set()
        busy.join()
    assert (kept.last().cpu_user or 0) < 100_000


def test_a_failure_is_told_with_its_place() -> None:
    def users() -> None:
        raise KeyError("missing")

    with pytest.raises(KeyError) as caught:
        users()
    record = ended(caught.value)
    assert (record.ok, record.exc_type, record.exc_message) == (False, "KeyError", "'missing'")
    assert re.fullmatch(re.escape(__file__) + r":\d+ in users", record.exc_place or "")
    assert "raise KeyError" in (record.traceback or "")


def test_parsls_wrapper_is_the_failure_that_it_carries() -> None:
    def users() -> None:
        try:
            raise OSError("below")
        except OSError as error:
            raise ValueError("above") from error

    record = ended(wrap_error(users)(), returned=True)
    assert (record.ok, record.exc_type, record.exc_message) == (False, "ValueError", "above")
    assert (record.exc_place or "").endswith(" in users")
    assert "above" in (record.traceback or "")


def test_a_bash_app_tells_its_exit_code() -> None:
    record = ended(wrap_error(lambda: _raise(BashExitFailure("app", 42)))(), returned=True)
    assert (record.ok, record.exit, record.exc_type) == (False, 42, "parsl.app.errors.BashExitFailure")


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(("error", "code"), [(SystemExit(3), 3), (SystemExit(), 0), (SystemExit("text"), 1)])
def test_leaving_tells_the_code(error: BaseException, code: int) -> None:
    record = ended(error)
    assert (record.ok, record.exit) == (False, code)


def test_an_exception_that_was_returned_is_a_value() -> None:
    assert ended(ValueError("a result"), returned=True).ok


def test_a_class_of_the_same_name_is_a_value() -> None:
    class RemoteExceptionWrapper:
        pass

    assert ended(RemoteExceptionWrapper(), returned=True).ok


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


@pytest.mark.parametrize("outcome", [Rude(), ValueError("\ud800"), ValueError(b"\xff")])
def test_odd_exceptions_are_recorded_all_the_same(
    outcome: BaseException, open_journal: Callable[[], Journal], state: Path
) -> None:
    journal = open_journal()
    worker.ended(journal, worker.began(journal, a_try()), outcome)
    record = recorded(state)[-1]
    assert isinstance(record, TaskEnded)
    assert record.exc_type
    assert not record.ok


def test_long_texts_are_cut() -> None:
    def deep(n: int) -> None:
        if n:
            deep(n - 1) if n % 2 else deeper(n - 1)
        raise ValueError("x" * 10_000_000 + "end")

    def deeper(n: int) -> None:
        deep(n)

    with pytest.raises(ValueError, match="xxx") as caught:
        deep(200)
    record = ended(caught.value)
    assert len(record.exc_message or "") <= MESSAGE_LIMIT
    assert len(record.traceback or "") <= TRACEBACK_LIMIT
    assert (record.exc_message or "").endswith("end")


def test_patterns_of_the_user_and_passwords_in_urls_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_REDACT", "token-\\w+\n\nsecret=[^ ]*")
    failure = describe(ValueError("token-abc secret=1 postgresql://me:hunter2@host/db"))
    text = (failure.exc_message or "") + (failure.traceback or "")
    assert not re.search("token-abc|secret=1|hunter2", text)
    assert text.count("[redacted]") == 6


def test_a_pattern_that_is_none_withholds_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_REDACT", "(")
    assert "secret" not in clean("my secret", 100)


def test_nothing_reaches_the_program(caplog: pytest.LogCaptureFixture) -> None:
    before = worker.failures
    broken = Broken()
    began = worker.began(broken, a_try())
    worker.ended(broken, began, None, returned=True)
    worker.node_seen(broken, "htex")
    assert worker.failures == before + 3
    assert len(caplog.records) == (before == 0)
    kept = Kept()
    worker.ended(kept, began, None, returned=True)  # an end without a good beginning is an end
    assert kept.last().cpu_user is None
    again = worker.began(kept, a_try())
    worker.ended(kept, again, None, returned=True)
    first = [r for r in kept.records if isinstance(r, TaskRunning)][-1]
    assert not first.shared  # the broken one is not counted as running


def test_a_forked_child_that_comes_back_is_not_the_try() -> None:
    kept = Kept()
    began = worker.began(kept, a_try())
    child = os.fork()
    if child == 0:
        worker.ended(kept, began, None, returned=True)
        os._exit(len(kept.records))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    worker.ended(kept, began, None, returned=True)
    assert kept.last().pid == os.getpid()


def test_a_node_is_told_once_for_each_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    kept.id = "once"
    for executor in ("a", "a", "b", None, None):
        worker.node_seen(kept, executor)
    seen = [r for r in kept.records if isinstance(r, NodeSeen)]
    assert [r.executor for r in seen] == ["a", "b", ""]
    assert len({r.pool for r in seen}) == 3
    assert all(r.cpu_count == os.cpu_count() and r.memory_total and r.python and r.pid == os.getpid() for r in seen)


def test_parsls_variables_say_where_a_worker_is(program: Program) -> None:
    got = program.python(
        """
        from heliograph import journal, worker
        opened = journal.journal_for(journal.Route(run="r"))
        worker.node_seen(opened, "htex")
        worker.ended(opened, worker.began(opened, worker.Try(origin="", number=0, try_=0, executor="htex")), None)
        """,
        PARSL_WORKER_RANK="3",
        PARSL_WORKER_POOL_ID="abc",
        PARSL_WORKER_BLOCK_ID="1",
        PARSL_WORKER_COUNT="4",
    )
    running, node = got.one(TaskRunning), got.one(NodeSeen)
    assert (running.worker, running.pool, running.block) == ("3", "abc", "1")
    assert (node.pool, node.block, node.workers) == ("abc", "1", 4)


def test_the_worker_half_needs_neither_psutil_nor_parsl(program: Program) -> None:
    got = program.python("""
        import sys
        from heliograph import journal, worker
        opened = journal.journal_for(journal.Route(run="r"))
        worker.ended(opened, worker.began(opened, worker.Try(origin="", number=0, try_=0, executor=None)), None)
        print(sorted({"psutil", "parsl", "pika"} & set(sys.modules)))
    """)
    assert got.out == "[]\n"


def test_it_costs_little(open_journal: Callable[[], Journal]) -> None:
    journal, best = open_journal(), float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(100):
            worker.ended(journal, worker.began(journal, a_try()), None, returned=True)
        best = min(best, (time.perf_counter() - start) / 100)
    # About 35 µs on an idle machine; the best of many rounds, and room for slower processors.
    assert best < 150e-6


def test_only_the_type_of_a_result_is_looked_at() -> None:
    class Touchy:
        def __getattribute__(self, name: str) -> object:
            if name != "__class__":
                raise AssertionError(name)
            return super().__getattribute__(name)

    assert ended(Touchy(), returned=True).ok
    assert ended(SimpleNamespace(e_type=1, e_value=2), returned=True).ok
