"""Which nodes a run has, and whether they are still there: derived from their last signs whenever somebody asks.

In: a `Store`, a run, the time, and how far the pipeline lags. Out: one `Host` a node, with its pools of workers and
its agents. Nothing of it is stored, so a node that comes back is alive again.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from heliograph_store.read.efficiency import grouped_by
from heliograph_store.read.failures import host_tries
from heliograph_store.read.liveness import LEASE, liveness
from heliograph_store.read.nodes import Node, block_list, node_list
from heliograph_store.read.pipeline import Agent, agent_list
from heliograph_store.read.runs import Run
from heliograph_store.read.sampled import last_samples
from heliograph_store.store import Store

Presence = Literal["alive", "left", "lost", "over", "unknown"]
"""'left': said goodbye, or its blocks ended. 'over': it was there when the run ended. 'unknown': it told nothing."""

BLOCK_ENDS: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "MISSING", "SCALED_IN"})
"""Statuses of a block (in Parsl's words) after which its workers are gone."""
MAX_NODES: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Host:
    """A node of a run. `last_sign` is the latest time at which anything on it told of itself (not of a task)."""

    host: str
    presence: Presence
    pools: Sequence[Node]
    agents: Sequence[Agent]
    first_seen: int | None
    last_sign: int | None
    sampled: int | None

    @property
    def workers(self) -> int | None:
        """Of all pools that told how many."""
        told = [pool.workers for pool in self.pools if pool.workers is not None]
        return sum(told) if told else None

    @property
    def blocks(self) -> list[str]:
        return sorted({pool.block for pool in self.pools if pool.block})

    @property
    def executors(self) -> list[str]:
        return sorted({pool.executor for pool in self.pools if pool.executor})

    @property
    def dropped(self) -> int:
        """Records that its agents could not keep."""
        return sum((agent.dropped_samples or 0) + (agent.dropped_states or 0) for agent in self.agents)


def host_list(store: Store, run: Run, *, now: int, lag: int = 0, host: str | None = None) -> list[Host]:
    """The run's nodes by name, or only one. By the run's part of the primary keys of `nodes`, `agents` and
    `block_states`, a few steps down that of `node_samples` a node, and the rollup of tries by node."""
    pools = [pool for pool in node_list(store, run.id, limit=MAX_NODES) if pool.host and host in (None, pool.host)]
    agents = [a for a in agent_list(store, run_id=run.id, limit=MAX_NODES) if a.host and host in (None, a.host)]
    sampled = last_samples(store, run.id)
    ended = {(b.executor, b.block) for b in block_list(store, run.id) if b.status.upper() in BLOCK_ENDS}
    by_host = grouped_by(pools, lambda pool: pool.host or "")
    agents_by_host = grouped_by(agents, lambda agent: agent.host or "")
    ran = [one.host for one in host_tries(store, run.id) if one.host]
    others = {name for name in (*sampled, *ran) if host in (None, name)}
    names = sorted({*by_host, *agents_by_host, *others})
    found = []
    for name in names:
        signs = _Signs(by_host.get(name, ()), agents_by_host.get(name, ()), sampled.get(name))
        state = presence(run, signs.heartbeat, said_goodbye=signs.said_goodbye(ended), now=now, lag=lag)
        found.append(_host(name, state, signs))
    return found


class _Signs(NamedTuple):
    """What was heard of a node."""

    pools: Sequence[Node]
    agents: Sequence[Agent]
    sampled: int | None

    @property
    def heartbeat(self) -> int | None:
        return max((at for at in (self.sampled, *(a.last_seen for a in self.agents)) if at is not None), default=None)

    def said_goodbye(self, ended_blocks: Container[tuple[str, str]]) -> bool:
        gone = [pool.active is False or (pool.executor or "", pool.block or "") in ended_blocks for pool in self.pools]
        return (bool(gone) and all(gone)) or (bool(self.agents) and all(agent.ended for agent in self.agents))


def _host(name: str, state: Presence, signs: _Signs) -> Host:
    told = [at for pool in signs.pools for at in (pool.first_seen, pool.last_seen) if at is not None]
    first = [*told, *(agent.first_seen for agent in signs.agents if agent.first_seen is not None)]
    return Host(
        host=name,
        presence=state,
        pools=signs.pools,
        agents=signs.agents,
        first_seen=min(first, default=signs.sampled),
        last_sign=max([*told, *([] if signs.heartbeat is None else [signs.heartbeat])], default=None),
        sampled=signs.sampled,
    )


def presence(run: Run, heartbeat: int | None, *, said_goodbye: bool, now: int, lag: int = 0) -> Presence:
    """What can be said of a node whose latest heartbeat (a sample of it, or its agent's report) was then.

    Heartbeats come every 30 s, so a node is lost when the last one is older than a lease; of a run that is over, when
    it was that old at the end. Where there never was one (monitoring without agents) nobody can tell.
    """
    if run.ended is not None:
        lost = heartbeat is not None and run.ended - heartbeat > LEASE and not said_goodbye
        return "lost" if lost else "left" if said_goodbye and (heartbeat or 0) < run.ended - LEASE else "over"
    if said_goodbye:
        return "left"
    if heartbeat is None:
        return "unknown"
    if now - heartbeat <= LEASE:
        return "alive"
    if lag > LEASE or liveness(run, now, lag) == "unknown":
        return "unknown"
    return "lost"
