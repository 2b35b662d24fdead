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
from heliograph_dashboard.spans import span
from heliograph_dashboard.urls import run_path
from heliograph_store.read.kinds import TaskKind, host_names, task_kinds
from heliograph_store.read.runs import Run
from heliograph_store.read.tasks import Task, page_key, task_page
from heliograph_store.schema import split_task

SORTS: Final = ("task", "began", "took")
MAX_TEXT: Final = 200
MAX_CHOICES: Final = 1000


def fetch(data: Data, run: Run | None, asked: Asked) -> Rows:
    """One page. A span of time that cannot be read matches nothing, rather than everything."""
    if run is None:
        return Rows(rows=[], total=0)
    given = asked.filters
    shortest, longest = span(given.get("min", "")), span(given.get("max", ""))
    if (given.get("min") and shortest is None) or (given.get("max") and longest is None):
        return Rows(rows=[], total=0)
    sort: Any = asked.sort if asked.sort in SORTS else "task"
    page = data.read(
        task_page,
        run.id,
        app=given.get("app"),
        state=given.get("state"),
        executor=given.get("executor"),
        host=given.get("host"),
        min_took=shortest,
        max_took=longest,
        text=given.get("text", "")[:MAX_TEXT] or None,
        sort=sort,
        descending=asked.descending,
        after=_after(asked.after),
        limit=asked.limit + 1,
    )
    more, page = len(page) > asked.limit, page[: asked.limit]
    kinds = data.read(task_kinds, run.id)
    colours = app_colours({kind.app for kind in kinds})
    return Rows(
        rows=[_row(run, task, colours) for task in page],
        next=_as_json(page_key(page[-1], sort)) if more else None,
        total=_total(kinds, given),
    )


def _after(after: Any) -> Any:
    """A place in the order as it came from the browser: numbers only."""
    match after:
        case int():
            return after
        case (int() | None as place, int() as task):
            return place, task
    return None


def _as_json(key: Any) -> Any:
    return list(key) if isinstance(key, tuple) else key


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
            field="task", title="Task", kind="number", width=100, sort=True, link="href", tip="In order of submission"
        ),
        Column(field="app", title="App", kind="app", link="app_href"),
        Column(field="state", title="State", kind="state", width=150),
        Column(field="began", title="Began", kind="time", width=170, sort=True, tip="The latest try's function"),
        Column(field="took", title="Ran", kind="duration", width=100, sort=True, tip="The latest try's function"),
        Column(field="memory", title="Memory", kind="bytes", width=96, tip="Peak of the latest try"),
        Column(field="host", title="Host", link="host_href", width=170),
        Column(field="executor", title="Executor", width=110),
        Column(field="tries", title="Tries", kind="number", width=70),
        Column(field="note", title="Note", width=120),
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
