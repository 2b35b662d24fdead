"""How long each read function that a page uses takes, in runs of 1,000, 100,000 and 1,000,000 tasks.

In: `python -m tests.benchmarks.bench_read [DATABASE…] [--repeat N] [--only WORD] [--cpu] [--json FILE]`; without
databases those in the folder that HELIOGRAPH_BIG names (see `bigrun`). Out: a table with median and 95th percentile in
milliseconds and the number of rows, and how much the largest run's median is of the second largest's. Questions take
turns, so that what else the machine does disturbs all alike; every one is asked with other parameters each time
(another page, task, window), as people do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any, Final

from sqlalchemy import func, select

from heliograph_store import schema
from heliograph_store.read import apps, busy, failures, nodes, runs, samples, tasks, tries
from heliograph_store.read.task_order import Sort
from heliograph_store.store import Store, connect
from tests.benchmarks.bigrun import APPS

MINUTE: Final = 60_000_000


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A database's largest run."""

    store: Store
    run: runs.Run
    tasks: int
    random: Random

    @property
    def task(self) -> int:
        return self.random.randrange(self.tasks)

    @property
    def some_task(self) -> int:
        """One of twenty."""
        return self.random.randrange(20) * (self.tasks // 20)

    @property
    def app(self) -> str:
        return self.random.choice(APPS).name

    @property
    def began(self) -> int:
        assert self.run.started is not None
        return self.run.started

    @property
    def until(self) -> int:
        assert self.run.ended is not None
        return self.run.ended

    def window(self, length: int) -> dict[str, int]:
        at = self.random.randrange(self.began, max(self.began + 1, self.until - length))
        return {"since": at, "until": at + length}

    @property
    def host(self) -> str:
        return f"node{self.random.randrange(64):03d}.cluster.example"


Question = Callable[[Subject], Sequence[Any]]


def page(**wanted: Any) -> Question:
    """The first page, or one somewhere behind it."""
    sort: Sort = wanted.get("sort", "task")

    def ask(s: Subject) -> Sequence[Any]:
        after = None
        if s.random.random() < 0.5:
            # From the place of some task on: as good as a page that somebody scrolled to.
            (some,) = tasks.task_page(s.store, s.run.id, after=s.task - 1, limit=1)
            after = tasks.page_key(some, sort)
            if sort != "task" and after[0] is None:
                after = None
        more = {"host": s.host} if wanted.get("host") else {}
        return tasks.task_page(s.store, s.run.id, **{**wanted, **more}, after=after)

    return ask


QUESTIONS: Final[dict[str, Question]] = {
    "list_runs": lambda s: runs.list_runs(s.store),
    "run_summary": lambda s: runs.run_summary(s.store, s.run).apps,
    "activity": lambda s: runs.activity(s.store, s.run.id),
    "app_summaries": lambda s: apps.app_summaries(s.store, s.run.id),
    "app_histogram": lambda s: apps.app_histogram(s.store, s.run.id, "simulate", "run_time"),
    "failure_groups": lambda s: failures.failure_groups(s.store, s.run.id),
    "failures_in": lambda s: failures.failures_in(s.store, s.run.id, _group(s)),
    "host_tries": lambda s: failures.host_tries(s.store, s.run.id),
    "failure_counts": lambda s: runs.failure_counts(s.store, s.run.id),
    "busy by app, whole run": lambda s: busy.busy(s.store, s.run.id, since=s.began, until=s.until, by="app"),
    "busy by host, whole run": lambda s: busy.busy(s.store, s.run.id, since=s.began, until=s.until, buckets=50),
    "busy by app, an hour": lambda s: busy.busy(s.store, s.run.id, **s.window(60 * MINUTE), by="app"),
    "intervals, 10 seconds": lambda s: busy.intervals(s.store, s.run.id, **s.window(MINUTE // 6)),
    "intervals, a minute": lambda s: busy.intervals(s.store, s.run.id, **s.window(MINUTE)),
    "intervals of a host, an hour": lambda s: busy.intervals(
        s.store, s.run.id, **s.window(60 * MINUTE), hosts=[s.host], limit=2000
    ),
    "tasks": page(),
    "tasks, newest first": page(descending=True),
    "tasks by begin": page(sort="began"),
    "tasks by begin, latest first": page(sort="began", descending=True),
    "tasks by run time": page(sort="took"),
    "tasks by run time, longest first": page(sort="took", descending=True),
    "tasks of an app": page(app="analyse"),
    "tasks of a small app": page(app="expand"),
    "tasks of an app by run time": page(app="simulate", sort="took", descending=True),
    "tasks of an app by begin": page(app="simulate", sort="began", descending=True),
    "tasks that failed": page(state="failed"),
    "tasks that failed, by begin": page(state="failed", sort="began", descending=True),
    "tasks done": page(state="exec_done"),
    "tasks done, by run time": page(state="exec_done", sort="took", descending=True),
    "tasks of an app that failed": page(app="simulate", state="failed"),
    "tasks on an executor": page(executor="threads"),
    "tasks on an executor by run time": page(executor="threads", sort="took", descending=True),
    "tasks on a host": page(host=True),
    "tasks on a host by begin": page(host=True, sort="began", descending=True),
    "tasks of an app on a host": page(app="train", host=True),
    "tasks of 60 to 61 s, by run time": page(min_took=60_000_000, max_took=61_000_000, sort="took"),
    "tasks of 60 to 61 s": page(min_took=60_000_000, max_took=61_000_000),
    "tasks over 10 minutes": page(min_took=600_000_000),
    "tasks with a text (no index)": page(text="part-777.h5"),
    "task_detail": lambda s: [tasks.task_detail(s.store, s.run.id, s.task)],
    "task_edges": lambda s: tasks.task_edges(s.store, s.run.id, after=(s.task, -1, 0), limit=5000),
    "tries": lambda s: tries.try_page(s.store, s.run.id, after=(s.task, 0)),
    "task_samples": lambda s: samples.task_samples(s.store, s.run.id, s.task),
    "task_series": lambda s: samples.task_series(s.store, s.run.id, s.task),
    "node_list": lambda s: nodes.node_list(s.store, s.run.id),
    "block_list": lambda s: nodes.block_list(s.store, s.run.id),
    "node_series of a host": lambda s: samples.node_series(s.store, s.run.id, host=s.host),
    "node_page": lambda s: samples.node_page(s.store, s.run.id, s.host, limit=500),
}


def _group(s: Subject) -> int:
    return s.random.choice(failures.failure_groups(s.store, s.run.id)).id


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Milliseconds, and rows of the largest answer."""

    p50: float
    p95: float
    rows: int


def measure(
    subjects: Sequence[Subject], questions: dict[str, Question], repeat: int, clock: Callable[[], float]
) -> dict[str, list[Measured]]:
    """Question → what it took in each subject."""
    times: dict[tuple[str, int], list[float]] = {}
    rows: dict[tuple[str, int], int] = {}
    for turn in range(repeat + 1):
        for name, question in questions.items():
            for place, subject in enumerate(subjects):
                began = clock()
                found = len(question(subject))
                took = clock() - began
                if turn:  # the first one compiles the statement
                    times.setdefault((name, place), []).append(took * 1000)
                rows[name, place] = max(found, rows.get((name, place), 0))
    return {
        name: [
            Measured(p50=median(ms), p95=quantiles(ms, n=20)[18] if len(ms) > 1 else ms[0], rows=rows[name, place])
            for place in range(len(subjects))
            for ms in (times[name, place],)
        ]
        for name in questions
    }


def subject(url: str, seed: int = 1) -> Subject:
    store = connect(url, read_only=True)
    counted = schema.run_states.c
    with store.connection() as connection:
        row = connection.execute(
            select(counted.run, func.sum(counted.tasks)).group_by(counted.run).order_by(func.sum(counted.tasks).desc())
        ).first()
    assert row is not None, f"{url} holds no run"
    run = runs.get_run(store, row[0])
    assert run is not None
    return Subject(store=store, run=run, tasks=int(row[1]), random=Random(seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("databases", nargs="*", help="files or URLs, the smallest first")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--only", default="", help="only questions with this word")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="CPU time of this process instead of the clock's: SQLite works in it, and a busy machine changes it less",
    )
    chosen = parser.parse_args()
    folder = Path(os.environ.get("HELIOGRAPH_BIG", "."))
    databases = chosen.databases or [str(folder / f"{n}.db") for n in (1000, 100_000, 1_000_000)]
    subjects = [subject(name if "://" in name else f"sqlite:///{name}") for name in databases]
    questions = {name: question for name, question in QUESTIONS.items() if chosen.only in name}
    found = measure(subjects, questions, chosen.repeat, time.process_time if chosen.cpu else time.perf_counter)
    print(f"{'p50 / p95 in ms (rows)':36}" + "".join(f"{s.tasks:>24,}" for s in subjects) + "   ratio")
    for name, of in found.items():
        cells = "".join(f"{f'{m.p50:.1f} / {m.p95:.1f} ({m.rows})':>24}" for m in of)
        ratio = f"{of[-1].p50 / of[-2].p50:8.2f}" if len(of) > 1 else ""
        print(f"{name:36}{cells}{ratio}")
    if chosen.json:
        result = {
            "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
            "repeat": chosen.repeat,
            "clock": "cpu" if chosen.cpu else "wall",
            "tasks": [s.tasks for s in subjects],
            "milliseconds": {name: [vars(m) for m in of] for name, of in found.items()},
        }
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
