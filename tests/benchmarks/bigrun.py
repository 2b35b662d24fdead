"""Makes a database with a run of any size, through the real write path, for benchmarks and for looking at.

In: `python -m tests.benchmarks.bigrun TASKS DATABASE_URL [--samples N] [--seed N] [--slow N]`. Out: that database
with one run of that many tasks ("big-TASKS") and a few dozen small ones, written by `Writer.write` from encoded
batches, in the order in which a cluster would have sent them. The same seed gives the same run.

What happens: eight apps with their own durations, memory and dependencies, one of which joins; 64 nodes in four
blocks; a kernel that keeps a limited number of tasks submitted; retries, memoized tasks, lost workers and
failures whose messages differ in numbers, paths and addresses. One kind of failure comes nearly always from one node.
"""

from __future__ import annotations

import argparse
import heapq
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import log
from random import Random
from typing import Any, Final

import msgspec

from heliograph.messages import (
    CLASS_OF,
    AgentStatus,
    Batch,
    BlockState,
    FileCallback,
    FileFound,
    NodeSample,
    NodeSeen,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    Source,
    TaskDescribed,
    TaskEnded,
    TaskRunning,
    TaskSample,
    TaskState,
    WatchClosed,
    WatchOpened,
    decode_batch,
    encode,
)
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer

SECOND: Final = 1_000_000
MEMORY: Final = 128 << 30
"""Bytes of each node."""
MIB: Final = 1 << 20
START: Final = 1_790_000_000 * SECOND
NODES: Final = 64
BLOCKS: Final = 4
FULL_NODE: Final = 17
"""The node whose scratch disk is full."""


@dataclass(frozen=True, kw_only=True)
class App:
    """An app: median seconds and spread (sigma of the logarithm) of its run time, median memory in MiB, what it waits
    for (app, how many) and its share of all tasks."""

    name: str
    seconds: float
    spread: float
    memory: float
    share: float
    needs: tuple[tuple[str, int], ...] = ()
    executor: str = "htex"
    memoize: bool = False


APPS: Final = (
    App(name="fetch", seconds=2, spread=0.6, memory=60, share=0.12, executor="threads"),
    App(name="preprocess", seconds=6, spread=0.4, memory=220, share=0.22, needs=(("fetch", 1),), memoize=True),
    App(name="simulate", seconds=40, spread=0.9, memory=900, share=0.30, needs=(("preprocess", 1),)),
    App(name="analyse", seconds=9, spread=0.5, memory=400, share=0.22, needs=(("simulate", 1),)),
    App(name="train", seconds=60, spread=0.5, memory=2500, share=0.05, needs=(("analyse", 4),)),
    App(name="evaluate", seconds=5, spread=0.3, memory=700, share=0.05, needs=(("train", 1), ("analyse", 1))),
    App(name="expand", seconds=0.5, spread=0.4, memory=90, share=0.01, needs=(("evaluate", 1),)),
    App(name="report <b>final</b>", seconds=3, spread=0.3, memory=150, share=0.03, needs=(("evaluate", 4),)),
)
JOINING: Final = "expand"


@dataclass
class Pool:
    """Workers of one executor: when each gets free, and where it is."""

    free: list[tuple[int, int, int]]
    """(time, node, worker), a heap."""


@dataclass
class Cluster:
    """The run while it is made: records wait in `_due` until nothing earlier can come."""

    random: Random
    run: str
    tasks: int
    samples: int
    start: int
    per_node: int = 32
    backlog: int = 4000
    slow: int = 1
    numbers: int = 0
    failed: set[int] = field(default_factory=set)
    ends: dict[int, int] = field(default_factory=dict)
    recent: dict[str, list[int]] = field(default_factory=dict)
    begins: deque[int] = field(default_factory=deque)
    counts: list[int] = field(default_factory=lambda: [0, 0])
    latest: int = 0
    _due: list[tuple[int, int, Record]] = field(default_factory=list)
    _serial: int = 0

    def records(self) -> Iterator[Record]:
        """All records of the run, by their time."""
        ready = self.start + 40 * SECOND
        workers = [(ready + n * 1000 + w, n, w) for n in range(NODES) for w in range(self.per_node)]
        self.pools = {
            "htex": Pool(workers),
            "threads": Pool([(self.start, -1, w) for w in range(max(4, self.per_node * 2))]),
        }
        self._around_start(ready)
        submitted, watched = self.start + SECOND, ready
        while self.numbers < self.tasks:
            # The kernel submits at most 2,000 tasks a second, and no more than `backlog` ahead of the workers.
            submitted += 500
            if len(self.begins) >= self.backlog:
                submitted = max(submitted, self.begins.popleft())
            while watched < submitted:
                self._around(watched)
                watched += 10 * SECOND
            self._task(submitted)
            yield from self._before(submitted)
        while watched < self.latest:
            self._around(watched)
            watched += 10 * SECOND
        self._around_end(self.latest + SECOND)
        yield from self._before(self.latest + 3600 * SECOND)

    def _add(self, record: Record) -> None:
        self._serial += 1
        heapq.heappush(self._due, (record.at, self._serial, record))

    def _before(self, at: int) -> Iterator[Record]:
        due = self._due
        while due and due[0][0] < at:
            yield heapq.heappop(due)[2]

    # -- tasks -----------------------------------------------------------------------------------------------------

    def _task(self, invoked: int, app: App | None = None, parent: int | None = None) -> int:
        """One task from its submission to its end; returns when it ended."""
        random, number = self.random, self.numbers
        self.numbers += 1
        app = app or random.choices(APPS, [a.share for a in APPS])[0]
        depends = sorted({d for name, n in app.needs for d in self._some(name, n)})
        head: dict[str, Any] = {"origin": "parsl", "number": number}
        self._add(
            TaskDescribed(
                at=invoked, app=app.name, executor=app.executor, depends=depends, join=app.name == JOINING,
                memoize=app.memoize, parent=parent, invoked=invoked, stdout=f"/runs/42/task_{number}.out",
                resources='{"cores":1,"memory":4096}' if app.name == "train" else None,
                inputs=f"[File(/data/set-{number % 97}/part-{number}.h5)]" if app.name == "fetch" else None, **head,
            )
        )  # fmt: skip
        self._add(TaskState(at=invoked + 40, try_=0, state="pending", fail_count=0, fail_cost=0.0, **head))
        ready = max([invoked + 200, *(self.ends.get(d, 0) for d in depends)])
        wrong = [d for d in depends if d in self.failed]
        if wrong:
            return self._finished(
                number,
                app,
                ready + 100,
                0,
                "dep_fail",
                f"DependencyError('Dependency failure for task {number}: failed dependencies from task {wrong[0]}')",
            )
        if app.memoize and random.random() < 0.05:
            self._add(TaskState(at=ready + 100, try_=0, state="memo_done", from_memo=True, hashsum=_hash(number),
                                returned=ready + 90, **head))  # fmt: skip
            return self._done(number, app, ready + 100)
        return self._tries(number, app, ready, head)

    def _tries(self, number: int, app: App, ready: int, head: dict[str, Any]) -> int:
        history: list[str] = []
        for attempt in range(3):
            ended, error = self._try(number, app, attempt, ready, head)
            if error is None:
                if app.name == JOINING:
                    ended = self._join(number, attempt, ended, head)
                return self._finished(number, app, ended + 900, attempt, "exec_done", None)
            history.append(error)
            if attempt == 2:
                break
            self._add(TaskState(at=ended + 900, try_=attempt, state="fail_retryable", fail_count=attempt + 1,
                                fail_cost=attempt + 1.0, fail_history=", ".join(history), **head))  # fmt: skip
            ready = ended + 1000
            self._add(TaskState(at=ready, try_=attempt + 1, state="pending", fail_count=attempt + 1,
                                fail_cost=attempt + 1.0, **head))  # fmt: skip
        return self._finished(number, app, ended + 900, 2, "failed", ", ".join(history))

    def _try(self, number: int, app: App, attempt: int, ready: int, head: dict[str, Any]) -> tuple[int, str | None]:
        """Returns when the function ended and what went wrong."""
        random = self.random
        pool = self.pools[app.executor].free
        free, node, worker = heapq.heappop(pool)
        launched = ready + 150
        began = max(launched + 2000, free + 300)
        took = int(random.lognormvariate(log(app.seconds), app.spread) * SECOND) * self.slow
        rss = int(random.lognormvariate(log(app.memory), 0.3) * MIB) // 4096 * 4096
        error = _failure(random, app, node, number, attempt)
        if error is not None:
            took = int(took * random.random())
        ended = began + took
        heapq.heappush(pool, (ended, node, worker))
        self.begins.append(began)
        self._add(TaskState(at=launched, try_=attempt, state="launched", executor=app.executor, launched=launched - 60,
                            **head))  # fmt: skip
        host, pid = _host(node), 2000 + worker
        self._add(
            TaskRunning(
                at=began, mono=began, try_=attempt, host=host, pid=pid, create_time=7000 + worker, worker=str(worker),
                pool=f"pool-{node}", block=str(node * BLOCKS // NODES) if node >= 0 else None, executor=app.executor,
                shared=node < 0, **head,
            )
        )  # fmt: skip
        busy = random.uniform(0.3, 1.0)
        self._samples(head, attempt, host, pid, began, took, rss, busy, node < 0)
        if error == "lost":
            return ended + 30 * SECOND, f"ManagerLost('Task failure due to loss of manager pool-{node} on host {host}')"
        names = ("exc_type", "exc_message", "exc_place", "traceback")
        self._add(
            TaskEnded(
                at=ended, mono=ended, try_=attempt, host=host, pid=pid, ok=error is None, elapsed=took,
                exit=None if error is None else 1, cpu_user=int(took * busy), cpu_system=int(took * busy * 0.04),
                peak_rss=rss, peak_exact=node >= 0, **(dict(zip(names, error, strict=True)) if error else {}), **head,
            )
        )  # fmt: skip
        return ended, f"{error[0]}({error[1]!r})" if error else None

    def _samples(  # noqa: PLR0917
        self, head: dict[str, Any], attempt: int, host: str, pid: int, began: int, took: int, rss: int, busy: float,
        shared: bool,
    ) -> None:  # fmt: skip
        count = self.samples and max(1, round(self.random.gauss(self.samples, self.samples / 5)))
        for step in range(1, count + 1):
            done = took * step // count
            used = int(rss * (0.5 + 0.5 * step / count))
            cpu = int(done * busy)
            self._add(
                TaskSample(
                    at=began + done, try_=attempt, host=host, pid=pid, cpu_user=cpu, cpu_system=cpu // 25, rss=used,
                    peak_rss=used, vms=rss * 3, threads=4, children=0, read_bytes=done * 20, write_bytes=done * 3,
                    ctx_voluntary=done // 5000, ctx_involuntary=done // 90000,
                    memory_percent=round(100 * used / MEMORY, 3),  # as agents round it
                    status="running", cpu_num=step % 32, shared=shared, last=step == count, interval=10.0, **head,
                )
            )  # fmt: skip

    def _join(self, number: int, attempt: int, ended: int, head: dict[str, Any]) -> int:
        """The tasks that a join app submits, and waits for."""
        children = []
        for _ in range(min(3, self.tasks - self.numbers)):
            children.append(self.numbers)
            self._task(ended + 100, APPS[1], parent=number)
        self._add(TaskState(at=ended + 800, try_=attempt, state="joining", joins=children, **head))
        return max([ended, *(self.ends[child] for child in children)])

    def _finished(  # noqa: PLR0917
        self, number: int, app: App, at: int, attempt: int, state: str, history: str | None
    ) -> int:
        self._add(TaskState(at=at, origin="parsl", number=number, try_=attempt, state=state, fail_history=history,
                            returned=at - 20, hashsum=_hash(number) if app.memoize else None))  # fmt: skip
        if state != "exec_done":
            self.failed.add(number)
        return self._done(number, app, at, good=state == "exec_done")

    def _done(self, number: int, app: App, at: int, *, good: bool = True) -> int:
        self.counts[not good] += 1
        self.ends[number] = at
        self.ends.pop(number - 50_000, None)
        self.latest = max(self.latest, at)
        recent = self.recent.setdefault(app.name, [])
        recent.append(number)
        del recent[:-300]
        return at

    def _some(self, app: str, count: int) -> list[int]:
        recent = self.recent.get(app, [])
        # A failed task that many others would wait for would fail most of the run: mostly the good ones are used.
        chosen = self.random.sample(recent, min(count, len(recent)))
        return [d for d in chosen if d not in self.failed or self.random.random() < 0.2]

    # -- what comes along ------------------------------------------------------------------------------------------

    def _around_start(self, ready: int) -> None:
        at = self.start
        self._add(
            RunStarted(
                at=at, name="Climate ensemble", version="4.2", owner="ada", host="login1", run_dir="/runs/42", pid=99,
                program_version="2026.10.26", python="3.11.9", zone="Europe/Berlin", utc_offset=7200,
                tags={"project": "ensemble", "queue": "long"}, sample_interval=10.0,
            )
        )  # fmt: skip
        self._add(WatchOpened(at=at + 500, watch="results", root="/data/out", host="login1", patterns=["**/*.h5"]))
        self._add(BlockState(at=at + 900, executor="htex", block=str(BLOCKS), status="FAILED", job_id="4211099"))
        for block in range(BLOCKS):
            name = {"executor": "htex", "block": str(block), "job_id": str(4_211_000 + block)}
            self._add(BlockState(at=at + 1000 + block, status="PENDING", **name))
            self._add(BlockState(at=ready - 3 * SECOND + block, status="RUNNING", **name))
        for node in range(NODES):
            self._add(self._seen(node, ready + node * 1000))

    def _seen(self, node: int, at: int, *, active: bool = True) -> NodeSeen:
        return NodeSeen(
            at=at, host=_host(node), pool=f"pool-{node}", executor="htex", block=str(node * BLOCKS // NODES), pid=1900,
            workers=self.per_node, cpu_count=32, memory_total=MEMORY, python="3.11.9", platform="Linux",
            active=active,
        )  # fmt: skip

    def _around(self, at: int) -> None:
        """What comes every ten seconds besides tasks."""
        random, span = self.random, at - self.start
        self._add(RunHeartbeat(at=at))
        for node in range(NODES):
            cpu = random.uniform(60, 98)
            self._add(
                NodeSample(
                    at=at + node * 31_000, host=_host(node), cpu_count=32, cpu_percent=cpu, cpu_user=span * 28,
                    cpu_system=span, cpu_idle=span * 3, load1=cpu / 3, load5=30.0, load15=29.0,
                    memory_total=MEMORY, memory_available=60 << 30, memory_used=int(cpu * (1 << 30) / 1.5),
                    swap_used=0, disk_read=span * 90, disk_write=span * 30, disk_total=800 << 30,
                    disk_free=(3 << 20) if node == FULL_NODE else 600 << 30, net_received=span * 12, net_sent=span * 7,
                    cpu_pressure=cpu / 20, memory_pressure=0.0, io_pressure=0.3, processes=300,
                )
            )  # fmt: skip
        if span // (10 * SECOND) % 6 == 0:
            for node in range(NODES):
                self._add(AgentStatus(at=at + node, agent=f"agent-{node}", host=_host(node), pid=1800, version="0.1",
                                      shipped=span // 1000, clock_offset=node * 37 - 900))  # fmt: skip
            step = span // (60 * SECOND)
            path = f"/data/out/step-{step}.h5"
            self._add(FileFound(at=at, watch="results", path=path, size=step * 4096, mtime=at - SECOND, inode=step))
            outcome, result = ("error", "OSError: truncated file") if step % 9 == 8 else ("ok", '{"rows": 12}')
            self._add(FileCallback(at=at + 3000, watch="results", callback="summarise", sequence=step, outcome=outcome,
                                   paths=[path], result=result, elapsed=2500))  # fmt: skip

    def _around_end(self, at: int) -> None:
        for node in range(NODES):
            self._add(self._seen(node, at + node, active=False))
        for block in range(BLOCKS):
            self._add(BlockState(at=at + 100, executor="htex", block=str(block), status="COMPLETED",
                                 job_id=str(4_211_000 + block)))  # fmt: skip
        self._add(WatchClosed(at=at + 200, watch="results", files=9))
        self._add(RunEnded(at=at + 300, completed=self.counts[0], failed=self.counts[1]))


def _host(node: int) -> str:
    return f"node{node:03d}.cluster.example" if node >= 0 else "login1"


def _hash(number: int) -> str:
    return f"{number * 2654435761 % (1 << 128):032x}"


def _failure(random: Random, app: App, node: int, number: int, attempt: int) -> Any:
    """None, "lost", or (type, message, place, traceback). About 2 % of the tries, more on the node whose
    disk is full."""
    chance = random.random()
    if node == FULL_NODE and app.name == "simulate" and chance < 0.25:
        where, text = (
            "simulate.py:88 in write_state",
            f"[Errno 28] No space left on device: '/scratch/t{number}/state.bin'",
        )
        return "OSError", text, where, _traceback("OSError", text, where)
    if chance > (0.014 if attempt == 0 else 0.6):
        return None  # what failed once fails again more often than not
    kind = random.choices(range(7), [4, 3, 3, 2, 2, 1, 1])[0]
    if kind == 0 or (kind == 6 and node < 0):
        text, name = f"cell {random.randrange(10**6)} is outside of [0, {random.choice([512, 1024])})", "ValueError"
        where = f"{app.name}.py:{40 + len(app.name)} in advance"
    elif kind == 1:
        text = f"[Errno 2] No such file or directory: '/data/set-{number % 97}/part-{number}.h5'"
        name, where = "FileNotFoundError", "reader.py:17 in open_part"
    elif kind == 2:
        text, name, where = (
            f"Unable to allocate {random.uniform(1, 90):.1f} GiB",
            "MemoryError",
            "grid.py:230 in allocate",
        )
    elif kind == 3:
        answer = f"<Response 0x{random.randrange(1 << 47):x}>"
        text = f"{answer} from job {random.randrange(1 << 120):032x} after {random.randrange(60)} s"
        name, where = "TimeoutError", "client.py:301 in wait"
    elif kind == 4:
        text, name = f"'Field' object at 0x{random.randrange(1 << 47):012x} has no attribute 'mean'", "AttributeError"
        where = "analyse.py:12 in reduce"
    elif kind == 5:
        text, name, where = (
            '<script>alert("5")</script> \N{GRINNING FACE} is no "name"',
            "KeyError",
            "table.py:5 in column",
        )
    else:
        return "lost" if attempt == 0 else None
    return name, text, where, _traceback(name, text, where)


def _traceback(name: str, text: str, where: str) -> str:
    place, _, function = where.partition(" in ")
    file, _, line = place.partition(":")
    frames = "".join(
        f'  File "/home/ada/ensemble/{f}", line {n}, in {w}\n    step(state, {i})\n'
        for i, (f, n, w) in enumerate([("main.py", "21", "run"), ("steps.py", "140", "call"), (file, line, function)])
    )
    return f"Traceback (most recent call last):\n{frames}{name}: {text}\n"


# -- writing -----------------------------------------------------------------------------------------------------------


def batches(run: str, records: Iterator[Record], size: int) -> Iterator[Batch]:
    """Records as batches from the wire, one class each."""
    open_: dict[str, list[bytes]] = {}
    offset = 0
    for record in records:
        cls = CLASS_OF[type(record)].value
        group = open_.setdefault(cls, [])
        group.append(encode(record))
        if len(group) >= size:
            offset += size
            yield _batch(run, cls, open_.pop(cls), offset)
    for cls, group in open_.items():
        offset += size
        yield _batch(run, cls, group, offset)


def _batch(run: str, cls: str, raw: list[bytes], offset: int) -> Batch:
    source = Source("journal-1", list(range(offset, offset + len(raw))))
    records = [msgspec.Raw(r) for r in raw]
    batch = Batch(version=1, run=run, cls=cls, agent="a", host="n", boot="b", sources=[source], records=records)
    return decode_batch(encode(batch))


def big_run(
    tasks: int, *, samples: int = 10, seed: int = 1, slow: int = 1, run: str | None = None, start: int = START
) -> Cluster:
    """`slow`: how many times as long as theirs the apps run."""
    small = tasks <= 10_000
    return Cluster(
        random=Random(seed), run=run or f"big-{tasks}", tasks=tasks, samples=samples, start=start, slow=slow,
        per_node=2 if small else 32, backlog=400 if small else 30_000,
    )  # fmt: skip


def make(url: str, tasks: int, *, samples: int, seed: int = 1, slow: int = 1, small_runs: int = 40) -> None:
    """Migrate the database and write all runs into it."""
    migrate(url)
    store = connect(url)
    writer = Writer(store)
    clusters = [
        big_run(20, samples=samples, seed=seed + i, run=f"small-{i}", start=START - (i + 1) * 7200 * SECOND)
        for i in range(small_runs)
    ]
    clusters.append(big_run(tasks, samples=samples, seed=seed, slow=slow))
    began, written = time.perf_counter(), 0
    for cluster in clusters:
        waiting: list[Batch] = []
        for batch in batches(cluster.run, cluster.records(), 2000):
            waiting.append(batch)
            if len(waiting) >= 4:
                written += writer.write(waiting).records
                waiting = []
        if waiting:
            written += writer.write(waiting).records
    took = time.perf_counter() - began
    store.close()
    print(
        f"{tasks:,} tasks, {written:,} records in {took:.0f} s ({written / took:,.0f} records/s, generating included)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", type=int)
    parser.add_argument("url")
    parser.add_argument("--samples", type=int, default=10, help="samples a try, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slow", type=int, default=1, help="apps run this many times as long: the same for a long run")
    chosen = parser.parse_args()
    make(chosen.url, chosen.tasks, samples=chosen.samples, seed=chosen.seed, slow=chosen.slow)


if __name__ == "__main__":
    main()
