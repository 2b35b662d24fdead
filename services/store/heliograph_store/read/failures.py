"""Failures: tries that went wrong, grouped by exception type, place and message without what varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select

from heliograph_store.fingerprint import parts
from heliograph_store.read.query import beyond, fetch, page_size
from heliograph_store.read.tries import Try, try_of, try_query
from heliograph_store.schema import WIDTHS, apps, failure_kinds, host_busy, hosts, run_failures, tries
from heliograph_store.store import Store

MOST: Final = 500
NEARLY_ALL: Final = 0.9
FEW: Final = 5
"""Fewer failures than these do not tell that a node is at fault."""


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Tries of a run that went wrong in the same way. `message` has '#', '<path>' and the like where it varied;
    `apps` and `hosts` are (name, tries), the most frequent first; `sample` is (task, try) of the latest one."""

    id: int
    exc_type: str | None
    place: str | None
    message: str
    tries: int
    apps: list[tuple[str | None, int]]
    hosts: list[tuple[str | None, int]]
    first: int
    last: int
    sample: tuple[int, int]

    @property
    def main_host(self) -> tuple[str, float] | None:
        """The host from which nearly all of them come, with its share, though there were enough to tell."""
        if self.tries < FEW or not self.hosts:
            return None
        host, count = self.hosts[0]
        return (host, count / self.tries) if host is not None and count / self.tries >= NEARLY_ALL else None


@dataclass(frozen=True, kw_only=True)
class HostTries:
    """How many tries ran on a host (None: not known), and how many of them went wrong."""

    host: str | None
    tries: int
    failed: int


def host_tries(store: Store, run_id: int) -> list[HostTries]:
    """Every host that a try of the run began on, the one with the most tries first; from the rollups `host_busy` (the
    rows by the hour) and `run_failures`."""
    b, f = host_busy.c, run_failures.c
    begun = select(b.host, func.sum(b.begins).label("n")).where(b.run == run_id, b.width == WIDTHS[1]).group_by(b.host)
    wrong = select(f.host, func.sum(f.tries).label("n")).where(f.run == run_id).group_by(f.host)
    failed = {row["host"]: int(row["n"]) for row in fetch(store, wrong)}
    counted = begun.subquery()
    query = select(hosts.c.name, counted.c.host, counted.c.n).select_from(
        counted.outerjoin(hosts, hosts.c.id == counted.c.host)
    )
    found = [
        HostTries(host=row["name"], tries=int(row["n"]), failed=failed.get(row["host"], 0))
        for row in fetch(store, query)
    ]
    return sorted(found, key=lambda h: (-h.tries, h.host or ""))


def failure_groups(store: Store, run_id: int, *, app: str | None = None, limit: int = MOST) -> list[FailureGroup]:
    """The groups with the most tries first, at most 500; with `app` only what went wrong in that app counts.

    Counts come from the rollup `run_failures`; first, last and sample from both ends of the group's part of
    `ix_tries_failure`, so they are of all apps.
    """
    c = run_failures.c
    counted = select(c.failure, func.sum(c.tries).label("tries")).where(c.run == run_id)
    detail = select(c.failure, c.app, c.host, c.tries).where(c.run == run_id)
    if app is not None:
        of_app = c.app == select(apps.c.id).where(apps.c.name == app).scalar_subquery()
        counted, detail = counted.where(of_app), detail.where(of_app)
    largest = counted.group_by(c.failure).order_by(func.sum(c.tries).desc(), c.failure)
    top = largest.limit(max(1, min(limit, MOST))).subquery()
    kinds = fetch(
        store,
        select(top.c.failure, top.c.tries, failure_kinds.c.name)
        .join_from(top, failure_kinds, failure_kinds.c.id == top.c.failure)
        .order_by(top.c.tries.desc(), top.c.failure),
    )
    chosen = detail.where(c.failure.in_([row["failure"] for row in kinds])).subquery()
    d = chosen.c
    named = select(d.failure, d.tries, apps.c.name.label("app"), hosts.c.name.label("host")).select_from(
        chosen.outerjoin(apps, apps.c.id == d.app).outerjoin(hosts, hosts.c.id == d.host)
    )
    of: dict[int, list[dict[str, Any]]] = {}
    for row in fetch(store, named):
        of.setdefault(row["failure"], []).append(row)
    return [_group(store, run_id, row, of.get(row["failure"], [])) for row in kinds]


def failures_in(
    store: Store, run_id: int, group: int, *, after: tuple[int, int, int] | None = None, limit: int = 100
) -> list[Try]:
    """Tries of one group, the latest first; `after` is the `failure_key` of the last one read.

    By the group's part of `ix_tries_failure`.
    """
    t = tries.c
    key = (t.wrong, t.task, t.try_)
    query = try_query().where(t.run == run_id, t.failure == group)
    if after is not None:
        query = query.where(beyond(key, after, descending=True))
    rows = fetch(store, query.order_by(*(column.desc() for column in key)).limit(page_size(limit)))
    return [try_of(row) for row in rows]


def failure_key(row: Try) -> tuple[int, int, int]:
    """A try's place in `failures_in`."""
    return row.wrong or 0, row.task, row.try_


def _group(store: Store, run_id: int, kind: dict[str, Any], rows: list[dict[str, Any]]) -> FailureGroup:
    t = tries.c
    key = (t.wrong, t.task, t.try_)
    ends = select(*key).where(t.run == run_id, t.failure == kind["failure"]).limit(1)
    last = fetch(store, ends.order_by(*(column.desc() for column in key)))
    first = fetch(store, ends.order_by(*key))
    exc_type, place, message = parts(kind["name"])
    return FailureGroup(
        id=kind["failure"],
        exc_type=exc_type,
        place=place,
        message=message,
        tries=int(kind["tries"]),
        apps=_summed(rows, "app"),
        hosts=_summed(rows, "host"),
        first=first[0]["wrong"] if first else 0,
        last=last[0]["wrong"] if last else 0,
        sample=(last[0]["task"], last[0]["try_"]) if last else (0, 0),
    )


def _summed(rows: list[dict[str, Any]], by: str) -> list[tuple[str | None, int]]:
    counts: dict[str | None, int] = {}
    for row in rows:
        counts[row[by]] = counts.get(row[by], 0) + row["tries"]
    return sorted(counts.items(), key=lambda item: (-item[1], item[0] or ""))
