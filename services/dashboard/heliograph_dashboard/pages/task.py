"""One task: every try with its times and places, how it failed, what it used, and what stands around it.

In: a run and a task's key. Out: cards; what changes while the task runs is brought up to date at each tick.
"""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.components import outcome
from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.facts import facts
from heliograph_dashboard.components.states import state_badge
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.components.times import duration, when
from heliograph_dashboard.components.tries import ran, state_times, try_table
from heliograph_dashboard.data import Data
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages import task_around, task_output, task_used
from heliograph_dashboard.pages.links import in_run
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_store.read.one_task import TaskRecord, task_record
from heliograph_store.read.runs import Run, find_run
from heliograph_store.read.tries import Try, tries_of


def layout(view: View) -> Component:
    run = view.run
    if run is None:
        raise RuntimeError("the path of a task names its run")
    record = _wanted(view)
    if record is None:
        back = dcc.Link("All tasks of this run", href=in_run(run, "tasks"))
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
                    html.Section(task_around.around(view.data, run, record), className="hg-card"),
                    html.Section(
                        [
                            html.H2("Tries"),
                            task_used.graph("task-phases"),
                            html.Div(_tries(run, record, tries, chosen), id="task-tries"),
                        ],
                        className="hg-card hg-wide",
                    ),
                    html.Div(_failures(run, record, tries, chosen), id="task-failures", className="hg-wide"),
                    html.Section(task_used.used(), className="hg-card hg-wide"),
                    html.Section(task_output.texts(record), className="hg-card hg-wide"),
                    html.Section(
                        task_output.logs(view.data, run, record, view.query.get("log")), className="hg-card hg-wide"
                    ),
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
    for part in (task_used, task_around, task_output):
        part.callbacks(app, data)


# -- what happened ---------------------------------------------------------------------------------------------------


def _head(run: Run, record: TaskRecord) -> list[Component | str]:
    parts: list[Component | str] = [html.H2(["Task ", _name(record)]), state_badge(record.state)]
    if record.app is not None:
        parts.append(dcc.Link(cut(record.app, 120), href=in_run(run, "apps", record.app)))
    return parts


def _name(record: TaskRecord) -> str:
    """What its program calls it; tasks of several processes of one run may have one number."""
    return f"{cut(record.origin, 60)} {record.number}" if record.origin not in {"", "parsl"} else str(record.number)


def _about(run: Run, record: TaskRecord, tries: list[Try]) -> list[Component]:
    last = tries[-1] if tries else None
    parent = (
        None
        if record.parent is None
        else dcc.Link(str(record.parent & (1 << 36) - 1), href=in_run(run, "tasks", str(record.parent)))
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
    table = try_table(
        tries,
        chosen,
        to_try=lambda number: in_run(run, "tasks", str(record.task), query={"try": str(number)}),
        to_host=lambda host: in_run(run, "nodes", host),
    )
    return html.Div([table, state_times(tries)])


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
                href=in_run(run, "tasks", str(record.task), query={"try": str(other.try_)}),
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


PAGE = Page(name="task", path="/runs/<run>/tasks/<task>", title="", layout=layout, callbacks=callbacks)
