"""How quickly the dashboard answers at a million tasks and ten million samples, against a hundred thousand.

In: `python -m tests.benchmarks.reading [--quick] [--json FILE]`; the databases in the folder that HELIOGRAPH_BIG names,
which are made there when they are missing, kept, and brought to this version's schema when they are older; without
that setting in a temporary folder that is removed. Out: figures: the worst of all cases of `bench_pages`, which shows
every one of them, and how many miss each aim.

The run of a million is one of a hundred thousand that went through everything ten times (`growrun`): writing it
whole takes minutes, and for reading it makes no difference. Beside them a hundred thousand tasks that last as long as
the million do, for what grows with the length of a run (see `bench_pages`).
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select

from heliograph_store import schema
from heliograph_store.migrate import current, head, migrate
from tests.benchmarks import bigrun, growrun
from tests.benchmarks.bench_pages import LARGEST, OVER_TIME, SLOWEST, STEEPEST, TRIFLE
from tests.benchmarks.bench_read import subject
from tests.benchmarks.frame import Figure, at_least, at_most, progress, report, told

TIMES: Final = 10
SLOW: Final = 18
"""How much slower a hundred thousand tasks are made for them to last as long as a million."""
SMALL: Final = {False: 100_000, True: 1_000}
REPEAT: Final = {False: 5, True: 2}
SAMPLES: Final = 10
"""Of each try."""
ROOM: Final = 45_000
"""Bytes of a task of the smaller run: ten of the larger one, and as much again while that one is made."""
AT_ONCE: Final = 25
"""Cases between two lines of progress."""


@dataclass(frozen=True, kw_only=True)
class Took:
    """What a case took in the largest run: 95th percentiles in milliseconds, bytes as sent, and how many times the CPU
    time that it took in the smaller one."""

    name: str
    served: str
    wall: float
    cpu: float
    sent: int
    ratio: float

    @classmethod
    def of(cls, case: Mapping[str, Any]) -> Took:
        """From the JSON of `bench_pages` on three databases."""
        small, long, large = case["sizes"]
        other = long if case["served"] in OVER_TIME else small
        return cls(
            name=case["name"], served=case["served"], wall=large["wall"][1] * 1000, cpu=large["cpu"][1] * 1000,
            sent=large["sent"], ratio=max(large["cpu"][0], TRIFLE) / max(other["cpu"][0], TRIFLE),
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.name}, CPU {self.cpu:.0f} ms"


@contextmanager
def folder() -> Iterator[Path]:
    """Where the databases are or come to be."""
    if named := os.environ.get("HELIOGRAPH_BIG"):
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named)
        return
    with tempfile.TemporaryDirectory(prefix="bench-reading-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def databases(where: Path, small: int) -> list[Path]:
    """The smaller one, the long one and the larger one; made when they are missing. Exits when there is no room."""
    paths = [where / f"{name}.db" for name in (small, f"{small}-long", small * TIMES)]
    missing = [path for path in paths if not path.exists()]
    free, needed = shutil.disk_usage(where).free, small * ROOM
    if missing and free < needed:
        sys.exit(
            f"the databases for reading need {needed / 1e9:.1f} GB in {where}, where {free / 1e9:.1f} are free; "
            "name another folder in HELIOGRAPH_BIG"
        )
    makers: tuple[Callable[[Path], None], ...] = (
        lambda path: bigrun.make(f"sqlite:///{path}", small, samples=SAMPLES),
        lambda path: bigrun.make(f"sqlite:///{path}", small, samples=SAMPLES, slow=SLOW),
        lambda path: growrun.grow(paths[0], path, TIMES),
    )
    for path, make in zip(paths, makers, strict=True):
        if path in missing:
            progress(f"making {path}")
            whole(path, make)
        elif current(url := f"sqlite:///{path.absolute()}") != head():
            progress(f"bringing {path} to schema {head()}")
            migrate(url)
    return paths


def whole(path: Path, make: Callable[[Path], None]) -> None:
    """Under its own name once it is complete: half a database would be taken for one the next time."""
    part = path.with_name(f"{path.name}.part")

    def clear() -> None:
        for left in path.parent.glob(f"{part.name}*"):
            left.unlink()

    clear()
    make(part)
    with closing(sqlite3.connect(part)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what stands beside the file does not go with it
    part.rename(path)
    clear()


def held(path: Path) -> tuple[int, int]:
    """Tasks and samples of the largest run."""
    of, table = subject(f"sqlite:///{path.absolute()}"), schema.samples
    with closing(of.store) as store, store.connection() as connection:
        samples = connection.scalar(select(func.count()).select_from(table).where(table.c.run == of.run.id))
    return of.tasks, samples or 0


def ask(paths: Sequence[Path], repeat: int) -> list[Took]:
    """Every case of `bench_pages` on the databases."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "tests.benchmarks.bench_pages", *map(str, paths)]
        command += ["--repeat", str(repeat), "--json", file.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for number, line in enumerate(process.stdout):
                if number % AT_ONCE == 0:
                    progress(f"reading, {number}: {line.strip()[:70]}")
        if process.returncode:
            sys.exit("bench_pages failed")
        return [Took.of(case) for case in json.loads(Path(file.name).read_text())["cases"]]


def summed(found: Sequence[Took]) -> list[Figure]:
    """The worst of them, and how many miss what is asked. Searches without an index have figures without a goal."""
    served = [one for one in found if one.served not in {"passing", "text"}]
    return [
        *_slowest(served, "slowest view, sort or filter with an index, p95", asked=True),
        _largest(found),
        *(
            _steepest([one for one in served if (one.served in OVER_TIME) == over_time], against)
            for over_time, against in ((False, "a tenth of the tasks"), (True, "a tenth of the tasks, as long a run"))
        ),
        *_slowest([one for one in found if one.served == "passing"], "slowest bounded search without an index, p95"),
        *_slowest([one for one in found if one.served == "text"], "slowest text search, p95"),
    ]


def _slowest(found: Sequence[Took], name: str, *, asked: bool = False) -> Iterator[Figure]:
    worst, late = max(found, key=lambda one: one.wall), sum(one.wall >= SLOWEST * 1000 for one in found)
    if asked:
        yield at_most(6, name, worst.wall, "ms", SLOWEST * 1000, f"{worst}; {late} of {len(found)} miss it")
        hungry, late = max(found, key=lambda one: one.cpu), sum(one.cpu >= SLOWEST * 1000 for one in found)
        yield told(6, "most processor time of these, p95", hungry.cpu, "ms", f"{hungry.name}; {late} over 300 ms")
    else:
        yield told(6, name, worst.wall, "ms", f"{worst}; one of {len(found)}")


def _largest(found: Sequence[Took]) -> Figure:
    worst, late = max(found, key=lambda one: one.sent), sum(one.sent >= LARGEST for one in found)
    note = f"{worst.name}; {late} of {len(found)} miss it"
    return at_most(6, "largest answer", worst.sent / 1000, "kB", LARGEST / 1000, note)


def _steepest(found: Sequence[Took], against: str) -> Figure:
    worst, late = max(found, key=lambda one: one.ratio), sum(one.ratio > STEEPEST for one in found)
    note = f"CPU; {worst.name}; {late} of {len(found)} miss it"
    return at_most(6, f"most growth, by {against}", worst.ratio, "times", STEEPEST, note)


def figures(quick: bool) -> list[Figure]:
    with folder() as where:
        paths = databases(where, SMALL[quick])
        tasks, samples = held(paths[-1])
        found = ask(paths, REPEAT[quick])
    asked = SMALL[quick] * TIMES
    return [
        at_least(6, "tasks of the run", tasks, "tasks", asked),
        at_least(6, "samples of the run", samples, "samples", asked * SAMPLES),
        *summed(found),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
