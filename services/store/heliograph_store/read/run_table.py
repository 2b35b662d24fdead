"""The table of all runs: a page of them in any order, with their states and the counts of their tasks.

In: what is looked for, how it is ordered, where the page before ended. Out: rows with a key for the next page. It
scans `runs`, the one table that holds a row a run; counts come from the rollup `run_states`, for the page's runs only
(for all of them when the order goes by a count).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select

from heliograph.messages import State
from heliograph_store.read.liveness import AHEAD, GOOD_EXITS, LEASE, Liveness
from heliograph_store.read.query import beyond, fetch, page_size, state_name
from heliograph_store.schema import run_states, runs
from heliograph_store.store import Store

Order = Literal["began", "name", "version", "owner", "host", "state", "duration", "tasks", "done", "failed"]
ORDERS: Final[tuple[Order, ...]] = (
    "began", "name", "version", "owner", "host", "state", "duration", "tasks", "done", "failed",
)  # fmt: skip
GOOD: Final = (State.EXEC_DONE.rank, State.MEMO_DONE.rank)
BAD: Final = (State.FAILED.rank, State.DEP_FAIL.rank)

_BEGAN = func.coalesce(runs.c.started, runs.c.first_seen, 0)
_LATEST = func.coalesce(runs.c.ended, runs.c.last_seen, _BEGAN)
_COUNTED = (
    select(
        run_states.c.run,
        func.sum(run_states.c.tasks).label("tasks"),
        func.sum(case((run_states.c.state.in_(GOOD), run_states.c.tasks), else_=0)).label("done"),
        func.sum(case((run_states.c.state.in_(BAD), run_states.c.tasks), else_=0)).label("failed"),
    )
    .group_by(run_states.c.run)
    .subquery("counted")
)
"""Tasks of every run: all, good, bad; a scan of `run_states`."""


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in the table. `ended` is when it said so, `latest` its latest sign of life; `states` are its tasks."""

    id: int
    run: str
    name: str | None
    version: str | None
    owner: str | None
    host: str | None
    state: Liveness
    began: int
    ended: int | None
    latest: int
    states: Mapping[str | None, int]
    key: tuple[Any, int]
    """Its place in the order that was asked for."""

    @property
    def tasks(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which runs: `search` looks in id, name, version, owner, host and folder; `state` is as of `now`."""

    search: str = ""
    state: str = ""
    owner: str = ""
    host: str = ""
    name: str = ""
    now: int = 0
    lag: int = 0


def run_page(
    store: Store,
    wanted: Wanted,
    *,
    order: Order = "began",
    descending: bool = True,
    after: tuple[Any, int] | None = None,
    limit: int = 50,
) -> list[RunRow]:
    """A page of runs; `after` is the `key` of the last one of the page before."""
    state = _state(wanted)
    by = _by(order, state)
    query = _where(
        select(
            *(runs.c[name] for name in ("id", "run", "name", "version", "owner", "host", "ended")),
            state.label("state"),
            _BEGAN.label("began"),
            _LATEST.label("latest"),
            by.label("place"),
        ),
        wanted,
        state,
    )
    if order in {"tasks", "done", "failed"}:
        query = query.outerjoin(_COUNTED, _COUNTED.c.run == runs.c.id)
    if after is not None:
        query = query.where(beyond((by, runs.c.id), after, descending=descending))
    keys = (by.desc(), runs.c.id.desc()) if descending else (by, runs.c.id)
    rows = fetch(store, query.order_by(*keys).limit(page_size(limit)))
    states = states_of(store, [row["id"] for row in rows])
    return [RunRow(**_row(row), states=states.get(row["id"], {})) for row in rows]


def run_total(store: Store, wanted: Wanted) -> int:
    """How many runs these are."""
    (row,) = fetch(store, _where(select(func.count().label("n")).select_from(runs), wanted, _state(wanted)))
    return int(row["n"])


def states_of(store: Store, ids: Sequence[int]) -> dict[int, dict[str | None, int]]:
    """Tasks by state of each of these runs; by their parts of the primary key of `run_states`."""
    found: dict[int, dict[str | None, int]] = {}
    for start in range(0, len(ids), 500):
        c = run_states.c
        query = (
            select(c.run, c.state, func.sum(c.tasks).label("tasks"))
            .where(c.run.in_(ids[start : start + 500]), c.tasks > 0)
            .group_by(c.run, c.state)
        )
        for row in fetch(store, query):
            found.setdefault(row["run"], {})[state_name(row["state"])] = int(row["tasks"])
    return found


def values_of(store: Store, column: Literal["owner", "host", "name"], *, limit: int = 200) -> list[str]:
    """The values that a column has, for a choice; a scan of `runs`."""
    c = runs.c[column]
    query = select(c).where(c.is_not(None), c != "").distinct().order_by(c).limit(page_size(limit))
    return [row[column] for row in fetch(store, query)]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {**{k: v for k, v in row.items() if k != "place"}, "key": (row["place"], row["id"])}


def _by(order: Order, state: ColumnElement[Any]) -> ColumnElement[Any]:
    if order == "began":
        return _BEGAN
    if order == "state":
        return state
    if order == "duration":
        return _LATEST - _BEGAN
    if order in {"tasks", "done", "failed"}:
        return func.coalesce(_COUNTED.c[order], 0)
    return func.lower(func.coalesce(runs.c[order], ""))


def _where(query: Select[Any], wanted: Wanted, state: ColumnElement[Any]) -> Select[Any]:
    if wanted.search:
        texts = (runs.c.run, runs.c.name, runs.c.version, runs.c.owner, runs.c.host, runs.c.run_dir)
        query = query.where(or_(*(text.icontains(wanted.search, autoescape=True) for text in texts)))
    for name in ("owner", "host", "name"):
        if value := getattr(wanted, name):
            query = query.where(runs.c[name] == value)
    if wanted.state:
        query = query.where(state == wanted.state)
    return query


def _state(wanted: Wanted) -> ColumnElement[Any]:
    """`liveness` as SQL; a test holds the two against each other."""
    until = func.coalesce(runs.c.lease_until, func.coalesce(runs.c.last_seen, runs.c.first_seen, 0) + LEASE)
    bad_exit = and_(runs.c.exit.is_not(None), runs.c.exit.not_in(sorted(GOOD_EXITS)))
    return case(
        (and_(runs.c.ended.is_not(None), or_(func.coalesce(runs.c.failed, 0) != 0, bad_exit)), literal("failed")),
        (runs.c.ended.is_not(None), literal("completed")),
        (until > wanted.now + AHEAD, literal("unknown")),
        (until >= wanted.now, literal("running")),
        else_=literal("unknown" if wanted.lag > LEASE else "lost"),
    )
