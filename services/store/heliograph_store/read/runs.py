"""Runs: the list of them, one of them, and what its rollups say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, or_, select

from heliograph_store.read.liveness import Liveness, liveness
from heliograph_store.read.query import beyond, fetch, page_size, state_name
from heliograph_store.schema import apps, failures, names, run_buckets, run_states, run_tags, runs
from heliograph_store.store import Store

_BEGAN = func.coalesce(runs.c.started, runs.c.first_seen, 0)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as stored. `id` names it in all other queries; `completed` and `failed` are the run's own counts."""

    id: int
    run: str
    name: str | None
    version: str | None
    owner: str | None
    host: str | None
    run_dir: str | None
    program: str | None
    program_version: str | None
    python: str | None
    zone: str | None
    utc_offset: int | None
    tags: Mapping[str, str]
    pid: int | None
    sample_interval: float | None
    started: int | None
    ended: int | None
    completed: int | None
    failed: int | None
    exit: str | None
    first_seen: int | None
    last_seen: int | None
    lease_until: int | None
    horizon: int | None

    @property
    def began(self) -> int:
        """When it started, or, while its start is not known, when it was first heard of."""
        return self.started or self.first_seen or 0

    @property
    def key(self) -> tuple[int, int]:
        """Its place in `list_runs`."""
        return self.began, self.id


@dataclass(frozen=True, kw_only=True)
class AppCounts:
    """Tasks of one app by state; `app` None for those that were not described yet, state None for those without."""

    app: str | None
    states: Mapping[str | None, int]

    @property
    def total(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run with the counts of its tasks."""

    run: Run
    apps: list[AppCounts]

    @property
    def states(self) -> dict[str | None, int]:
        """Tasks by state, over all apps."""
        total: dict[str | None, int] = {}
        for app in self.apps:
            for state, count in app.states.items():
                total[state] = total.get(state, 0) + count
        return total

    @property
    def tasks(self) -> int:
        return sum(app.total for app in self.apps)


@dataclass(frozen=True, kw_only=True)
class Activity:
    """How many tries of an app entered a state in the minute that begins at `at`."""

    at: int
    app: str | None
    state: str
    entered: int


@dataclass(frozen=True, kw_only=True)
class FailureCount:
    """Tries of a run that went wrong with this type of exception (None: not known)."""

    exc_type: str | None
    tries: int


def list_runs(
    store: Store,
    *,
    search: str | None = None,
    state: Liveness | None = None,
    tags: Mapping[str, str] | None = None,
    now: int = 0,
    lag: int = 0,
    after: tuple[int, int] | None = None,
    limit: int = 50,
) -> list[Run]:
    """Runs, the newest first. `search` looks in run id, name, owner, host and folder; `state` is as of `now`.

    `after` is the `key` of the last run read. Scans `runs`, the one table that holds a row a run.
    """
    wanted = page_size(limit)
    found: list[Run] = []
    for run in _newest_first(store, search, after, wanted):
        if (state is None or liveness(run, now, lag) == state) and (tags or {}).items() <= run.tags.items():
            found.append(run)
            if len(found) == wanted:
                break
    return found


def find_run(store: Store, run: str) -> Run | None:
    """The run with this text id; by the unique index on `runs.run`."""
    return next(iter(_runs(store, select(runs).where(runs.c.run == run))), None)


def get_run(store: Store, run_id: int) -> Run | None:
    """The run with this number; by the primary key of `runs`."""
    return next(iter(_runs(store, select(runs).where(runs.c.id == run_id))), None)


def run_summary(store: Store, run: Run) -> RunSummary:
    """A run with its tasks by app and state, from the rollup `run_states`: by that run's part of its primary key."""
    return RunSummary(run=run, apps=app_counts(store, run.id))


def app_counts(store: Store, run_id: int) -> list[AppCounts]:
    """Tasks by app and state, the largest app first; by the run's part of the primary key of `run_states`."""
    c = run_states.c
    query = (
        select(apps.c.name.label("app"), c.state, c.tasks)
        .select_from(run_states.outerjoin(apps, apps.c.id == c.app))
        .where(c.run == run_id, c.tasks > 0)
    )
    by_app: dict[str | None, dict[str | None, int]] = {}
    for row in fetch(store, query):
        by_app.setdefault(row["app"], {})[state_name(row["state"])] = row["tasks"]
    counted = [AppCounts(app=app, states=states) for app, states in by_app.items()]
    return sorted(counted, key=lambda a: (-a.total, a.app or ""))


def activity(store: Store, run_id: int, *, since: int = 0, until: int | None = None) -> list[Activity]:
    """Tries that entered each state, by minute; by the run's part of the primary key of `run_buckets`."""
    c = run_buckets.c
    query = (
        select(c.minute, apps.c.name.label("app"), c.state, c.entered)
        .select_from(run_buckets.outerjoin(apps, apps.c.id == c.app))
        .where(c.run == run_id, c.entered > 0, c.minute >= since // 60_000_000)
        .order_by(c.minute, c.app, c.state)
    )
    if until is not None:
        query = query.where(c.minute <= until // 60_000_000)
    return [
        Activity(at=row["minute"] * 60_000_000, app=row["app"], state=state, entered=row["entered"])
        for row in fetch(store, query)
        if (state := state_name(row["state"])) is not None
    ]


def failure_counts(store: Store, run_id: int) -> list[FailureCount]:
    """What went wrong how often, the most frequent first; by the index on `failures (run, exc_type)`."""
    tries = func.count().label("tries")
    query = (
        select(names.c.name.label("exc_type"), tries)
        .select_from(failures.outerjoin(names, names.c.id == failures.c.exc_type))
        .where(failures.c.run == run_id, or_(failures.c.at.is_not(None), failures.c.history != ""))
        .group_by(names.c.name)
        .order_by(tries.desc(), names.c.name)
    )
    return [FailureCount(**row) for row in fetch(store, query)]


def _newest_first(store: Store, search: str | None, after: tuple[int, int] | None, limit: int) -> Iterator[Run]:
    chunk = max(limit, 200)
    while True:
        query = select(runs).order_by(_BEGAN.desc(), runs.c.id.desc()).limit(chunk)
        if search:
            # `icontains` escapes % and _ of what a person typed.
            texts = (runs.c.run, runs.c.name, runs.c.owner, runs.c.host, runs.c.run_dir)
            query = query.where(or_(*(text.icontains(search, autoescape=True) for text in texts)))
        if after is not None:
            query = query.where(beyond((_BEGAN, runs.c.id), after, descending=True))
        page = _runs(store, query)
        yield from page
        if len(page) < chunk:
            return
        after = page[-1].key


def _runs(store: Store, query: Select[Any]) -> list[Run]:
    rows = fetch(store, query)
    ids = [row["id"] for row in rows]
    added: dict[int, dict[str, str]] = {}
    for start in range(0, len(ids), 500):
        some = select(run_tags).where(run_tags.c.run.in_(ids[start : start + 500]))
        for tag in fetch(store, some):
            added.setdefault(tag["run"], {})[tag["key"]] = tag["value"]
    return [Run(**{**row, "tags": {**_tags(row["tags"]), **added.get(row["id"], {})}}) for row in rows]


def _tags(text: str | None) -> dict[str, str]:
    found = json.loads(text) if text else {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
