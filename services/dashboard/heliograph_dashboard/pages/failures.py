"""Failures: what went wrong, grouped by exception, place and message without what varies in it.

In: a run's groups of failures (`group` in the URL chooses one). Out: failures over time, a table of groups, and of the
chosen one where it happened, a traceback, and its tries with links to their tasks.
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
from heliograph_dashboard.components.text import cut, cut_middle, plain
from heliograph_dashboard.components.times import when
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.failures import WRONG, Suspect, over_time, suspect
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.links import cursor, in_run, part
from heliograph_dashboard.pages.waiting import fill_when_there, nothing_yet
from heliograph_store.read.failures import FailureGroup, failure_groups, failure_key, failures_in, host_tries
from heliograph_store.read.progress import entered_by_step
from heliograph_store.read.runs import Run, app_counts, find_run
from heliograph_store.read.tries import Try

CONFIG: Final = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
LONGEST: Final = 20_000
"""Characters of a traceback that are shown; its end, where the exception is, is kept."""
LISTED: Final = 8
"""Apps and nodes of a group that are listed."""


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    groups = view.data.read(failure_groups, run.id)
    if not groups:
        return nothing_yet(
            "failures",
            empty(
                "Nothing has failed in this run",
                "Failures appear here while the run goes on, grouped by what they are.",
            ),
        )
    chosen = _chosen(groups, view.query.get("group"))
    return html.Div(
        [
            card(
                dcc.Graph(id="failures-figure", config=CONFIG, style={"height": 200}, responsive=True),
                title="Over time",
                note="tasks and tries that failed, by when",
            ),
            card(GROUPS.layout(view), title="Groups", note="by exception type, place, and message without what varies"),
            *([] if chosen is None else [_detail(view, run, chosen)]),
        ],
        className="hg-stack",
    )


def callbacks(app: Dash, data: Data) -> None:
    fill_when_there(app, data, "failures", layout, _failed)
    GROUPS.callbacks(app, data)
    TRIES.callbacks(app, data)

    @app.callback(
        Output("failures-figure", "figure"),
        Input("theme", "data"),
        Input("zone", "data"),
        Input("tick", "data"),
        State("looking", "data"),
    )
    def draw(theme: str | None, zone: str | None, _tick: Any, looking: Mapping[str, Any] | None) -> Any:
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None or theme is None:
            raise PreventUpdate
        steps = data.read(entered_by_step, run.id, states=WRONG, steps=120)
        return over_time(steps.rows, width=steps.width, theme=theme, zone=zone or "UTC")


def _failed(view: View) -> bool:
    return view.run is not None and bool(view.data.read(failure_groups, view.run.id))


def _chosen(groups: Sequence[FailureGroup], text: str | None) -> FailureGroup | None:
    return next((group for group in groups if str(group.id) == text), None)


def name_of(group: FailureGroup) -> str:
    """What a group is called: the exception, or that none was recorded."""
    return cut(group.exc_type, 120) or "no exception recorded"


def _detail(view: View, run: Run, group: FailureGroup) -> Component:
    latest = view.data.read(failures_in, run.id, group.id, limit=1)
    hint = _hint(suspect(group.hosts, group.tries, _shares_of_all(view.data, run)), run)
    closed = dcc.Link("Close", href=view.link("failures"), className="hg-push")
    return html.Section(
        [
            html.Div(
                [html.H2(name_of(group)), html.Span(_where(group), className="hg-muted"), closed],
                className="hg-card-head",
            ),
            html.P(cut(group.message, 2000) or "no message", className="hg-code hg-message"),
            html.P(
                [f"{group.tries:,} tries, first ", when(group.first), ", last ", when(group.last)], className="hg-note"
            ),
            *([] if hint is None else [hint]),
            html.Div(
                [_shares("By app", group.apps, group.tries), _shares("By node", group.hosts, group.tries)],
                className="hg-plots",
            ),
            *_sample(latest, run),
            html.H3(f"Tries of this group ({group.tries:,})"),
            TRIES.layout(view),
        ],
        className="hg-card",
        id="failures-detail",
        **{"data-arrive": str(group.id)},
    )


def _shares_of_all(data: Data, run: Run) -> dict[str | None, float]:
    """Each node's share of all tries of the run."""
    counts = {one.host: one.tries for one in data.read(host_tries, run.id)}
    total = sum(counts.values())
    return {host: count / total for host, count in counts.items()} if total else {}


def _where(group: FailureGroup) -> str:
    return f"in {cut(group.place, 160)}" if group.place else ""


def _hint(found: Suspect | None, run: Run) -> Component | None:
    if found is None:
        return None
    general = "" if found.of_all is None else f", which ran {found.of_all:.0%} of all tries"
    link = dcc.Link(cut(found.host, 80), href=in_run(run, "nodes", found.host))
    told = html.Span([f"{found.share:.0%} of these come from ", link, general, "."])
    return html.Div([html.Strong("Look at one node. "), told], className="hg-hint", role="note")


def _shares(title: str, counts: Sequence[tuple[str | None, int]], tries: int) -> Component:
    rows = [
        html.Li(
            [
                html.Span(cut_middle(name, 60) or "not known", title=cut(name, 300)),
                html.Div(
                    html.Span(style={"width": f"{100 * n / tries:.1f}%", "backgroundColor": "#e03131"}),
                    className="hg-bar",
                ),
                html.Span(f"{n:,} · {n / tries:.0%}"),
            ]
        )
        for name, n in counts[:LISTED]
    ]
    rest = len(counts) - LISTED
    more = [html.Li(f"and {rest:,} more", className="hg-muted")] if rest > 0 else []
    return html.Div([html.H3(title), html.Ul([*rows, *more], className="hg-shares")])


def _sample(latest: Sequence[Try], run: Run) -> list[Component]:
    if not latest:
        return []
    try_ = latest[0]
    task = dcc.Link(f"task {try_.task}", href=in_run(run, "tasks", str(try_.task)))
    text = try_.traceback or try_.history or try_.exc_message
    if not text:
        return [html.P(["The latest one: ", task, ". No traceback was recorded."], className="hg-note")]
    shown = plain(text[-LONGEST:])
    if len(text) > LONGEST:
        shown = f"… the beginning is left out …\n{shown}"
    return [
        html.H3(["The latest one: ", task, f", try {try_.try_}"]),
        html.Pre(shown, className="hg-pre", id="failures-traceback", tabIndex=0),
    ]


def _groups(data: Data, run: Run | None, asked: Asked) -> Rows:
    if run is None:
        return Rows(rows=[])
    of_all = _shares_of_all(data, run)
    found = data.read(failure_groups, run.id, app=asked.filters.get("app"))
    text = asked.filters.get("text", "").lower()
    rows = [
        _row(group, suspect(group.hosts, group.tries, of_all), run, asked)
        for group in found
        if text in f"{group.exc_type} {group.place} {group.message}".lower()
    ]
    return part(rows, asked)


def _row(group: FailureGroup, node: Suspect | None, run: Run, asked: Asked) -> dict[str, Any]:
    kept = {name: asked.filters[name] for name in ("app", "text") if name in asked.filters}
    return {
        "id": group.id,
        "link": in_run(run, "failures", query={**kept, "group": str(group.id)}),
        "exception": name_of(group),
        "message": cut(group.message, 300),
        "place": cut(group.place, 200),
        "tries": group.tries,
        "apps": _names(group.apps),
        "hosts": sum(name is not None for name, _ in group.hosts),
        "node": "" if node is None else f"{node.share:.0%} on {cut(node.host, 60)}",
        "node_colour": "#f08c00",
        "first": group.first,
        "last": group.last,
    }


def _names(counts: Sequence[tuple[str | None, int]]) -> str:
    shown = ", ".join(cut(name, 40) or "not known" for name, _ in counts[:3])
    return shown + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")


def _tries(data: Data, run: Run | None, asked: Asked) -> Rows:
    group = asked.filters.get("group", "")
    if run is None or not (group.isascii() and group.isdecimal() and len(group) < 19):
        return Rows(rows=[])
    after = cursor(asked.after, int, int, int)
    page = data.read(failures_in, run.id, int(group), after=after, limit=asked.limit + 1)
    shown = page[: asked.limit]
    rows = [
        {
            "key": f"{try_.task}:{try_.try_}",
            "task": f"{try_.task}",
            "link": in_run(run, "tasks", str(try_.task)),
            "try": try_.try_,
            "app": try_.app or "not described yet",
            "state": try_.state,
            "host": cut(try_.host, 80),
            "worker": cut(try_.worker, 40),
            "wrong": failure_key(try_)[0] or None,
            "elapsed": try_.elapsed,
            "message": cut(try_.exc_message or try_.history, 400),
        }
        for try_ in shown
    ]
    return Rows(rows=rows, next=list(failure_key(shown[-1])) if len(page) > asked.limit else None)


def _apps(view: View) -> list[tuple[str, str]]:
    if view.run is None:
        return []
    names = sorted(count.app for count in view.data.read(app_counts, view.run.id) if count.app is not None)
    return [(name, cut(name, 60)) for name in names]


GROUPS = Table(
    name="failures-groups",
    columns=(
        Column(field="tries", title="Tries", kind="number", width=84, sort=True),
        Column(field="exception", title="Exception", kind="exception", width=146, sort=True, link="link"),
        Column(field="message", title="Message", link="link", least=210),
        Column(
            field="node", title="Points to", kind="badge", width=130, sort=True,
            tip="A node from which nearly all of them come, though it ran clearly less than that of all tries",
        ),
        Column(field="place", title="Place", kind="place", width=150, sort=True),
        Column(field="apps", title="Apps", width=100),
        Column(field="hosts", title="Nodes", kind="number", width=74, sort=True),
        Column(field="first", title="First", kind="time", width=166, sort=True),
        Column(field="last", title="Last", kind="time", width=166, sort=True),
    ),
    fetch=_groups,
    key="id",
    noun="groups",
    sort="-tries",
    filters=(
        Filter(name="text", label="Exception, place or message"),
        Filter(name="app", label="App", kind="choice", options=_apps),
    ),
    height="min(44vh, 420px)",
)  # fmt: skip
TRIES = Table(
    name="failures-tries",
    columns=(
        Column(field="task", title="Task", width=90, link="link"),
        Column(field="try", title="Try", kind="number", width=64),
        Column(field="app", title="App", width=140),
        Column(field="state", title="State", kind="state", width=164),
        Column(field="host", title="Node", width=150),
        Column(field="worker", title="Worker", width=90),
        Column(field="wrong", title="Failed", kind="time", width=172),
        Column(field="elapsed", title="Ran", kind="duration", width=112),
        Column(field="message", title="Message"),
    ),
    fetch=_tries,
    key="key",
    noun="tries",
    hidden=("group",),
    height="min(50vh, 520px)",
)


PAGE = Page(name="failures", path="/runs/<run>/failures", title="Failures", layout=layout, callbacks=callbacks)
