"""Nodes and blocks of a run: the pools of workers that were seen, and the batch jobs that held them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from heliograph_store.read.query import beyond, fetch, flag, page_size
from heliograph_store.schema import block_states, hosts, names, nodes
from heliograph_store.store import Store

_EXECUTOR, _BLOCK, _POOL, _STATUS = (names.alias(name) for name in ("x", "b", "p", "s"))


@dataclass(frozen=True, kw_only=True)
class Node:
    """A pool of workers (or a single process) on a host, as last heard of. `key` is its place in `node_list`."""

    host: str | None
    pool: str | None
    executor: str | None
    block: str | None
    workers: int | None
    cpu_count: int | None
    memory_total: int | None
    python: str | None
    platform: str | None
    active: bool | None
    pid: int | None
    first_seen: int | None
    last_seen: int | None
    key: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class BlockChange:
    """A block came into this status (in Parsl's words) at this time."""

    at: int
    status: str
    job_id: str | None


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block with its history, oldest first; never empty. The last change says what it is now."""

    executor: str
    block: str
    history: list[BlockChange]

    @property
    def status(self) -> str:
        return self.history[-1].status

    @property
    def job_id(self) -> str | None:
        return next((change.job_id for change in reversed(self.history) if change.job_id), None)


def node_list(store: Store, run_id: int, *, after: tuple[int, int] | None = None, limit: int = 1000) -> list[Node]:
    """The run's pools by host; `after` is the `key` of the last one read. By the primary key of `nodes`."""
    n = nodes.c
    key = (n.host, n.pool)
    plain = (
        "workers", "cpu_count", "memory_total", "python", "platform", "active", "pid", "first_seen", "last_seen"
    )  # fmt: skip
    query = (
        select(
            *(n[name] for name in plain),
            n.host.label("host_id"),
            n.pool.label("pool_id"),
            hosts.c.name.label("host"),
            _POOL.c.name.label("pool"),
            _EXECUTOR.c.name.label("executor"),
            _BLOCK.c.name.label("block"),
        )
        .select_from(
            nodes.outerjoin(hosts, hosts.c.id == n.host)
            .outerjoin(_POOL, _POOL.c.id == n.pool)
            .outerjoin(_EXECUTOR, _EXECUTOR.c.id == n.executor)
            .outerjoin(_BLOCK, _BLOCK.c.id == n.block)
        )
        .where(n.run == run_id)
        .order_by(*key)
        .limit(page_size(limit))
    )
    if after is not None:
        query = query.where(beyond(key, after))
    return [_node(row) for row in fetch(store, query)]


def block_list(store: Store, run_id: int) -> list[Block]:
    """The run's blocks with their histories, by executor and block.

    By the run's part of the primary key of `block_states`.
    """
    b = block_states.c
    query = (
        select(
            _EXECUTOR.c.name.label("executor"),
            _BLOCK.c.name.label("block"),
            b.at,
            _STATUS.c.name.label("status"),
            b.job_id,
        )
        .select_from(
            block_states.outerjoin(_EXECUTOR, _EXECUTOR.c.id == b.executor)
            .outerjoin(_BLOCK, _BLOCK.c.id == b.block)
            .outerjoin(_STATUS, _STATUS.c.id == b.status)
        )
        .where(b.run == run_id)
        .order_by(b.executor, b.block, b.at, b.status)
    )
    blocks: dict[tuple[str, str], list[BlockChange]] = {}
    for row in fetch(store, query):
        change = BlockChange(at=row["at"], status=row["status"] or "", job_id=row["job_id"])
        blocks.setdefault((row["executor"] or "", row["block"] or ""), []).append(change)
    return [Block(executor=executor, block=block, history=history) for (executor, block), history in blocks.items()]


def _node(row: dict[str, Any]) -> Node:
    key = (row.pop("host_id"), row.pop("pool_id"))
    return Node(**{**row, "active": flag(row["active"]), "key": key})
