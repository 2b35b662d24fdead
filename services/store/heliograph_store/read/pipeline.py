"""The pipeline's own account: agents, what was dropped, torn or put aside, and how fresh the store is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from heliograph_store.read.query import beyond, fetch, flag, page_size
from heliograph_store.schema import agents, aside, hosts, journals, runs
from heliograph_store.store import Store


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent as it last reported, for one run. Counters are over its life; `depth` in bytes."""

    run: str
    agent: str
    host: str | None
    pid: int | None
    version: str | None
    first_seen: int | None
    last_seen: int | None
    depth: int | None
    clock_offset: int | None
    ended: bool | None
    shipped: int | None
    dropped_samples: int | None
    dropped_states: int | None
    torn: int | None


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What is known to be missing, summed. `unclean` journals have an unknown tail; `aside` records could not be used.

    `dropped_*` count records that recorders or agents could not keep; `torn` stretches of journal that were unreadable.
    """

    dropped_samples: int
    dropped_states: int
    dropped_control: int
    torn: int
    unclean: int
    aside: int

    @property
    def none(self) -> bool:
        return not any(vars(self).values())


@dataclass(frozen=True, kw_only=True)
class AsideRecord:
    """A record that could not be used. `raw` holds the first 4 KiB of it; `key` is its place in `aside_page`."""

    run: str | None
    record_id: str
    reason: str
    size: int | None
    raw: bytes | None
    key: tuple[int, str]


def agent_list(store: Store, *, run_id: int | None = None, limit: int = 1000) -> list[Agent]:
    """Agents (of one run), the last heard of first. By the run's part of `agents`' primary key, else a scan of it."""
    a = agents.c
    plain = [c for c in a if c.name not in {"run", "host"}]
    query = (
        select(*plain, hosts.c.name.label("host"), runs.c.run)
        .select_from(agents.join(runs, runs.c.id == a.run).outerjoin(hosts, hosts.c.id == a.host))
        .order_by(a.last_seen.desc(), a.agent)
        .limit(page_size(limit))
    )
    if run_id is not None:
        query = query.where(a.run == run_id)
    return [Agent(**{**row, "ended": flag(row["ended"])}) for row in fetch(store, query)]


def losses(store: Store, *, run_id: int | None = None) -> Losses:
    """What is missing (of one run). By the run's part of the primary keys of `agents`, `journals` and `aside`.

    An agent that serves several runs reports the same counters for each of them: over all runs it counts once.
    """
    a, j = agents.c, journals.c
    highest = (
        select(*(func.max(a[name]).label(name) for name in ("dropped_samples", "dropped_states", "torn")))
        .group_by(a.agent)
    )  # fmt: skip
    written = select(
        *(func.coalesce(func.sum(j[name]), 0).label(name) for name in ("samples", "states", "control")),
        func.count().filter(j.clean == 0).label("unclean"),
    )
    put_aside = select(func.count().label("aside")).select_from(aside)
    if run_id is not None:
        highest = highest.where(a.run == run_id)
        written = written.where(j.run == run_id)
        put_aside = put_aside.where(aside.c.run == run_id)
    reports = fetch(store, highest)
    (journal,), (other,) = fetch(store, written), fetch(store, put_aside)

    def agents_sum(name: str) -> int:
        return sum(report[name] or 0 for report in reports)

    return Losses(
        dropped_samples=agents_sum("dropped_samples") + int(journal["samples"]),
        dropped_states=agents_sum("dropped_states") + int(journal["states"]),
        dropped_control=int(journal["control"]),
        torn=agents_sum("torn"),
        unclean=journal["unclean"],
        aside=other["aside"],
    )


def aside_page(
    store: Store, *, run_id: int | None = None, after: tuple[int, str] | None = None, limit: int = 100
) -> list[AsideRecord]:
    """Records put aside, by run and record id; `after` is the `key` of the last one. By the primary key of `aside`."""
    s = aside.c
    key = (s.run, s.record_id)
    query = (
        select(s.run.label("run_id"), s.record_id, s.reason, s.size, s.raw, runs.c.run)
        .select_from(aside.outerjoin(runs, runs.c.id == s.run))
        .order_by(*key)
        .limit(page_size(limit))
    )
    if run_id is not None:
        query = query.where(s.run == run_id)
    if after is not None:
        query = query.where(beyond(key, after))
    return [_aside(row) for row in fetch(store, query)]


def newest(store: Store) -> int | None:
    """The time of the newest record in the store: how fresh it is. A scan of `runs`."""
    (row,) = fetch(store, select(func.max(runs.c.last_seen).label("newest")))
    return None if row["newest"] is None else int(row["newest"])


def _aside(row: dict[str, Any]) -> AsideRecord:
    return AsideRecord(key=(row.pop("run_id"), row["record_id"]), **row)
