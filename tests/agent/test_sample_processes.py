"""The sampler on this machine's own processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from heliograph import state
from heliograph.agent.processes import ProcTable, PsutilTable, process_table
from heliograph.agent.sample_tasks import ActiveTry, TaskSampler
from heliograph.journal import now
from heliograph.messages import TaskSample

linux = sys.platform == "linux"
BURN = "import time\nwhile time.process_time() < {0}: pass\n"
# Runs what it reads from its standard input, line by line, and answers each with 'ok'.
OBEDIENT = """
import subprocess, sys, time
for line in sys.stdin:
    exec(line)
    print("ok", flush=True)
"""


class Obedient:
    """A process that does what it is told, as a worker would."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OBEDIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.do("children = []")

    def do(self, line: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n"

    def a_try(self, number: int = 0, **known: object) -> ActiveTry:
        cpu = psutil.Process(self.process.pid).cpu_times()
        values = {
            "cpu_user": int((cpu.user + cpu.children_user) * 1e6),
            "cpu_system": int((cpu.system + cpu.children_system) * 1e6),
            **known,
        }
        return ActiveTry(
            run="r", origin="", number=number, try_=0, host="h", pid=self.process.pid, interval=0.0,
            create_time=state.process_start(self.process.pid), mono=now()[1], **values,  # type: ignore[arg-type]
        )  # fmt: skip


@pytest.fixture
def worker() -> Iterator[Obedient]:
    made = Obedient()
    yield made
    for child in psutil.Process(made.process.pid).children(recursive=True):
        child.kill()
    made.process.kill()
    made.process.communicate()


def sample(sampler: TaskSampler, *tries: ActiveTry) -> dict[int, TaskSample]:
    return {s.number: s for s in sampler.tick(tries, now())}


def cpu(of: TaskSample) -> int:
    return (of.cpu_user or 0) + (of.cpu_system or 0)


def test_a_child_that_burned_and_exited_stays_in_the_totals(worker: Obedient) -> None:
    sampler, try_ = TaskSampler(), worker.a_try()
    worker.do(f"children.append(subprocess.Popen([sys.executable, '-c', {BURN.format(0.4)!r} + 'time.sleep(60)']))")
    deadline = time.monotonic() + 20
    totals = [0]
    while totals[-1] < 350_000 and time.monotonic() < deadline:
        time.sleep(0.1)
        got = sample(sampler, try_)[0]
        assert got.children == 1
        totals.append(cpu(got))
    worker.do("children[0].kill(); children[0].wait()")
    got = sample(sampler, try_)[0]
    assert got.children == 0
    totals.append(cpu(got))
    assert totals == sorted(totals)
    assert totals[-1] >= 350_000


def test_the_past_of_a_real_worker_is_not_billed(worker: Obedient) -> None:
    worker.do("t = time.process_time() + 0.4")
    worker.do("exec('while time.process_time() < t: pass')")
    got = sample(TaskSampler(), worker.a_try())[0]
    assert cpu(got) < 200_000


def test_a_nested_process_is_its_own_trys(worker: Obedient) -> None:
    sampler, outer = TaskSampler(), worker.a_try(1)
    worker.do(
        "children.append(subprocess.Popen([sys.executable, '-c', "
        "'import time; x = bytearray(60 << 20); time.sleep(60)']))"
    )
    pid = psutil.Process(worker.process.pid).children()[0].pid
    inner = ActiveTry(
        run="r", origin="", number=2, try_=0, host="h", pid=pid, create_time=state.process_start(pid), interval=0.0
    )
    deadline = time.monotonic() + 20
    while (got := sample(sampler, outer, inner))[2].rss < (60 << 20) and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.05)
    assert (got[2].rss or 0) >= 60 << 20
    assert (got[1].rss or 0) < 60 << 20
    assert (got[1].children, got[2].children) == (0, 0)


def test_a_mismatch_of_the_create_time_is_another_process(worker: Obedient) -> None:
    real = worker.a_try()
    wrong = ActiveTry(
        run="r", origin="", number=1, try_=0, host="h", pid=real.pid, create_time=(real.create_time or 0) - 1
    )
    assert sample(TaskSampler(), wrong) == {}
    assert set(sample(TaskSampler(), real)) == {0}


def test_totals_go_on_when_the_agent_restarts(worker: Obedient) -> None:
    sampler, try_ = TaskSampler(), worker.a_try()
    worker.do(f"subprocess.run([sys.executable, '-c', {BURN.format(0.2)!r}])")
    first = cpu(sample(sampler, try_)[0])
    raw = sampler.snapshot()
    worker.do(f"subprocess.run([sys.executable, '-c', {BURN.format(0.2)!r}])")
    restarted = TaskSampler()
    assert restarted.restore(raw)
    assert cpu(sample(restarted, try_)[0]) >= first + 150_000


def test_values_agree_with_psutil(worker: Obedient) -> None:
    got = sample(TaskSampler(), worker.a_try())[0]
    real = psutil.Process(worker.process.pid)
    memory = real.memory_info()
    assert got.rss == memory.rss
    assert got.vms == memory.vms
    assert got.threads == real.num_threads()
    seen = {(sample(TaskSampler(), worker.a_try())[0].status, real.status()) for _ in range(50)}
    assert any(ours == theirs for ours, theirs in seen)  # it may wake up between the two looks
    assert got.memory_percent == pytest.approx(real.memory_percent(), abs=0.01)


def test_both_tables_tell_the_same(worker: Obedient) -> None:
    assert type(process_table()) is (ProcTable if linux else PsutilTable)
    ours, theirs = process_table().rows()[worker.process.pid], PsutilTable().rows()[worker.process.pid]
    assert (ours.ppid, ours.threads, ours.user) == (os.getpid(), theirs.threads, theirs.user)
    assert PsutilTable().details(worker.process.pid).voluntary == process_table().details(worker.process.pid).voluntary


def test_a_process_that_is_gone_has_no_details() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert set(process_table().details(gone.pid)) == {None}
    assert set(PsutilTable().details(gone.pid)) == {None}
    assert gone.pid not in process_table().rows()
