"""Which nodes of a run have samples, and from when to when.

In: a `Store` and a run. Out: hosts with the times of their first and last sample, in microseconds UTC; found by steps
down the primary key of `node_samples`, whatever the number of samples.
"""

from __future__ import annotations

from sqlalchemy import CTE, func, select

from heliograph_store.read.query import fetch
from heliograph_store.schema import hosts, node_samples
from heliograph_store.store import Store


def last_samples(store: Store, run_id: int) -> dict[str, int]:
    """When each host's latest node sample was taken; see `spans_of`."""
    spans = {host: last for host, _, last in spans_of(store, run_id)}
    query = select(hosts.c.id, hosts.c.name).where(hosts.c.id.in_(list(spans)))
    return {row["name"]: spans[row["id"]] for row in fetch(store, query)}


def sampled_hosts(store: Store, run_id: int) -> list[str]:
    """Names of the nodes that have samples, sorted."""
    return sorted(last_samples(store, run_id))


def sampled_host_ids(run_id: int) -> CTE:
    """Ids of the hosts that have samples, and a NULL: one step down the primary key of `node_samples` a host."""
    m = node_samples.c
    found = select(func.min(m.host).label("host")).where(m.run == run_id).cte("found", recursive=True)
    after = select(func.min(m.host)).where(m.run == run_id, m.host > found.c.host).scalar_subquery()
    return found.union_all(select(after).where(found.c.host.is_not(None)))


def spans_of(store: Store, run_id: int) -> list[tuple[int, int, int]]:
    """(id, first sample, last sample) of every host that has samples: three steps down the primary key of
    `node_samples` a host, whatever their number."""
    m, found = node_samples.c, sampled_host_ids(run_id)
    mine = (m.run == run_id) & (m.host == found.c.host)
    first, last = (select(how(m.at)).where(mine).scalar_subquery() for how in (func.min, func.max))
    query = select(found.c.host, first.label("first"), last.label("last")).where(found.c.host.is_not(None))
    return [(row["host"], row["first"], row["last"]) for row in fetch(store, query)]
