"""One task: every try with its times and places, how it failed, what it used, and what stands around it.

In: a run and a task's key. Out: cards; what changes while the task runs is brought up to date at each tick.
"""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.components import beside, outcome
from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.facts import facts
from heliograph_dashboard.components.states import state_badge
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.components.times import duration, when
from heliograph_dashboard.components.tries import ran, try_table
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures import phases, task_resources
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_dashboard.tail import NotShown, tail
from heliograph_dashboard.urls import href
from heliograph_store.read.one_task import DIRECTIONS, Direction, TaskRecord, neighbour_count, neighbours, task_record
from heliograph_store.read.runs import Run, find_run
from heliograph_store.read.samples import TaskPoint, task_series
from heliograph_store.read.tries import Try, tries_of

POINTS = 300
STREAMS = ("stdout", "stderr")


def layout(view: View) -> Component:
    run = view.run
    if run is None:
        raise RuntimeError("the path of a task names its run")
    record = _wanted(view)
    if record is None:
        back = dcc.Link("All tasks of this run", href=_path(run, "/tasks"))
        named = f"There is no task {cut(view.params['task'], 40)} in this run"
        return nothing_yet("task", empty(named, "It may not have arrived yet.", back))
    named = view.query.get("try", "")
    chosen = int(named) if named.isascii() and named.isdigit() and len(named) < 10 else None
    place = {"run": run.run, "task": record.task, "try": chosen}
    tries = view.data.read(tries_of, run.id, record.task)
    return html.Div(
        [
            dcc.Store(id="task-place", data=place),
            dcc.Store(id="task-seen", data=_fingerprint(record, tries)),
            html.Div(_head(run, record), id="task-head", className="hg-title-line"),
            html.Div(
                [
                    html.Section(_about(run, record, tries), id="task-about", className="hg-card"),
                    html.Section(_around(view.data, run, record), className="hg-card"),
                    html.Section(
                        [
                            html.H2("Tries"),
                            _graph("task-phases"),
                            html.Div(_tries(run, record, tries, chosen), id="task-tries"),
                        ],
                        className="hg-card hg-wide",
                    ),
                    html.Div(_failures(run, record, tries, chosen), id="task-failures", className="hg-wide"),
                    html.Section(_used(), className="hg-card hg-wide"),
                    html.Section(_texts(record), className="hg-card hg-wide"),
                    html.Section(_logs(view.data, run, record, view.query.get("log")), className="hg-card hg-wide"),
                ],
                className="hg-cols",
            ),
        ]
    )


def _wanted(view: View) -> TaskRecord | None:
    """The task that the path names, if it is there."""
    text = view.params.get("task", "")
    # Longer numbers are no keys, and Python refuses to read much longer ones.
    if view.run is None or not (text.isascii() and text.isdigit() and len(text) < 19):
        return None
    return view.data.read(task_record, view.run.id, int(text))


def callbacks(app: Dash, data: Data) -> None:
    fill_when_there(app, data, "task", layout, lambda view: _wanted(view) is not None)
    _live(app, data)
    _figures(app, data)
    for direction in DIRECTIONS:
        _paging(app, data, direction)
    for stream in STREAMS:
        _tails(app, data, stream)


# -- what happened ---------------------------------------------------------------------------------------------------


def _head(run: Run, record: TaskRecord) -> list[Component | str]:
    parts: list[Component | str] = [html.H2(["Task ", _name(record)]), state_badge(record.state)]
    if record.app is not None:
        parts.append(dcc.Link(cut(record.app, 120), href=_path(run, f"/apps/{quote(record.app, safe='')}")))
    return parts


def _name(record: TaskRecord) -> str:
    """What its program calls it; tasks of several processes of one run may have one number."""
    return f"{cut(record.origin, 60)} {record.number}" if record.origin not in {"", "parsl"} else str(record.number)


def _about(run: Run, record: TaskRecord, tries: list[Try]) -> list[Component]:
    last = tries[-1] if tries else None
    parent = (
        None
        if record.parent is None
        else dcc.Link(str(record.parent & (1 << 36) - 1), href=_path(run, f"/tasks/{record.parent}"))
    )
    return [
        html.H2("What it is"),
        facts(
            [
                ("App", cut(record.app, 200) or "not described yet"),
                ("Invoked", when(record.invoked)),
                ("Came back", when(record.returned), "to the program that submitted it"),
                ("Ran", duration(None if last is None else ran(last)), "the last try's function, by its own clock"),
                ("Tries", str(len(tries)) if len(tries) != 1 else None),
                ("Failed tries", str(record.fail_count) if record.fail_count else None),
                ("Executor asked for", cut(record.executor, 80)),
                ("Memoization", _memo(record)),
                ("Kind", "join app" if record.is_join or any("joining" in one.states for one in tries) else None),
                ("Submitted from task", parent),
                ("Resources asked for", cut(record.resources, 400)),
                ("Hash", html.Code(cut(record.hashsum, 80)) if record.hashsum else None, "of the app and its inputs"),
            ]
        ),
    ]


def _memo(record: TaskRecord) -> str | None:
    if record.from_memo or record.state == "memo_done":
        return "its result was known, it did not run"
    return "its result is remembered" if record.memoize else None


def _tries(run: Run, record: TaskRecord, tries: list[Try], chosen: int | None) -> Component:
    if not tries:
        return html.P("No state of it has arrived yet.", className="hg-remark")
    return try_table(
        tries,
        chosen,
        to_try=lambda number: _path(run, f"/tasks/{record.task}?try={number}"),
        to_host=lambda host: _path(run, f"/nodes/{quote(host, safe='')}"),
    )


def _failures(run: Run, record: TaskRecord, tries: list[Try], wanted: int | None) -> Component | None:
    failed = outcome.failed_tries(tries)
    if not failed:
        return None
    one = next((one for one in failed if one.try_ == wanted), failed[-1])
    others: list[Component | str] = []
    if len(failed) > 1:
        links = [
            dcc.Link(
                f"try {other.try_}",
                href=_path(run, f"/tasks/{record.task}?try={other.try_}"),
                className="hg-chip",
                title=cut(other.exc_type, 200),
            )
            for other in failed[-20:]
            if other is not one
        ]
        others = [html.Span("also failed: ", className="hg-muted"), *links]
    head = html.Div(
        [html.H2(f"How try {one.try_} failed"), html.Div(others, className="hg-chips")], className="hg-card-head"
    )
    return html.Section([head, outcome.failure(one)], className="hg-card")


def _live(app: Dash, data: Data) -> None:
    @app.callback(
        Output("task-head", "children"),
        Output("task-about", "children"),
        Output("task-tries", "children"),
        Output("task-failures", "children"),
        Output("task-seen", "data"),
        Input("tick", "data"),
        State("task-place", "data"),
        State("task-seen", "data"),
        prevent_initial_call=True,
    )
    def update(_tick: Any, place: dict[str, Any], seen: str) -> Any:
        """Only what belongs to this task: nothing on the page moves while others go on."""
        run, record = _record(data, place)
        if run is None or record is None:
            return (no_update,) * 5
        tries = data.read(tries_of, run.id, record.task)
        now = _fingerprint(record, tries)
        if now == seen:
            return (no_update,) * 5
        chosen = place["try"]
        return (
            _head(run, record),
            _about(run, record, tries),
            _tries(run, record, tries, chosen),
            _failures(run, record, tries, chosen),
            now,
        )


def _fingerprint(record: TaskRecord, tries: list[Try]) -> str:
    return format(hash((record, tuple(repr(one) for one in tries))) & 0xFFFF_FFFF_FFFF, "x")


def _record(data: Data, place: dict[str, Any]) -> tuple[Run | None, TaskRecord | None]:
    run = data.read(find_run, str(place["run"]))
    return run, None if run is None else data.read(task_record, run.id, int(place["task"]))


# -- figures ---------------------------------------------------------------------------------------------------------


def _used() -> list[Component]:
    return [
        html.Div(
            [html.H2("What it used"), html.Span(id="task-used-note", className="hg-muted hg-remark")],
            className="hg-card-head",
        ),
        html.Div(
            [_graph(f"task-{measure}") for measure in task_resources.MEASURES],
            id="task-used",
            className="hg-cols hg-cols-3",
        ),
    ]


def _graph(identity: str) -> Component:
    config = {"displaylogo": False, "responsive": True, "displayModeBar": "hover"}
    return html.Div(dcc.Graph(id=identity, config=config), className="hg-figure")


def _figures(app: Dash, data: Data) -> None:
    @app.callback(
        Output("task-phases", "figure"),
        *(Output(f"task-{measure}", "figure") for measure in task_resources.MEASURES),
        Output("task-used", "hidden"),
        Output("task-used-note", "children"),
        Input("tick", "data"),
        Input("theme", "data"),
        Input("task-place", "data"),
    )
    def draw(_tick: Any, theme: str | None, place: dict[str, Any]) -> Any:
        run = data.read(find_run, str(place["run"]))
        if run is None:
            return (no_update,) * 6
        task = int(place["task"])
        tries = data.read(tries_of, run.id, task)
        points = data.read(task_series, run.id, task, buckets=POINTS)
        found = phases.phases(tries)
        zero = min([phase.begin for phase in found] + [point.at for point in points], default=0)
        began = {one.try_: begin for one in tries if (begin := one.began or one.states.get("running")) is not None}
        rates = task_resources.rates(points, began)
        return (
            phases.figure(found, until=_until(run), theme=theme),
            *(task_resources.figure(m, rates, zero=zero, theme=theme) for m in task_resources.MEASURES),
            not points,
            _note(points, tries),
        )


def _until(run: Run) -> int:
    """How far what has not ended is drawn: to the end of the run, or to the last that was heard of it."""
    return run.ended or run.last_seen or time.time_ns() // 1000


def _note(points: list[TaskPoint], tries: list[Try]) -> str:
    if not points:
        short = any(one.state is not None for one in tries)
        return (
            "No samples: it was shorter than the sampling interval, or sampling was off." if short else "Nothing yet."
        )
    measured = sum(point.samples for point in points)
    thinned = f" in {len(points):,} points, peaks kept" if measured > len(points) else ""
    shared = (
        " Dotted: the process ran other tasks, too; what it used is not this task's alone."
        if any(point.shared for point in points)
        else ""
    )
    return f"{measured:,} samples{thinned}.{shared}"


# -- around it -------------------------------------------------------------------------------------------------------


def _around(data: Data, run: Run, record: TaskRecord) -> list[Component]:
    sections = []
    for direction in DIRECTIONS:
        total = data.read(neighbour_count, run.id, record.task, direction)
        if total:
            first = data.read(neighbours, run.id, record.task, direction, limit=beside.PAGE)
            sections.append(beside.section(direction, total, first, run_path=_run_path(run)))
    graph = dcc.Link("in the graph", href=_path(run, f"/graph?task={record.task}"))
    head = html.Div([html.H2("Dependencies"), graph], className="hg-card-head")
    return [head, *(sections or [html.P("It waits for no task, and none waits for it.", className="hg-remark")])]


def _paging(app: Dash, data: Data, direction: Direction) -> None:
    @app.callback(
        Output(f"task-beside-{direction}", "children"),
        Input(f"task-more-{direction}", "n_clicks"),
        State(f"task-after-{direction}", "data"),
        State("task-place", "data"),
        prevent_initial_call=True,
    )
    def turn(clicks: int | None, after: list[int] | None, place: dict[str, Any]) -> Any:
        run = data.read(find_run, str(place["run"]))
        if run is None or not clicks:
            return no_update
        task = int(place["task"])
        key = (int(after[0]), int(after[1])) if after else None
        total = data.read(neighbour_count, run.id, task, direction)
        found = data.read(neighbours, run.id, task, direction, after=key, limit=beside.PAGE)
        begin = int(after[2]) if after else 0
        return beside.page(direction, total, found, begin=begin, run_path=_run_path(run))


# -- texts and files -------------------------------------------------------------------------------------------------


def _texts(record: TaskRecord) -> list[Component]:
    shown = [
        outcome.block(text, identity=f"task-{name}", title=name.capitalize())
        for name, text in (("inputs", record.inputs), ("outputs", record.outputs), ("stdin", record.stdin))
        if text
    ]
    return [html.H2("Inputs and outputs"), *(shown or [html.P("None were recorded.", className="hg-remark")])]


def _logs(data: Data, run: Run, record: TaskRecord, opened: str | None) -> list[Component]:
    files = [(stream, path) for stream in STREAMS if (path := getattr(record, stream))]
    if not files:
        return [html.H2("Output files"), html.P("It was given no files for its output.", className="hg-remark")]
    return [html.H2("Output files"), *(_log(data, run, stream, path, opened == stream) for stream, path in files)]


def _log(data: Data, run: Run, stream: str, path: str, opened: bool) -> Component:
    allowed = bool(data.config.log_roots)
    button = html.Button("Show its end", id=f"task-tail-{stream}", className="hg-turn", disabled=not allowed)
    note = (
        None
        if allowed
        else html.P("The operator of this dashboard allowed no folder whose logs it may show.", className="hg-remark")
    )
    return html.Div(
        [
            html.Div(
                [
                    html.H3(stream),
                    html.Code(cut_middle(path, 160), title=cut(path, 4096)),
                    dcc.Clipboard(content=path[:4096], title="Copy the path", className="hg-copy"),
                    button,
                ],
                className="hg-textblock-head",
            ),
            html.Div(_end_of(data, run, stream, path) if opened and allowed else note, id=f"task-log-{stream}"),
        ],
        className="hg-textblock",
    )


def _end_of(data: Data, run: Run, stream: str, path: str) -> Component:
    found = tail(path, data.config.log_roots, owner=run.owner, run_dir=run.run_dir)
    if isinstance(found, NotShown):
        return html.P(found.reason, className="hg-remark")
    if not found.text:
        return html.P("The file is empty.", className="hg-remark")
    said = [f"The last lines of {found.size:,} bytes" if found.cut else f"{found.size:,} bytes"]
    if not path.startswith("/"):  # it was looked for: say where it was found
        said.append(f" of {cut_middle(found.path, 160)}")
    said.append(", written ")
    return html.Div(
        [
            html.P([*said, when(found.modified)], className="hg-remark"),
            outcome.block(found.text, identity=f"task-end-{stream}"),
        ]
    )


def _tails(app: Dash, data: Data, stream: str) -> None:
    @app.callback(
        Output(f"task-log-{stream}", "children"),
        Output(f"task-tail-{stream}", "children"),
        Output("query", "data", allow_duplicate=True),
        Input(f"task-tail-{stream}", "n_clicks"),
        State("task-place", "data"),
        prevent_initial_call=True,
    )
    def show(clicks: int | None, place: dict[str, Any]) -> Any:
        run, record = _record(data, place)
        path = getattr(record, stream, None)
        if not clicks or run is None or not path:
            return (no_update,) * 3
        query = {"log": stream}
        return _end_of(data, run, stream, path), "Read it again", query


def _run_path(run: Run) -> str:
    return f"/runs/{quote(run.run, safe='')}"


def _path(run: Run, rest: str) -> str:
    return href(_run_path(run) + rest)


PAGE = Page(name="task", path="/runs/<run>/tasks/<task>", title="", layout=layout, callbacks=callbacks)
