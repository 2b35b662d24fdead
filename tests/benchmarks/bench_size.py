"""How much room a workflow takes in our store and in Parsl's own `monitoring.db`.

In: `python -m tests.benchmarks.bench_size [--quick] [--json FILE]`. Out: bytes a task of both databases, with all
indexes and views, and their ratio: once for a real HTEX workflow of start and end messages (no samples: with them
Parsl's own runs 30 tasks/s), and once with samples, for the same events through Parsl's database manager and through
our writer: a cluster's tasks with failures, retries, joins and dependencies, interleaved as they would come.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from heliograph.messages import AgentStatus, NodeSample
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.benchmarks import parsl_manager
from tests.benchmarks.bigrun import START, Cluster, batches
from tests.benchmarks.frame import Figure, at_most, report, told
from tests.benchmarks.services import Stored, until

THIRD = 1 / 3
WORKFLOW = """
import sys
import parsl
from parsl import python_app
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
from {module} import MonitoringHub

@python_app
def square(x, depends=()):
    return x * x

@python_app
def total(*numbers):
    return sum(numbers)

if __name__ == "__main__":
    executor = HighThroughputExecutor(label="htex", address="127.0.0.1", max_workers_per_node=2, cores_per_worker=0.1,
                                      encrypted=False, provider=LocalProvider(init_blocks=1, max_blocks=1))
    monitoring = MonitoringHub(logging_endpoint="sqlite:///monitoring.db", resource_monitoring_interval=0)
    config = Config(executors=[executor], monitoring=monitoring, strategy="none", initialize_logging=False)
    with parsl.load(config):
        tasks = int(sys.argv[1])
        for start in range(0, tasks, 1000):
            futures = [square(n) for n in range(min(900, tasks - start))]
            sums = [total(*futures[n:n + 9]) for n in range(0, len(futures), 9)]
            assert all(one.result() is not None for one in sums)
"""


def workflow(module: str, tasks: int) -> Path:
    """Run it, and wait until its database is complete; returns the database."""
    folder = Path(tempfile.mkdtemp(prefix="bench-size-"))
    (folder / "workflow.py").write_text(WORKFLOW.format(module=module))
    environment = {**os.environ, "HELIOGRAPH_STATE_DIR": str(folder / "state"), "PYTHONPATH": os.getcwd()}
    subprocess.run(
        [sys.executable, "workflow.py", str(tasks)], cwd=folder, env=environment, check=True, timeout=600,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    database = folder / "monitoring.db"
    if module != "parsl.monitoring":
        with closing(Stored(f"sqlite:///{database}")) as stored:
            until(lambda: stored.ended() == 1 and stored.times("exec_done") == tasks, 120, pause=0.5)
    return database


def size(database: Path) -> int:
    """Bytes of the file with everything in it, with no log beside it."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(
            connection.execute("PRAGMA page_count").fetchone()[0] * connection.execute("PRAGMA page_size").fetchone()[0]
        )


def parts(database: Path, most: int = 6) -> str:
    """What takes the room."""
    with closing(sqlite3.connect(database)) as connection:
        try:
            found = connection.execute(
                "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT ?", (most,)
            ).fetchall()
        except sqlite3.OperationalError:
            return "this SQLite has no dbstat"
    return ", ".join(f"{name} {bytes_ / 1024:,.0f} KiB" for name, bytes_ in found)


def with_samples(tasks: int, samples: int) -> tuple[float, float, str]:
    """Bytes a task of ours and of Parsl's for the same events, and what takes the room in ours."""
    cluster = Cluster(random=Random(1), run="sized", tasks=tasks, samples=samples, start=START)
    # What Parsl's monitoring has nothing of (how nodes are, agents) is left out.
    same = [record for record in cluster.records() if not isinstance(record, NodeSample | AgentStatus)]
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "ours.db"
        url = f"sqlite:///{database}"
        migrate(url)
        with closing(connect(url)) as store:
            writer, waiting = Writer(store), []
            for batch in batches("sized", iter(same), 1000):
                waiting.append(batch)
                if len(waiting) == 16:
                    writer.write(waiting)
                    waiting = []
            writer.write(waiting)
        ours, what = size(database) / tasks, parts(database)
    return ours, parsl_manager.same_events(same) / tasks, what


def figures(quick: bool) -> list[Figure]:
    tasks = 1000 if quick else 10_000
    found: list[Figure] = []
    own, ours = workflow("parsl.monitoring", tasks), workflow("heliograph.parsl", tasks)
    by_parsl, by_us, what = size(own) / tasks, size(ours) / tasks, parts(ours)
    for database in (own, ours):
        shutil.rmtree(database.parent, ignore_errors=True)
    found += [
        told(5, "a real workflow, Parsl's monitoring.db", by_parsl, "bytes a task", f"{tasks:,} tasks, no samples"),
        told(5, "a real workflow, ours", by_us, "bytes a task", what),
        at_most(5, "ours by Parsl's, a real workflow", by_us / by_parsl, "", THIRD),
    ]
    sampled = 500 if quick else 10_000
    by_us, by_parsl, what = with_samples(sampled, 10)
    return [
        *found,
        told(5, "ten samples a task, Parsl's", by_parsl, "bytes a task", f"{sampled:,} tasks"),
        told(5, "ten samples a task, ours", by_us, "bytes a task", what),
        at_most(5, "ours by Parsl's, ten samples a task", by_us / by_parsl, "", THIRD),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
