"""What an agent takes from its node: idle, and sampling 128 tasks with children; and how a sample's cost grows.

In: `python -m tests.benchmarks.bench_agent [--quick] [--json FILE]`. Out: figures. Agent and tasks are real processes;
processor time is the agent's own, from the scheduler's count in nanoseconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median

from heliograph import state
from heliograph.agent.sample_tasks import TaskSampler
from heliograph.agent.whose import ActiveTry
from heliograph.journal import Journal, now
from heliograph.messages import TaskRunning, TaskSample, decode_batch, decode_records
from heliograph.route import Route, RouteFile, write_route
from tests.benchmarks.frame import Figure, at_most, report, told
from tests.benchmarks.services import until

TASKS = 128
INTERVAL = 10.0
MEBI = 1 << 20


@contextmanager
def processes(count: int, children: int = 1) -> Iterator[list[int]]:
    """Processes that sleep, each with so many children that sleep; all pids of the former."""
    sleeping = "sleep 1000 & " * children
    started = [
        subprocess.Popen(["sh", "-c", f"{sleeping} wait"], start_new_session=True, stdin=subprocess.DEVNULL)
        for _ in range(count)
    ]
    try:
        yield [one.pid for one in started]
    finally:
        for one in started:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, 9)
            one.wait()


def seconds_of(pid: int) -> float:
    """Processor time of all threads of a process."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += int((thread / "schedstat").read_text().split()[0])
    return total / 1e9


def resident(pid: int) -> int:
    """Most memory that it ever held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def agent(folder: Path) -> Iterator[tuple[int, Journal, Path]]:
    """A real agent that follows a journal of this process; its pid, the journal, the spool that it fills."""
    os.environ["HELIOGRAPH_STATE_DIR"] = str(folder / "state")
    os.environ["HELIOGRAPH_AGENT"] = "off"  # this one is started here, and no other
    run_dir = folder / "run"
    run_dir.mkdir()
    write_route(run_dir, RouteFile(bus=f"spool:{folder / 'bus'}"))
    with closing(Journal.open(Route(run="bench", run_dir=str(run_dir), sample_interval=INTERVAL))) as journal:
        environment = {name: value for name, value in os.environ.items() if name != "HELIOGRAPH_AGENT"}
        process = subprocess.Popen(
            [sys.executable, "-m", "heliograph.agent"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            yield process.pid, journal, folder / "bus"
        finally:
            process.terminate()
            process.wait(30)


def share(pid: int, seconds: float) -> float:
    """Percent of one processor in the next seconds."""
    before, began = seconds_of(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (seconds_of(pid) - before) / (time.monotonic() - began)


def sampled(bus: Path) -> int:
    """Samples of tasks that the agent has shipped."""
    from heliograph.bus import open_consumer

    found = 0
    with closing(open_consumer(f"spool:{bus}", name="bench")) as consumer:
        while taken := consumer.receive(100, 0.2):
            for delivery in taken:
                records, _ = decode_records(decode_batch(delivery.body))
                found += sum(isinstance(record, TaskSample) for record in records)
            consumer.ack(taken)
    return found


def growth(tasks: int, children: int) -> float:
    """Milliseconds of processor time of one sample of all tasks: the median of several."""
    with processes(tasks, children) as pids:
        active = [_active(pid, number) for number, pid in enumerate(pids)]
        sampler, taken = TaskSampler(), []
        at, mono = now()
        for step in range(12):
            began = time.thread_time()
            found = sampler.keyed(active, (at + step * 10_000_000, mono + step * 10_000_000))
            taken.append(time.thread_time() - began)
            assert len(found) == tasks, "not every task was sampled"
    return 1000 * median(taken[2:])


def _active(pid: int, number: int) -> ActiveTry:
    return ActiveTry(
        run="bench", origin="o", number=number, try_=0, host="h", pid=pid, create_time=state.process_start(pid),
        shared=False, interval=INTERVAL, mono=0, cpu_user=None, cpu_system=None,
    )  # fmt: skip


def _running(pid: int, number: int) -> TaskRunning:
    at, mono = now()
    return TaskRunning(at=at, mono=mono, origin="o", number=number, try_=0, host=state.host(), pid=pid,
                       create_time=state.process_start(pid))  # fmt: skip


def figures(quick: bool) -> list[Figure]:
    small, large = growth(32, 1), growth(TASKS, 1)
    families = growth(TASKS, 4)
    found = [
        told(2, f"one sample of {TASKS} tasks with a child", large, "ms CPU", f"{small:.2f} ms for 32"),
        at_most(2, "four times the tasks, times the cost", large / small, "times", 6),
        at_most(2, "5 processes a task instead of 2, times the cost", families / large, "times", 3.5),
    ]
    if quick:
        return found
    with (
        tempfile.TemporaryDirectory(prefix="bench-agent-", ignore_cleanup_errors=True) as name,
        agent(Path(name)) as (pid, journal, bus),
    ):
        time.sleep(8)
        idle = share(pid, 35)
        with processes(TASKS) as pids:
            for number, of in enumerate(pids):
                journal.append(_running(of, number))
            until(lambda: sampled(bus) >= TASKS, 60, pause=1)
            busy = share(pid, 40)
            memory = resident(pid)
    return [
        at_most(2, f"sampling {TASKS} tasks with children every {INTERVAL:g} s", busy, "% of a core", 1),
        at_most(2, "most memory of that agent", memory / MEBI, "MiB", 40),
        at_most(2, "idle agent", idle, "% of a core", 0.1),
        *found,
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
