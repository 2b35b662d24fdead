"""How quickly the dashboard answers at a million tasks and ten million samples, against a hundred thousand.

In: `python -m tests.benchmarks.reading [--quick] [--json FILE]`; the databases in the folder that HELIOGRAPH_BIG names,
which are made there when they are missing, and kept; without that setting in a temporary folder that is removed. Out:
figures: the worst of all cases of `bench_pages`, which shows every one of them, and how many miss each aim.

The run of a million is one of a hundred thousand that went through everything ten times (`growrun`): writing it
whole takes minutes, and for reading it makes no difference.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from heliograph_store import schema
from tests.benchmarks import bigrun, growrun
from tests.benchmarks.bench_pages import LARGEST, SLOWEST, STEEPEST, Measured, measure, ratio
from tests.benchmarks.bench_read import Subject, subject
from tests.benchmarks.frame import Figure, at_least, at_most, progress, report, told
from tests.benchmarks.page_cases import Case, all_cases
from tests.benchmarks.page_client import Client

TIMES: Final = 10
SMALL: Final = {False: 100_000, True: 1_000}
REPEAT: Final = {False: 5, True: 2}
SAMPLES: Final = 10
"""Of each try."""
ROOM: Final = 40_000
"""Bytes of a task of the smaller run: ten of the larger one, and as much again while that one is made."""
AT_ONCE: Final = 25
"""Cases between two lines of progress."""
Found = Sequence[tuple[Case, Measured, float]]
"""Cases, what they took in the larger run, and how many times what they took in the smaller one."""


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
    """The smaller and the larger; made when they are missing. Exits when there is no room for them."""
    paths = [where / f"{tasks}.db" for tasks in (small, small * TIMES)]
    missing = [path for path in paths if not path.exists()]
    free, needed = shutil.disk_usage(where).free, small * ROOM
    if missing and free < needed:
        sys.exit(
            f"the databases for reading need {needed / 1e9:.1f} GB in {where}, where {free / 1e9:.1f} are free; "
            "name another folder in HELIOGRAPH_BIG"
        )
    makers: tuple[Callable[[Path], None], ...] = (
        lambda path: bigrun.make(f"sqlite:///{path}", small, samples=SAMPLES),
        lambda path: growrun.grow(paths[0], path, TIMES),
    )
    for path, make in zip(paths, makers, strict=True):
        if path in missing:
            progress(f"making {path}")
            whole(path, make)
    return paths


def whole(path: Path, make: Callable[[Path], None]) -> None:
    """Under its own name once it is complete: half a database would be taken for one the next time."""
    part = path.with_suffix(".part")
    for old in path.parent.glob(f"{part.name}*"):
        old.unlink()
    make(part)
    part.rename(path)


def samples(s: Subject) -> int:
    """Of the run."""
    table = schema.samples
    with s.store.connection() as connection:
        return connection.scalar(select(func.count()).select_from(table).where(table.c.run == s.run.id)) or 0


def ask(paths: Sequence[Path], repeat: int) -> tuple[list[Subject], Found]:
    """Every case of `bench_pages` on the databases."""
    urls = [f"sqlite:///{path.absolute()}" for path in paths]
    subjects, clients = [subject(url) for url in urls], [Client(url) for url in urls]
    cases, found = all_cases(clients[-1], subjects[-1]), {}
    for at in range(0, len(cases), AT_ONCE):
        progress(f"reading: {at} of {len(cases)} cases")
        found.update(measure(clients, subjects, cases[at : at + AT_ONCE], repeat))
    for client in clients:
        client.close()
    return subjects, [(case, found[case.name][-1], ratio(found[case.name])) for case in cases]


def slow(found: Found, *served: str) -> tuple[Case, Measured, float]:
    return max((one for one in found if one[0].served in served), key=lambda one: one[1].wall[1])


def summed(found: Found, tasks: int) -> list[Figure]:
    """The worst of them, and how many miss what is asked."""
    indexed = [one for one in found if one[0].served == "index"]
    case, took, _ = slow(found, "index")
    late = sum(one.wall[1] >= SLOWEST for _, one, _ in indexed)
    figures = [
        at_most(6, "slowest case with an index, p95", took.wall[1] * 1000, "ms", SLOWEST * 1000,
                f"{_called(case, took)}; {late} of {len(indexed)} miss it"),
    ]  # fmt: skip
    case, took, _ = max(found, key=lambda one: one[1].sent)
    late = sum(one.sent >= LARGEST for _, one, _ in found)
    figures.append(
        at_most(6, "largest answer", took.sent / 1000, "kB", LARGEST / 1000,
                f"{case.name}; {late} of {len(found)} miss it")
    )  # fmt: skip
    case, took, steepest = max(indexed, key=lambda one: one[2])
    late = sum(times > STEEPEST for _, _, times in indexed)
    figures += [
        at_most(6, f"steepest case with an index, by {tasks // TIMES:,} tasks", steepest, "times", STEEPEST,
                f"CPU; {case.name}; {late} of {len(indexed)} miss it"),
        *_others(found),
    ]  # fmt: skip
    return figures


def _others(found: Found) -> Iterator[Figure]:
    for name, *served in (
        ("of the others", "rollup", "sample", "nothing"),
        ("of bounded searches without an index", "passing"),
        ("of text searches", "text"),
    ):
        case, took, _ = slow(found, *served)
        yield told(6, f"slowest {name}, p95", took.wall[1] * 1000, "ms", _called(case, took))


def _called(case: Case, took: Measured) -> str:
    return f"{case.name}, CPU {took.cpu[1] * 1000:.0f} ms"


def figures(quick: bool) -> list[Figure]:
    with folder() as where:
        paths = databases(where, SMALL[quick])
        subjects, found = ask(paths, REPEAT[quick])
        larger = subjects[-1]
        with closing(larger.store):
            held = samples(larger)
    tasks = SMALL[quick] * TIMES
    return [
        at_least(6, "tasks of the run", larger.tasks, "tasks", tasks),
        at_least(6, "samples of the run", held, "samples", tasks * SAMPLES),
        *summed(found, tasks),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
