"""All tasks of a run, a page at a time, however many there are.

In: filters and order from the URL. Out: a table whose rows the store finds, sorts and filters by its indexes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import quote

from dash import Dash, html
from dash.development.base_component import Component

from heliograph_dashboard.components.states import LABELS
from heliograph_dashboard.components.table import Asked, Column, Filter, Rows, Table
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.colours import app_colours
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.spans import LONGEST, span
from heliograph_dashboard.urls import run_path
from heliograph_store.read.kinds import TaskKind, host_names, task_kinds
from heliograph_store.read.runs import Run
from heliograph_store.read.task_order import MOST, Filters, task_keys
from heliograph_store.read.tasks import Task, keys_of, page_key, tasks_of
from heliograph_store.schema import split_task

SORTS: Final = ("task", "began", "took")
MAX_TEXT: Final = 200
SELDOM: Final = 10.0
"""Seconds for which what a search through texts found is good enough, at least: see `Data.read_seldom`."""
MAX_CHOICES: Final = 1000


def fetch(data: Data, run: Run | None, asked: Asked) -> Rows:
    """One page. A span of time that cannot be read matches nothing, rather than everything."""
    if run is None:
        return Rows(rows=[], total=0)
    given = asked.filters
    shortest, longest = span(given.get("min", "")), span(given.get("max", ""))
    if (given.get("min") and shortest is None) or (given.get("max") and longest is None):
        return Rows(rows=[], total=0)
    filters = Filters(
        app=given.get("app"),
        state=given.get("state"),
        executor=given.get("executor"),
        host=given.get("host"),
        min_took=shortest,
        max_took=longest,
        text=given.get("text", "")[:MAX_TEXT] or None,
    )
    sort: Any = asked.sort if asked.sort in SORTS else "task"
    after, looked = _after(asked.after)
    # A search through texts is long: what it found is looked up again at each tick, and only now and then anew.
    keys = data.read_seldom(
        SELDOM if filters.text else 0.0,
        task_keys,
        run.id,
        filters,
        sort=sort,
        descending=asked.descending,
        after=after,
        limit=asked.limit + 1,
        most=MOST,
    )
    more = len(keys.tasks) > asked.limit
    page = data.read(tasks_of, run.id, tuple(keys.tasks[: asked.limit]))
    kinds = data.read(task_kinds, run.id)
    colours = app_colours({kind.app for kind in kinds})
    goes_on = page_key(page[-1], sort) if more and page else keys.reached
    looked = 0 if goes_on is None else looked + keys.looked
    all_ = sum(kind.tasks for kind in kinds)
    named = _named(data, run, filters) if after is None else []
    return Rows(
        rows=[_row(run, task, colours) for task in [*named, *(task for task in page if task not in named)]],
        next=None if goes_on is None else [*goes_on, looked],
        total=_total(kinds, given),
        so_far="" if more or goes_on is None else f"Looked through about {min(looked, all_):,} of {all_:,} tasks",
    )


def _named(data: Data, run: Run, filters: Filters) -> list[Task]:
    """The tasks whose number was typed, before all others: nobody waits for them until a search comes by."""
    text = filters.text or ""
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        return []
    found = data.read(tasks_of, run.id, tuple(data.read(keys_of, run.id, int(text))))
    low, high = filters.min_took or 0, filters.max_took if filters.max_took is not None else LONGEST
    bounded = filters.min_took is not None or filters.max_took is not None
    return [
        task
        for task in found
        if all(
            wanted is None or wanted == _called(has, name)
            for name, wanted, has in (
                ("app", filters.app, task.app),
                ("state", filters.state, task.state),
                ("executor", filters.executor, task.executor),
                ("host", filters.host, task.host),
            )
        )
        and (not bounded or (task.took is not None and low <= task.took <= high))
    ]


def _after(after: Any) -> tuple[tuple[int | None, int] | None, int]:
    """A place in the order as it came from the browser, and how many were looked up before it: numbers only."""
    match after:
        case int():
            return (None, after), 0
        case (int() | None as place, int() as task):
            return (place, task), 0
        case (int() | None as place, int() as task, int() as looked):
            return (place, task), max(0, looked)
    return None, 0


def _total(kinds: Sequence[TaskKind], given: Any) -> int | None:
    """How many there are, as long as only what the rollup counts is filtered for."""
    if set(given) - {"app", "executor", "state"}:
        return None
    wanted = dict(given)
    return sum(
        kind.tasks
        for kind in kinds
        if all(_called(getattr(kind, name), name) == value for name, value in wanted.items())
    )


def _called(value: str | None, name: str) -> str:
    return value if value is not None else "unknown" if name == "state" else ""


def _row(run: Run, task: Task, colours: dict[str | None, str]) -> dict[str, Any]:
    path = run_path(run.run)
    return {
        "key": task.task,
        "task": task.number,
        "href": f"{path}/tasks/{task.task}",
        "app": cut(task.app, 200) or "not described yet",
        "app_colour": colours.get(task.app),
        "app_href": None if task.app is None else f"{path}/apps/{quote(task.app, safe='')}",
        "state": task.state,
        "tries": None if task.try_ is None else task.try_ + 1,
        "note": _note(task),
        "executor": cut(task.executor, 100),
        "host": cut(task.host, 200),
        "host_href": f"{path}/nodes/{quote(task.host, safe='')}" if task.host else None,
        "invoked": task.invoked,
        "began": task.since,
        "took": task.took,
        "memory": task.peak_rss,
    }


def _note(task: Task) -> str:
    origin, _ = split_task(task.task)
    notes = [f"process {origin + 1}"] if origin else []
    if task.from_memo or task.state == "memo_done":
        notes.append("memoized")
    if task.is_join:
        notes.append("join")
    if task.try_:
        notes.append(f"{task.try_} {'retry' if task.try_ == 1 else 'retries'}")
    return ", ".join(notes)


# -- what can be chosen ----------------------------------------------------------------------------------------------


def choices(view: View, name: Literal["app", "executor"]) -> list[tuple[str, str]]:
    """The values that tasks have, the most frequent first."""
    if view.run is None:
        return []
    counts: Counter[str] = Counter()
    for kind in view.data.read(task_kinds, view.run.id):
        counts[getattr(kind, name) or ""] += kind.tasks
    return [(value, cut(value, 60)) for value, _ in counts.most_common(MAX_CHOICES) if value]


def _states(_view: View) -> list[tuple[str, str]]:
    return list(LABELS.items())


def _hosts(view: View) -> list[tuple[str, str]]:
    if view.run is None:
        return []
    return [(host, cut(host, 60)) for host in view.data.read(host_names, view.run.id, limit=MAX_CHOICES)]


TABLE: Final = Table(
    name="tasks",
    noun="tasks",
    key="key",
    fetch=fetch,
    sort="task",
    columns=(
        Column(
            field="task", title="Task", kind="number", width=84, sort=True, link="href", tip="In order of submission"
        ),
        Column(field="app", title="App", kind="app", link="app_href", least=200),
        Column(field="state", title="State", kind="state", width=160),
        Column(field="began", title="Began", kind="time", width=166, sort=True, tip="The latest try's function"),
        Column(field="took", title="Ran", kind="duration", width=92, sort=True, tip="The latest try's function"),
        Column(field="memory", title="Memory", kind="bytes", width=96, tip="Peak of the latest try"),
        Column(field="host", title="Host", link="host_href", width=130),
        Column(field="executor", title="Executor", width=92),
        Column(field="tries", title="Tries", kind="number", width=70),
        Column(field="note", title="Note", width=104),
    ),
    filters=(
        Filter(name="text", label="Text in app, paths, inputs"),
        Filter(name="app", label="App", kind="choice", options=partial(choices, name="app")),
        Filter(name="state", label="State", kind="choice", options=_states),
        Filter(name="executor", label="Executor", kind="choice", options=partial(choices, name="executor")),
        Filter(name="host", label="Host", kind="choice", options=_hosts),
        Filter(name="min", label="Ran at least 1.5s"),
        Filter(name="max", label="Ran at most 2min"),
    ),
)


def layout(view: View) -> Component:
    return html.Div(TABLE.layout(view), className="hg-tasks")


def callbacks(app: Dash, data: Data) -> None:
    TABLE.callbacks(app, data)


PAGE = Page(name="tasks", path="/runs/<run>/tasks", title="Tasks", layout=layout, callbacks=callbacks)
