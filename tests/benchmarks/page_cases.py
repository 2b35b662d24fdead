"""What people do with the pages of the dashboard, case by case: visits, the callbacks of each page, tables sorted and
filtered every way that they offer.

In: a `Subject` (a database's largest run) and the pages as they come. Out: cases, each of which knows what to send, and
what serves it. Pages, callbacks and tables are found in the app itself: what is added there is a case here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from heliograph_dashboard.components.table import REGISTRY, Table
from heliograph_dashboard.figures.timeline import MOST_BARS, MOST_RASTER
from heliograph_dashboard.pages import PAGES
from heliograph_store.read import failures, tasks
from heliograph_store.read.timeline import count_ran
from tests.benchmarks.bench_read import Subject
from tests.benchmarks.page_client import VISIT, Client, Props

Served = Literal["index", "rollup", "sample", "passing", "text", "nothing"]
"""What makes a case quick: 'index' reads along one; 'rollup' reads what grows with the minutes of the run, its nodes
and apps, and not with its tasks; 'sample' reads a part and says so; 'passing' has no index of its own and passes over
what does not match, within bounds; 'text' looks through texts, within bounds; 'nothing' reads no rows."""
Given = Callable[[Subject, Props], Mapping[str, Any]]
MINUTE: Final = 60_000_000
TABLE: Final = "-grid.rowData"


@dataclass(frozen=True, kw_only=True)
class Case:
    """`page` and `query` say which page; `callback` of it is sent, with what `given` gives in place of its own."""

    name: str
    served: Served
    page: str
    callback: str = VISIT
    query: Callable[[Subject], Mapping[str, str]] = lambda _: {}
    given: Given = lambda _s, _p: {}
    changed: tuple[str, ...] = ()
    parts: Served | None = None
    """What serves a page's callbacks, where that is not what serves most of the page."""
    quiet: bool = False
    """Whether the answer may be that there is nothing to say."""


def place(case: Case, s: Subject) -> tuple[str, str]:
    """Where the page of a case is, for one subject."""
    path = next(page.path for page in PAGES if page.name == case.page)
    # A few of each kind, so that pages which only hold a case's callback need not be visited each time.
    some = {"<run>": s.run.run, "<app>": s.app, "<task>": str(s.some_task), "<host>": s.host}
    for name, value in some.items():
        path = path.replace(name, quote(value, safe=""))
    query = {key: value for key, value in case.query(s).items() if value}
    return path, "?" + urlencode(query) if query else ""


# -- pages and their callbacks ----------------------------------------------------------------------------------------

SERVED: Final[Mapping[str, Served]] = {
    "graph": "sample",
    "resources": "sample",
    "timeline": "index",
    "task": "index",
    "tasks": "index",
    "app": "index",
    "files": "index",
    "failures": "index",
}
"""What serves most of a page; 'rollup' where it does not stand here."""
SERVED_ALONE: Final[Mapping[str, Served]] = {
    "failures-figure.figure": "rollup",
    "app-states.figure": "rollup",
    "resources-spread.figure": "rollup",
    "resources-efficiency.children": "sample",
    "resources-apps-grid.rowData": "sample",
}
"""Callbacks that something else serves than their page."""


def group(s: Subject) -> Mapping[str, str]:
    return {"group": str(s.random.choice(failures.failure_groups(s.store, s.run.id)).id)}


def window(tries: int) -> Callable[[Subject], Mapping[str, str]]:
    """A window of the timeline in which about so many tries run, whatever the run's size: around some task."""

    def query(s: Subject) -> Mapping[str, str]:
        (some,) = tasks.task_page(s.store, s.run.id, after=s.task - 1, limit=1)
        middle = some.began or s.began
        least, most = 0, s.until - s.began
        while most - least > most // 50:
            half = (least + most) // 2
            ran = count_ran(s.store, s.run.id, since=middle - half, until=middle + half, limit=tries)
            least, most = (least, half) if ran == tries else (half, most)
        return {"from": _iso(middle - most), "to": _iso(middle + most)}

    return query


def _iso(at: int) -> str:
    from heliograph_dashboard.pages.timeline_window import Asked

    return Asked(since=at, until=at + 1).query()["from"]


VIEWS: Final = (
    Case(name="failures, a group", page="failures", served="index", query=group),
    Case(name="graph, around a task", page="graph", served="index", query=lambda s: {"task": str(s.task)}),
    Case(
        name="graph, four steps around a task", page="graph", served="index",
        query=lambda s: {"task": str(s.task), "depth": "4"},
    ),
    Case(name="graph, every task", page="graph", served="index", query=lambda _: {"view": "tasks"}),
    Case(name="graph, by state", page="graph", served="sample", query=lambda _: {"colour": "state"}),
    Case(name="timeline, last hour", page="timeline", served="index", query=lambda _: {"last": "3600"}),
    Case(name="timeline, window of bars", page="timeline", served="index", query=window(MOST_BARS * 3 // 4)),
    Case(name="timeline, window of a raster", page="timeline", served="index", query=window(MOST_RASTER * 2 // 3)),
    Case(name="timeline, a node", page="timeline", served="index", query=lambda s: {"node": s.host}),
    Case(
        name="timeline, a node, last hour", page="timeline", served="index",
        query=lambda s: {"node": s.host, "last": "3600"},
    ),
    Case(name="resources of an app", page="resources", served="sample", query=lambda s: {"app": s.app}),
    Case(
        name="resources of a node", page="resources", served="sample", parts="index",
        query=lambda s: {"host": s.host},
    ),
    Case(
        name="resources of a task", page="resources", served="sample", parts="index",
        query=lambda s: {"task": str(s.task)},
    ),
    Case(name="resources, memory", page="resources", served="sample", query=lambda _: {"measure": "memory"}),
)  # fmt: skip
"""Views of a page that its plain address does not show."""


def visits() -> Iterator[Case]:
    for page in PAGES:
        # Of a whole run a timeline shows sums by the minute, as soon as it is too large for single tries.
        parts: Served | None = "rollup" if page.name == "timeline" else None
        yield Case(name=page.name, page=page.name, served=SERVED.get(page.name, "rollup"), parts=parts)
    yield from VIEWS


def by_themselves(client: Client, visit: Case, s: Subject) -> Iterator[Case]:
    """The callbacks that a page sends as it comes up, or at each tick."""
    props = client.props(*place(visit, s))
    for name, callback in client.callbacks.items():
        around = name.startswith(("tick.data", "banner"))  # of the frame, the same on all pages
        if "tick.data" not in callback.inputs or not callback.stands_on(props) or (around and visit.name != "summary"):
            continue
        yield Case(
            name=f"{visit.name}: {name}", page=visit.page, served=SERVED_ALONE.get(name, visit.parts or visit.served),
            query=visit.query, callback=name, given=_tick, changed=("tick.data",),
            quiet=name.startswith(("tick.data", "banner", "task-head")),
        )  # fmt: skip


def _tick(_s: Subject, props: Props) -> Mapping[str, Any]:
    return {"tick.data": props["tick.data"]}


# -- controls ---------------------------------------------------------------------------------------------------------


def _waiting(name: str) -> Given:
    return lambda _s, props: {
        f"{name}-awaited.data": True,
        "tick.data": props["tick.data"],
        "route.data": props["route.data"],
    }


def _seen(s: Subject, _props: Props) -> Mapping[str, Any]:
    return {
        "timeline-closer.n_clicks": 1,
        "timeline-seen.data": {"since": s.began, "until": s.until, "offset": 0, "asked": "", "level": "area", "at": 0},
    }


def _beside(direction: str) -> Given:
    return lambda s, _props: {
        f"task-more-{direction}.n_clicks": 1,
        f"task-after-{direction}.data": [s.some_task, 0, 50],
    }


CONTROLS: Final = (
    Case(
        name="graph: another view", page="graph", served="nothing", callback="graph-near.style",
        given=lambda _s, _p: {"graph-view.value": "near", "graph-task.value": 7},
    ),
    Case(
        name="timeline: closer", page="timeline", served="nothing", callback="timeline-asked.data", given=_seen,
        changed=("timeline-closer.n_clicks",),
    ),
    Case(
        name="resources: another app", page="resources", served="nothing", callback="resources-asked.data",
        given=lambda s, _p: {"resources-app.value": s.app},
    ),
    Case(
        name="resources: another measure", page="resources", served="nothing",
        callback="resources-measure.value > query.data", given=lambda _s, _p: {"resources-measure.value": "cpu"},
    ),
    *(
        Case(
            name=f"{page}: comes to be", page=page, served=SERVED.get(page, "rollup"),
            callback=f"{page}-none.children", given=_waiting(page),
        )
        for page in ("failures", "nodes", "blocks", "files", "graph", "app", "task")
    ),
    *(
        Case(
            name=f"task: more of {direction}", page="task", served="index",
            callback=f"task-beside-{direction}.children", given=_beside(direction), quiet=True,
        )
        for direction in ("depends_on", "needed_by", "joined", "joined_by")
    ),
    *(
        Case(
            name=f"task: end of {stream}", page="task", served="index", callback=f"task-log-{stream}.children",
            given=lambda _s, _p, stream=stream: {f"task-tail-{stream}.n_clicks": 1}, quiet=True,
        )
        for stream in ("stdout", "stderr")
    ),
)  # fmt: skip


# -- tables -----------------------------------------------------------------------------------------------------------

TEXTS: Final[Mapping[str, Callable[[Subject], str]]] = {
    "workflows search": lambda _: "small-3",
    "apps app": lambda s: s.app[:4],
    "tasks min": lambda _: "60s",
    "tasks max": lambda _: "2s",
    "failures-groups text": lambda _: "error",
    "failures-tries group": lambda s: group(s)["group"],
    "nodes-table host": lambda s: s.host[:7],
    "nodes-table block": lambda s: str(s.random.randrange(4)),
}
"""What is typed into a table's filters that offer no choice, and what links put into those without a control."""
SEARCHES: Final[Mapping[str, Callable[[Subject], str]]] = {
    "found everywhere": lambda _: "part-7",
    "found seldom": lambda s: f"task-{s.task}",
    "found nowhere": lambda _: "no such thing",
    "a number": lambda s: str(s.task),
}
PAIRS: Final = (
    ("app", "state"), ("app", "executor"), ("state", "executor"), ("app", "host"), ("host", "state"), ("min", "max"),
    ("app", "min"), ("state", "min"), ("host", "min"), ("min", "text"), ("app", "text"), ("host", "text"),
)  # fmt: skip
"""Filters of the table of tasks that are tried together."""
INDEXED: Final = frozenset({"app", "state", "executor"})


def of_table(client: Client, table: Table, s: Subject) -> Iterator[Case]:
    """A table in every order that it offers, and with every filter."""
    page, view = next(
        (case, client.props(*place(case, s)))
        for case in visits()
        if f"{table.name}-asked.data" in client.props(*place(case, s))
    )
    sorts = [sign + column.field for column in table.columns if column.sort for sign in ("", "-")] or [table.sort]
    filters = [f.name for f in table.filters] + list(table.hidden)
    for sort in sorts:
        yield _turn(table, page, {}, sort, deep=True)
    for name in filters:
        for sort in sorts if table.name == "tasks" else [table.sort]:
            yield from _filtered(table, page, view, (name,), sort)
    if table.name == "tasks":
        for pair in PAIRS:
            for sort in ("task", "-began", "-took"):
                yield from _filtered(table, page, view, pair, sort)


def _filtered(table: Table, page: Case, view: Props, names: tuple[str, ...], sort: str) -> Iterator[Case]:
    values: dict[str, Callable[[Subject], str]] = {}
    for name in names:
        if table.name == "tasks" and name == "text":
            continue
        choices = [one["value"] for one in view.get(f"{table.name}-filter-{name}.data") or ()]
        if choices:
            values[name] = lambda s, choices=choices: str(s.random.choice(choices))
        elif f"{table.name} {name}" in TEXTS:
            values[name] = TEXTS[f"{table.name} {name}"]
        else:
            raise LookupError(f"no value for the filter {name!r} of the table {table.name!r}: add one to TEXTS")
    if table.name == "tasks" and "text" in names:
        for called, text in SEARCHES.items():
            yield _turn(table, page, {**values, "text": text}, sort, called=called)
    else:
        yield _turn(table, page, values, sort)


def _turn(
    table: Table,
    page: Case,
    filters: Mapping[str, Callable[[Subject], str]],
    sort: str,
    *,
    deep: bool = False,
    called: str = "",
) -> Case:
    def given(s: Subject, props: Props) -> Mapping[str, Any]:
        asked = dict(props[f"{table.name}-asked.data"]) | {"sort": sort, "after": None}
        asked["filters"] = {**asked["filters"], **{name: value(s) for name, value in filters.items()}}
        if deep and table.name == "tasks" and s.random.random() < 0.5:
            asked["after"] = _somewhere(s, sort.removeprefix("-"))
        return {f"{table.name}-asked.data": asked}

    told = " + ".join(filters) + (f" ({called})" if called else "")
    return Case(
        name=f"table {table.name}" + (f", {told}" if told else "") + f", by {sort}",
        page=page.page,
        served=_served(table, page, frozenset(filters), sort),
        query=page.query,
        callback=table.name + TABLE,
        given=given,
    )


def _served(table: Table, page: Case, filters: frozenset[str], sort: str) -> Served:
    if table.name != "tasks":
        return page.served
    if "text" in filters:
        return "text"
    order = sort.removeprefix("-")
    # Each order has its own indexes: by task on what a task is and on its host, by the others on app and that value.
    along = {"task": INDEXED, "began": {"app"}, "took": {"app", "min", "max"}}[order]
    return "index" if filters <= along or (filters == {"host"} and order == "task") else "passing"


def _somewhere(s: Subject, sort: Any) -> Any:
    """A place behind which a page begins, as if somebody had scrolled to some task."""
    (some,) = tasks.task_page(s.store, s.run.id, after=s.task - 1, limit=1)
    key = tasks.page_key(some, sort)
    return json.loads(json.dumps(key)) if sort == "task" or key[0] is not None else None


def all_cases(client: Client, s: Subject) -> list[Case]:
    """Every visit, callback and table. Raises LookupError for a callback that none of them sends."""
    found = list(visits())
    for visit in visits():
        found += by_themselves(client, visit, s)
    found += CONTROLS
    for table in REGISTRY.values():
        found += of_table(client, table, s)
    forgotten = set(client.callbacks) - {case.callback for case in found}
    if forgotten:
        raise LookupError(f"no case sends {', '.join(sorted(forgotten))}: add one to VIEWS or CONTROLS")
    return found
