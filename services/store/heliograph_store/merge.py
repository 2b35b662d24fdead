"""Merging what is known about one thing, whatever the order in which it became known.

In: two partial rows of the same key. Out: one row. Pure, and for every rule associative, commutative and idempotent:
that is why records may come late, twice, in any order and through several writers.

Numbers that only grow merge by maximum, first times by minimum. Facts that one record states together (a `Group`) stay
together: those of the record with the latest (or earliest) time win, and among equal times the larger values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Columns that always come from one record: the one with the latest time in `stamp`, or the earliest."""

    stamp: str
    columns: tuple[str, ...]
    first: bool = False


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the rows of a table merge. Columns that no rule names are its key."""

    smallest: tuple[str, ...] = ()
    largest: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()


def order(value: Any) -> tuple[bool, Any]:
    """Sorts None before every value."""
    return (value is not None, value)


def smaller(a: Any, b: Any) -> Any:
    """The smaller of two values, where None is 'unknown'."""
    if a is None:
        return b
    return a if b is None or a <= b else b


def larger(a: Any, b: Any) -> Any:
    """The larger of two values, where None is 'unknown'."""
    if a is None:
        return b
    return a if b is None or a >= b else b


def merge(a: Row, b: Row, rules: Rules) -> Row:
    """One row out of two of the same key; columns that a row does not have are unknown there."""
    merged = {**b, **a}
    for column in rules.smallest:
        merged[column] = smaller(a.get(column), b.get(column))
    for column in rules.largest:
        merged[column] = larger(a.get(column), b.get(column))
    for group in rules.groups:
        chosen = _chosen(a, b, group)
        merged[group.stamp] = chosen.get(group.stamp)
        for column in group.columns:
            merged[column] = chosen.get(column)
    return merged


def _chosen(a: Row, b: Row, group: Group) -> Row:
    ours, theirs = a.get(group.stamp), b.get(group.stamp)
    if ours is None or theirs is None:
        return a if theirs is None else b
    if ours != theirs:
        return a if (ours < theirs) == group.first else b
    values = [[order(row.get(column)) for column in group.columns] for row in (a, b)]
    return a if values[0] >= values[1] else b


RULES: Final[Mapping[str, Rules]] = {
    "runs": Rules(
        smallest=("first_seen",),
        largest=("last_seen", "lease_until"),
        groups=(
            Group(
                stamp="started",
                columns=(
                    "name",
                    "version",
                    "owner",
                    "host",
                    "run_dir",
                    "program",
                    "program_version",
                    "python",
                    "zone",
                    "utc_offset",
                    "tags",
                    "pid",
                    "sample_interval",
                ),
                first=True,
            ),
            Group(stamp="ended", columns=("completed", "failed", "exit")),
        ),
    ),
    "failures": Rules(
        largest=("history",),
        groups=(Group(stamp="at", columns=("exc_type", "exc_message", "exc_place", "traceback")),),
    ),
    "nodes": Rules(
        smallest=("first_seen",),
        groups=(
            Group(
                stamp="last_seen",
                columns=(
                    "executor",
                    "block",
                    "workers",
                    "cpu_count",
                    "memory_total",
                    "python",
                    "platform",
                    "active",
                    "pid",
                ),
            ),
        ),
    ),
    "block_states": Rules(largest=("job_id",)),
    "agents": Rules(
        smallest=("first_seen",),
        largest=("shipped", "dropped_samples", "dropped_states", "torn"),
        groups=(Group(stamp="last_seen", columns=("host", "pid", "version", "depth", "clock_offset", "ended")),),
    ),
    "journals": Rules(
        largest=("host", "samples", "states", "control"),
        groups=(
            Group(stamp="dropped_at", columns=("reason",)),
            Group(stamp="closed", columns=("clean", "pid", "records")),
        ),
    ),
    "watches": Rules(
        groups=(
            Group(stamp="opened", columns=("root", "host", "patterns", "task"), first=True),
            Group(stamp="closed", columns=("files", "unfinished", "reason")),
        ),
    ),
    "files": Rules(smallest=("at", "repeat"), largest=("inode", "pattern")),
    "file_callbacks": Rules(groups=(Group(stamp="at", columns=("outcome", "paths", "result", "elapsed", "repeat")),)),
}
"""How the tables merge that are written now and then; `tasks` and `tries`, the busy ones, stand in `tasks.py`."""
