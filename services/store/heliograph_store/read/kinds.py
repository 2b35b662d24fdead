"""What sorts of tasks a run has: how many of each app, executor and state.

In: a `Store`, a run. Out: counts, for the choices of filters and for how many rows a filtered list will have.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from heliograph_store.read.query import fetch, state_name
from heliograph_store.schema import apps, hosts, names, nodes, run_kinds
from heliograph_store.store import Store


@dataclass(frozen=True, kw_only=True)
class TaskKind:
    """`tasks` of this app on this executor are in this state; None is 'not known yet'."""

    app: str | None
    executor: str | None
    state: str | None
    tasks: int


def task_kinds(store: Store, run_id: int) -> list[TaskKind]:
    """Counts of tasks, from the rollup `run_kinds`: by the run's part of its primary key."""
    c = run_kinds.c
    query = (
        select(apps.c.name.label("app"), names.c.name.label("executor"), c.state, c.tasks)
        .select_from(run_kinds.outerjoin(apps, apps.c.id == c.app).outerjoin(names, names.c.id == c.executor))
        .where(c.run == run_id, c.tasks > 0)
        .order_by(c.app, c.executor, c.state)
    )
    return [
        TaskKind(app=row["app"], executor=row["executor"], state=state_name(row["state"]), tasks=row["tasks"])
        for row in fetch(store, query)
    ]


def host_names(store: Store, run_id: int, *, limit: int = 1000) -> list[str]:
    """Hosts that showed up in a run, at most `limit`; by the run's part of the primary key of `nodes`."""
    seen = select(nodes.c.host).where(nodes.c.run == run_id).distinct().subquery()
    query = (
        select(hosts.c.name)
        .join(seen, seen.c.host == hosts.c.id)
        .where(hosts.c.name != "")
        .order_by(hosts.c.name)
        .limit(limit)
    )
    return [str(row["name"]) for row in fetch(store, query)]
