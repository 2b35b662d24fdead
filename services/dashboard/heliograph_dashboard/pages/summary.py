"""One run at a glance: what it is, how far it is, how it went on, and what each of its apps takes.

In: a run. Out: facts, a figure, a table with a row an app.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.components.card import number, numbers
from heliograph_dashboard.components.facts import Fact, facts
from heliograph_dashboard.components.table import Asked, Column, Filter, Rows, Table
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.components.times import count, duration, when
from heliograph_dashboard.data import Data
from heliograph_dashboard.eta import HOW, Eta, eta, look_back, unfinished
from heliograph_dashboard.figures import states_over_time
from heliograph_dashboard.figures.colours import app_colours
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.progress import levels, patience
from heliograph_dashboard.urls import run_path
from heliograph_store.read.apps import AppSummary, Distribution, app_summaries
from heliograph_store.read.progress import ended_since
from heliograph_store.read.runs import Run, find_run

MAX_TAGS: Final = 50


def layout(view: View) -> Component:
    run = _known(view.run)
    config = {"displaylogo": False, "responsive": True}
    return html.Div(
        [
            dcc.Store(id="summary-run", data=run.run),
            html.Div(_numbers(view.data, run), id="summary-numbers"),
            html.Section(
                [
                    html.Div(
                        [
                            html.H2("Tasks by state"),
                            html.Span("steps: nothing is guessed between two of them", className="hg-muted"),
                        ],
                        className="hg-card-head",
                    ),
                    html.Div(
                        dcc.Graph(id="summary-states", config=config, style={"height": 300}), className="hg-figure"
                    ),
                ],
                className="hg-card hg-below",
            ),
            html.Section(
                [html.H2("Apps", id="summary-apps-title"), APPS.layout(view)],
                className="hg-card hg-below",
            ),
            html.Section(
                [html.H2("About this run"), html.Div(_about(run), id="summary-about")], className="hg-card hg-below"
            ),
        ]
    )


def callbacks(app: Dash, data: Data) -> None:
    APPS.callbacks(app, data)

    @app.callback(
        Output("summary-numbers", "children"),
        Output("summary-about", "children"),
        Input("tick", "data"),
        State("summary-run", "data"),
        prevent_initial_call=True,
    )
    def update(_tick: Any, name: str) -> Any:
        run = data.read(find_run, name)
        return (no_update, no_update) if run is None else (_numbers(data, run), _about(run))

    @app.callback(
        Output("summary-states", "figure"),
        Input("tick", "data"),
        Input("theme", "data"),
        Input("summary-run", "data"),
        State("zone", "data"),
    )
    def draw(_tick: Any, theme: str | None, name: str, zone: str | None) -> Any:
        run = data.read(find_run, name)
        if run is None:
            return no_update
        return states_over_time.figure(
            data.read_seldom(patience(run), levels, run.id),
            theme=theme,
            zone=zone or "UTC",
            until=run.ended or run.last_seen,
        )


def _known(run: Run | None) -> Run:
    if run is None:
        raise RuntimeError("the path of a summary names its run")
    return run


# -- the run ---------------------------------------------------------------------------------------------------------


def _of_apps(apps: int) -> str:
    return f"of {apps:,} app{'s' * (apps != 1)}"


def _numbers(data: Data, run: Run) -> Component:
    apps = data.read(app_summaries, run.id)
    tasks, done = sum(app.tasks for app in apps), sum(app.done for app in apps)
    failed, spoilt = (sum(app.states.get(state, 0) for app in apps) for state in ("failed", "dep_fail"))
    retries = sum(app.retries for app in apps)
    memoized, joins = sum(app.memoized for app in apps), sum(app.joins for app in apps)
    path = run_path(run.run, "tasks")

    def some(n: int, query: str) -> Component | str:
        return dcc.Link(count(n), href=f"{path}?{query}" if query else path) if n else count(n)

    items = [
        number("Tasks", some(tasks, ""), _of_apps(sum(a.app is not None for a in apps))),
        number("Done", some(done - memoized, "state=exec_done"), _share(done - memoized, tasks)),
        number("Memoized", some(memoized, "state=memo_done"), "done without running"),
        number("Failed", some(failed, "state=failed"), f"{spoilt:,} more by a dependency" if spoilt else ""),
        number("Retries", count(retries), "tries after the first"),
        number("Joins", count(joins), "waited for tasks of theirs"),
        number(
            "Duration", duration(_lasted(run)), html.Span(["since " if run.ended is None else "from ", when(run.began)])
        ),
    ]
    return numbers([*items, *_left(data, run, apps)])


def _from(run: Run) -> Component:
    return html.Span(["since " if run.ended is None else "from ", when(run.began)])


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if whole else ""


def _lasted(run: Run) -> int | None:
    last = run.ended or run.last_seen
    return None if last is None else max(0, last - run.began)


def _left(data: Data, run: Run, apps: list[AppSummary]) -> list[Component]:
    """When all known tasks will be done; nothing once they are."""
    states: dict[str | None, int] = {}
    for app in apps:
        for state, tasks in app.states.items():
            states[state] = states.get(state, 0) + tasks
    left = unfinished(states)
    if not left:
        return []
    if run.ended is not None:
        return [number("Left", count(left), "the run ended before them")]
    medians = [app.run_time.median for app in apps if app.run_time is not None and unfinished(app.states)]
    found = estimate(data, run, None, states, max(medians, default=None))
    label = html.Span("Time left", title=HOW, className="hg-tip")
    speed = f"{found.per_minute:.3g} a minute" if found else "too few ended to tell"
    return [number(label, duration(found.micros) if found else "—", f"{left:,} left, {speed}")]


def estimate(
    data: Data, run: Run, app: str | None, states: Mapping[str | None, int], median: float | None
) -> Eta | None:
    """When the known tasks of an app (None: of the run) will be done."""
    if run.ended is not None or run.last_seen is None or not unfinished(states):
        return None
    since = look_back(run.last_seen, median)
    return eta(states, data.read(ended_since, run.id, since, app=app), since=since, now=run.last_seen)


def _about(run: Run) -> Component:
    program = " ".join(part for part in (cut(run.program, 40).capitalize(), cut(run.program_version, 40)) if part)
    shown: list[Fact] = [
        ("Started", when(run.started)),
        ("Ended", when(run.ended) if run.ended is not None else None),
        ("Last heard of", when(run.last_seen) if run.ended is None else None),
        ("Owner", cut(run.owner, 80)),
        ("Submitted on", cut(run.host, 120)),
        ("Process", None if run.pid is None else str(run.pid)),
        (
            "Run directory",
            html.Span(cut_middle(run.run_dir, 120), title=cut(run.run_dir, 4096)) if run.run_dir else None,
        ),
        ("Program", program),
        ("Python", cut(run.python, 40)),
        ("Version of the workflow", cut(run.version, 80)),
        ("Sampled every", duration(run.sample_interval * 1e6) if run.sample_interval else None),
        ("Exit", cut(run.exit, 200)),
        ("Run id", html.Code(cut(run.run, 80))),
        *((f"Tag {cut(key, 40)}", cut(value, 200)) for key, value in list(run.tags.items())[:MAX_TAGS]),
    ]
    return facts(shown)


# -- its apps --------------------------------------------------------------------------------------------------------

ORDERS: Final = {
    "app": lambda app: (app.app or "").casefold(),
    "tasks": lambda app: app.tasks,
    "failures": lambda app: app.failures,
    "retries": lambda app: app.retries,
    "memoized": lambda app: app.memoized,
    "joins": lambda app: app.joins,
    "median": lambda app: _of(app.run_time, "median"),
    "p95": lambda app: _of(app.run_time, "p95"),
    "longest": lambda app: _of(app.run_time, "max"),
    "waiting": lambda app: _of(app.waiting, "median"),
    "memory": lambda app: _of(app.memory, "p95"),
}


def _of(distribution: Distribution | None, name: str) -> float:
    return -1.0 if distribution is None else float(getattr(distribution, name))


def fetch_apps(data: Data, run: Run | None, asked: Asked) -> Rows:
    """Apps are few: all are read, and a page of them is sent. A place among them is a number."""
    if run is None:
        return Rows(rows=[], total=0)
    apps = data.read(app_summaries, run.id)
    colours = app_colours({app.app for app in apps})
    wanted = asked.filters.get("app", "").casefold()
    found = [app for app in apps if wanted in (app.app or "").casefold()]
    order = ORDERS.get(asked.sort, ORDERS["tasks"])
    found.sort(key=lambda app: app.app or "")
    found.sort(key=order, reverse=asked.descending)
    begin = asked.after if isinstance(asked.after, int) and asked.after > 0 else 0
    page = found[begin : begin + asked.limit]
    end = begin + len(page)
    return Rows(
        rows=[_app_row(data, run, app, colours) for app in page],
        next=end if end < len(found) else None,
        total=len(found),
    )


def _app_row(data: Data, run: Run, app: AppSummary, colours: Mapping[str | None, str]) -> dict[str, Any]:
    run_time, waiting, memory = app.run_time, app.waiting, app.memory
    left = estimate(data, run, app.app, app.states, run_time.median if run_time else None) if app.app else None
    return {
        "key": app.app if app.app is not None else "\0",
        "app": cut(app.app, 200) if app.app is not None else "not described yet",
        "app_colour": colours.get(app.app),
        "href": None if app.app is None else run_path(run.run, f"apps/{quote(app.app, safe='')}"),
        "tasks": app.tasks,
        "states": {state or "unknown": tasks for state, tasks in app.states.items()},
        "left": None if left is None else left.micros,
        "median": None if run_time is None else run_time.median,
        "p95": None if run_time is None else run_time.p95,
        "longest": None if run_time is None else run_time.max,
        "waiting": None if waiting is None else waiting.median,
        "failures": app.failures,
        "retries": app.retries,
        "memoized": app.memoized,
        "joins": app.joins,
        "memory": None if memory is None else memory.p95,
    }


APPS: Final = Table(
    name="apps",
    noun="apps",
    key="key",
    fetch=fetch_apps,
    sort="-tasks",
    height="auto",
    columns=(
        Column(field="app", title="App", kind="app", link="href", sort=True, least=184),
        Column(field="tasks", title="Tasks", kind="number", width=90, sort=True),
        Column(field="states", title="States", kind="bar", width=80),
        Column(field="left", title="Time left", kind="duration", width=92, tip=HOW),
        Column(field="median", title="Run time", kind="duration", width=96, sort=True, tip="Median of all tries"),
        Column(field="p95", title="p95", kind="duration", width=96, sort=True, tip="95 of 100 tries ran no longer"),
        Column(field="longest", title="max", kind="duration", width=96, sort=True, tip="The longest try"),
        Column(
            field="waiting", title="Waited", kind="duration", width=92, sort=True, tip="From launch to begin, median"
        ),
        Column(field="failures", title="Failures", kind="number", width=80, sort=True, tip="Tries that went wrong"),
        Column(field="retries", title="Retries", kind="number", width=76, sort=True, tip="Tries after a task's first"),
        Column(field="memoized", title="Memo", kind="number", width=70, sort=True, tip="Tasks answered from a memo"),
        Column(field="joins", title="Joins", kind="number", width=66, sort=True, tip="Tasks that joined others"),
        Column(field="memory", title="Memory", kind="bytes", width=88, sort=True, tip="p95 of the tries' peaks"),
    ),
    filters=(Filter(name="app", label="App's name"),),
)


PAGE = Page(name="summary", path="/runs/<run>", title="Summary", layout=layout, callbacks=callbacks)
