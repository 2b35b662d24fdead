"""How runs are doing now: their tasks by state, and what the nodes that they work on are busy with.

In: a `Store` and runs. Out: frozen values. Made for who asks every few seconds, whatever the size of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Double, cast, func, select

from heliograph_store.read.grid import real, whole
from heliograph_store.read.query import fetch, state_name
from heliograph_store.read.sampled import sampled_host_ids
from heliograph_store.schema import node_samples, run_states
from heliograph_store.store import Store


@dataclass(frozen=True, kw_only=True)
class RunTasks:
    """Tasks of a run in a state; None is 'not known yet'."""

    run_id: int
    state: str | None
    tasks: int


@dataclass(frozen=True, kw_only=True)
class NodesNow:
    """The nodes of a run by their latest samples: cores busy and there, bytes of memory used and there. On a node that
    is shared this is everybody's. None where no node tells."""

    nodes: int
    cpu: float | None
    cores: int | None
    memory: int | None
    memory_total: int | None


def tasks_of_runs(store: Store, run_ids: Sequence[int]) -> list[RunTasks]:
    """Tasks of these runs (at most 500) by state, from the rollup `run_states`."""
    c = run_states.c
    query = (
        select(c.run.label("run_id"), c.state, func.sum(c.tasks).label("tasks"))
        .where(c.run.in_(run_ids[:500]), c.tasks > 0)
        .group_by(c.run, c.state)
    )
    return [
        RunTasks(run_id=row["run_id"], state=state_name(row["state"]), tasks=int(row["tasks"]))
        for row in fetch(store, query)
    ]


def nodes_now(store: Store, run_id: int, *, since: int) -> NodesNow:
    """Of the nodes that were sampled since then. A few steps down the primary key of `node_samples` for each host."""
    m, found = node_samples.c, sampled_host_ids(run_id)
    latest = select(func.max(m.at)).where(m.run == run_id, m.host == found.c.host, m.at >= since).scalar_subquery()
    last = select(found.c.host, latest.label("at")).where(found.c.host.is_not(None)).subquery()
    cores = func.coalesce(m.cpu_count, 1)
    query = select(
        func.count().label("nodes"),
        func.sum(cast(m.cpu_percent, Double) * cores / 100).label("cpu"),
        func.sum(cores).label("cores"),
        func.sum(m.memory_used).label("memory"),
        func.sum(m.memory_total).label("memory_total"),
    ).select_from(
        node_samples.join(last, (m.run == run_id) & (m.host == last.c.host) & (m.at == last.c.at))
    )  # fmt: skip
    (row,) = fetch(store, query)
    return NodesNow(
        nodes=row["nodes"],
        cpu=real(row["cpu"]),
        cores=whole(row["cores"]),
        memory=whole(row["memory"]),
        memory_total=whole(row["memory_total"]),
    )
