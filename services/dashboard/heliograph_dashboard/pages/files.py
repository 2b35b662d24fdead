"""Files: what the file watches of a run found, and what the callbacks made of it.

In: watches, files and callbacks of a run. Out: two tables; or, when there is no watch, how to set one up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.card import card
from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.table import Asked, Column, Filter, Rows, Table
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.components.times import count, when
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.colours import GROUP
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.links import cursor, in_run
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_store.read.files import Watch, callback_page, file_page, watch_list
from heliograph_store.read.runs import Run, find_run

EXAMPLE: Final = """\
from heliograph import FileMonitor, watch
from parsl import python_app

def summarise(files):            # called with the new files, in a process of its own
    return f"{len(files)} new results"

@python_app
@watch(FileMonitor(callback=summarise, filetype="h5", path="results", sleep_dur=10))
def simulate(steps):
    ...                          # writes results/*.h5 while it runs
"""
LONGEST: Final = 2000
"""Characters of a callback's result that a table carries."""


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    watches = view.data.read(watch_list, run.id)
    if not watches:
        return nothing_yet(
            "files",
            empty(
                "No files are watched in this run",
                "A file watch tells of the files that a long task writes while it runs, and calls a function of yours "
                "for new ones. Put one around the work:",
                html.Pre(EXAMPLE, className="hg-pre"),
            ),
        )
    return html.Div(
        [
            card(html.Div(_watches(watches, run), id="files-watches"), title="Watches"),
            card(FILES.layout(view), title="Files found"),
            card(CALLBACKS.layout(view), title="Callbacks"),
        ],
        className="hg-stack",
    )


def callbacks(app: Dash, data: Data) -> None:
    fill_when_there(app, data, "files", layout, _watched)
    FILES.callbacks(app, data)
    CALLBACKS.callbacks(app, data)

    @app.callback(
        Output("files-watches", "children"),
        Input("tick", "data"),
        State("looking", "data"),
        prevent_initial_call=True,
    )
    def refresh(_tick: Any, looking: Mapping[str, Any] | None) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None:
            raise PreventUpdate
        return _watches(data.read(watch_list, run.id), run)


def _watched(view: View) -> bool:
    return view.run is not None and bool(view.data.read(watch_list, view.run.id))


def _watches(watches: Sequence[Watch], run: Run) -> Component:
    head = html.Tr([html.Th(text) for text in ("Watch", "Folder", "Looks for", "Task", "Since", "State", "Files")])
    return html.Table([html.Thead(head), html.Tbody([_watch(watch, run) for watch in watches])], className="hg-rows")


def _watch(watch: Watch, run: Run) -> Component:
    patterns = ", ".join(watch.patterns)
    task = dcc.Link(f"task {watch.task}", href=in_run(run, "tasks", str(watch.task))) if watch.task is not None else "–"
    return html.Tr(
        [
            html.Td(cut(watch.watch, 40) or "–"),
            html.Td(_where(watch), title=cut(watch.root, 1000)),
            html.Td(cut(patterns, 60) or "everything", title=cut(patterns, 1000), className="hg-code"),
            html.Td(task),
            html.Td(when(watch.opened)),
            html.Td(_state(watch)),
            html.Td(count(watch.files)),
        ]
    )


def _where(watch: Watch) -> str:
    host = f" on {cut(watch.host, 40)}" if watch.host else ""
    return (cut_middle(watch.root, 60) or "–") + host


def _state(watch: Watch) -> Component | str:
    if watch.closed is None:
        return "open"
    unfinished = f", {watch.unfinished:,} not finished" if watch.unfinished else ""
    return html.Span(["closed ", when(watch.closed), unfinished], title=cut(watch.reason, 300))


def _files(data: Data, run: Run | None, asked: Asked) -> Rows:
    if run is None:
        return Rows(rows=[])
    after = cursor(asked.after, int, str, int, int)
    page = data.read(file_page, run.id, watch=asked.filters.get("watch"), after=after, limit=asked.limit + 1)
    shown = page[: asked.limit]
    tasks = {watch.watch: watch.task for watch in data.read(watch_list, run.id)}
    rows = [
        {
            "key": ":".join(map(str, file.key)),
            "path": cut_middle(file.path, 400),
            "size": file.size,
            "at": file.at,
            "mtime": file.mtime,
            "watch": cut(file.watch, 80),
            "pattern": cut(file.pattern, 80),
            "task": None if tasks.get(file.watch) is None else str(tasks[file.watch]),
            "task_link": in_run(run, "tasks", str(tasks.get(file.watch))),
            "repeat": file.repeat,
        }
        for file in shown
    ]
    return Rows(rows=rows, next=list(shown[-1].key) if len(page) > asked.limit else None)


def _called(data: Data, run: Run | None, asked: Asked) -> Rows:
    if run is None:
        return Rows(rows=[])
    after = cursor(asked.after, int, str, int)
    page = data.read(callback_page, run.id, after=after, limit=asked.limit + 1)
    shown = page[: asked.limit]
    rows = [
        {
            "key": ":".join(map(str, call.key)),
            "callback": cut(call.callback, 80),
            "outcome": cut(call.outcome, 20),
            "outcome_colour": GROUP["done"] if call.outcome == "ok" else GROUP["failed"],
            "result": cut(call.result, LONGEST),
            "files": len(call.paths),
            "first": cut_middle(call.paths[0], 200) if call.paths else "",
            "at": call.at,
            "elapsed": call.elapsed,
            "watch": cut(call.watch, 80),
            "repeat": call.repeat,
        }
        for call in shown
    ]
    return Rows(rows=rows, next=list(shown[-1].key) if len(page) > asked.limit else None)


def _watch_choices(view: View) -> list[tuple[str, str]]:
    if view.run is None:
        return []
    return [(w.watch, cut(w.watch, 60)) for w in view.data.read(watch_list, view.run.id) if w.watch]


FILES = Table(
    name="files-found",
    columns=(
        Column(field="path", title="Path", kind="code"),
        Column(field="size", title="Size", kind="bytes", width=90),
        Column(field="at", title="Found", kind="time", width=172),
        Column(field="mtime", title="Modified", kind="time", width=172),
        Column(field="watch", title="Watch", width=110),
        Column(field="pattern", title="Matched", kind="code", width=130),
        Column(field="task", title="Task", width=80, link="task_link"),
        Column(field="repeat", title="Repeat", kind="flag", width=84, tip="Told again after a crash"),
    ),
    fetch=_files,
    key="key",
    noun="files",
    filters=(Filter(name="watch", label="Watch", kind="choice", options=_watch_choices),),
    height="min(46vh, 520px)",
)
CALLBACKS = Table(
    name="files-callbacks",
    columns=(
        Column(field="callback", title="Callback", width=150),
        Column(field="outcome", title="Outcome", kind="badge", width=110),
        Column(field="result", title="Result or error"),
        Column(field="files", title="Files", kind="number", width=74),
        Column(field="first", title="First file", kind="code", width=200),
        Column(field="at", title="Ended", kind="time", width=172),
        Column(field="elapsed", title="Took", kind="duration", width=112),
        Column(field="watch", title="Watch", width=110),
        Column(field="repeat", title="Repeat", kind="flag", width=84, tip="Called again after a crash"),
    ),
    fetch=_called,
    key="key",
    noun="callbacks",
    height="min(46vh, 520px)",
)


PAGE = Page(name="files", path="/runs/<run>/files", title="Files", layout=layout, callbacks=callbacks)
