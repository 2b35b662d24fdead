"""How long every page and every callback of the dashboard takes, and what it sends, at 1,000, 100,000, 1,000,000 tasks.

In: `python -m tests.benchmarks.bench_pages [DATABASE…] [--repeat N] [--again N] [--only WORD…] [--without WORD…]
[--json FILE]`; without databases those in the folder that HELIOGRAPH_BIG names (see `bigrun`). Out: a table: median and
95th percentile in milliseconds by the clock and in CPU time (all threads), kB as sent (gzip where the server
compresses, as it does from 1 kB on), what serves it, and how much CPU time the largest run's median is of the second
largest's; which views miss the aim; and exit status 1 when a callback of the app has no case here.

A million tasks take the same cluster ten times as long as 100,000 do, and what rollups keep by the minute is ten times
as much then. Whether it is the tasks that cost is told by a run of 100,000 tasks that lasts as long as the million does
(a database `100000-long.db` beside the others, from `bigrun --slow 18`): where there is one, what rollups and samples
serve is compared with it, and the table marks that with an 'l'.

Each request is asked cold: the dashboard's own caches are emptied before; those of the database and system are warm.
Databases take turns, so that what else the machine does disturbs all alike. A case that misses an aim is asked
`--again` times more, and judged by all of its answers: of a thousand requests one always meets what else goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Final

from heliograph_dashboard.app import collect_seldom
from tests.benchmarks.bench_read import Subject, subject
from tests.benchmarks.page_cases import Case, all_cases, place
from tests.benchmarks.page_client import VISIT, Answer, Client

SLOWEST: Final = 0.3
"""Seconds, p95 at the largest size."""
LARGEST: Final = 1_000_000
"""Bytes as sent."""
STEEPEST: Final = 1.3
"""Times the median at the second largest size."""
OVER_TIME: Final = frozenset({"rollup", "sample"})
"""What is served by what grows with the length of a run."""
TRIFLE: Final = 0.010
"""Seconds: below this the clock's noise is the ratio."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Seconds; bytes of the largest answer."""

    wall: tuple[float, float]
    cpu: tuple[float, float]
    sent: int
    size: int
    encoding: str

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Measured:
        largest = max(answers, key=lambda one: one.sent)
        return cls(
            wall=_both([one.wall for one in answers]), cpu=_both([one.cpu for one in answers]), sent=largest.sent,
            size=largest.size, encoding=largest.encoding,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How often a case is asked: all of them, and once more those that miss an aim."""

    first: int
    again: int


def _both(values: Sequence[float]) -> tuple[float, float]:
    return median(values), quantiles(values, n=20, method="inclusive")[18] if len(values) > 1 else values[0]


def ask(client: Client, s: Subject, case: Case) -> Answer:
    """One cold request. Raises RuntimeError when it is not answered as it should be."""
    where = place(case, s)
    if case.callback == VISIT:
        client.forget()
        answer = client.visit(*where)[1]
    else:
        props = client.props(*where)
        given = case.given(s, props)
        client.forget()
        answer = client.call(case.callback, props, given, case.changed)
    if answer.status not in ({200, 204} if case.quiet else {200}):
        raise RuntimeError(f"{case.name}: {answer.status} at {where}")
    return answer


def measure(
    clients: Sequence[Client], subjects: Sequence[Subject], cases: Sequence[Case], turns: Turns, long: bool
) -> dict[str, list[Measured]]:
    """Every case on every database. One that misses an aim is asked again, and judged by all of its answers."""
    found: dict[str, list[Measured]] = {}
    for case in cases:
        answers: list[list[Answer]] = [[] for _ in clients]
        ask_all(clients, subjects, case, range(1), [[] for _ in clients])  # compiles statements
        ask_all(clients, subjects, case, range(1, turns.first + 1), answers)
        if misses(case, [Measured.of(some) for some in answers], long):
            ask_all(clients, subjects, case, range(turns.first + 1, turns.first + turns.again + 1), answers)
        found[case.name] = [Measured.of(some) for some in answers]
        print(line(case, found[case.name], long), flush=True)
    return found


def ask_all(
    clients: Sequence[Client], subjects: Sequence[Subject], case: Case, turns: range, answers: Sequence[list[Answer]]
) -> None:
    """One case on all databases in turn; `answers` get theirs."""
    for turn in turns:
        for client, s, some in zip(clients, subjects, answers, strict=True):
            s.random.seed(f"{case.name} {turn}")  # of every size the same app, host, state
            some.append(ask(client, s, case))


def line(case: Case, found: Sequence[Measured], long: bool) -> str:
    cells = "".join(f"{f'{_ms(one.wall)} | {_ms(one.cpu)} | {one.sent / 1000:.1f}':>32}" for one in found)
    told = (
        f"{ratio(case, found, long):7.2f}{'l' if long and case.served in OVER_TIME else ''}" if len(found) > 1 else ""
    )
    return f"{case.name:58.58}{case.served:8}{cells}{told}"


def _length(s: Subject) -> str:
    return f"{(s.until - s.began) / 3.6e9:.1f} h"


def _ms(both: tuple[float, float]) -> str:
    return f"{both[0] * 1000:.0f}/{both[1] * 1000:.0f}"


def ratio(case: Case, found: Sequence[Measured], long: bool) -> float:
    """CPU time of the largest to that of the second largest; what takes next to nothing is as 10 ms.

    `long`: the last but one is the long run, with which only what grows with a run's length is compared.
    """
    other = found[-2] if not long or case.served in OVER_TIME else found[-3]
    return max(found[-1].cpu[0], TRIFLE) / max(other.cpu[0], TRIFLE)


def misses(case: Case, found: Sequence[Measured], long: bool) -> list[str]:
    """Which aims a case misses; text search has its own figure, and so has what no index serves."""
    if case.served == "text":
        return []
    last = found[-1]
    told = [f"p95 {last.wall[1] * 1000:.0f} ms ({last.cpu[1] * 1000:.0f} CPU)"] if last.wall[1] >= SLOWEST else []
    if last.sent >= LARGEST:
        told.append(f"{last.sent / 1e6:.1f} MB")
    if len(found) > 1 and case.served != "passing" and ratio(case, found, long) > STEEPEST:
        told.append(f"ratio {ratio(case, found, long):.2f}")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("databases", nargs="*", help="files or URLs, the smallest first")
    parser.add_argument("--repeat", type=int, default=12)
    parser.add_argument("--again", type=int, default=20, help="so many times more, where an aim is missed")
    parser.add_argument("--only", nargs="*", default=[], help="only cases with one of these words")
    parser.add_argument("--without", nargs="*", default=[], help="no cases with one of these words")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    folder = Path(os.environ.get("HELIOGRAPH_BIG", "."))
    databases = chosen.databases or [
        str(path)
        for name in ("1000", "100000", "100000-long", "1000000")
        if (path := folder / f"{name}.db").exists() or name != "100000-long"
    ]
    long = len(databases) > 2 and "-long" in databases[-2]
    urls = [name if "://" in name else f"sqlite:///{Path(name).absolute()}" for name in databases]
    subjects, clients = [subject(url) for url in urls], [Client(url) for url in urls]
    try:
        every = all_cases(clients[-1], subjects[-1])
    except LookupError as error:
        sys.exit(f"the benchmark is not complete: {error}")
    cases = [
        case
        for case in every
        if (not chosen.only or any(word in case.name for word in chosen.only))
        and not any(word in case.name for word in chosen.without)
    ]
    heads = "".join(f"{f'{s.tasks:,} in {_length(s)} | CPU | kB':>32}" for s in subjects)
    print(f"{len(cases)} cases; p50/p95 in ms\n{'':58}{'served':8}{heads}  ratio")
    collect_seldom()  # as the dashboard does when it starts
    found = measure(clients, subjects, cases, Turns(first=chosen.repeat, again=chosen.again), long)
    for client in clients:
        client.close()
    late = [(case, told) for case in cases if (told := misses(case, found[case.name], long))]
    print(f"\n{len(cases) - len(late)} of {len(cases)} reach the aim; the others:")
    for case, told in late:
        print(f"{case.name}: {', '.join(told)}")
    if chosen.json:
        write(chosen.json, subjects, cases, found, chosen.repeat)


def write(
    path: Path, subjects: Sequence[Subject], cases: Sequence[Case], found: dict[str, list[Measured]], repeat: int
) -> None:
    result = {
        "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "load": os.getloadavg(),
        "repeat": repeat,
        "tasks": [s.tasks for s in subjects],
        "cases": [
            {"name": case.name, "served": case.served, "sizes": [vars(one) for one in found[case.name]]}
            for case in cases
        ],
    }
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
