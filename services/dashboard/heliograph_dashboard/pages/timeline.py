"""The timeline of a run: which worker ran what, when.

In: the URL (`from` and `to`, or `last`; `node`), the controls, what the user does to the time axis. Out: a figure as
fine as the number of tries in the window lets it be.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any, Final

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from heliograph_dashboard.components.empty import empty
from heliograph_dashboard.components.times import SECOND, duration
from heliograph_dashboard.data import Data
from heliograph_dashboard.figures.clock import Clock
from heliograph_dashboard.figures.timeline import (
    MOST_RASTER,
    Level,
    area_figure,
    tries_figure,
)
from heliograph_dashboard.figures.timeline_scene import Drawing, Window
from heliograph_dashboard.page import Page, View
from heliograph_dashboard.pages.timeline_window import (
    ALL,
    FROZEN,
    Asked,
    from_query,
    from_store,
    moved,
    spanned,
    window_of,
    zoomed,
)
from heliograph_store.read.busy import busy
from heliograph_store.read.nodes import node_list
from heliograph_store.read.runs import Run, app_counts, find_run
from heliograph_store.read.timeline import hosts_of, ran

BUCKETS: Final = 240
SELDOM: Final = 5.0
"""Seconds between two drawings of a large window while its run goes on."""
CONFIG: Final = {
    "scrollZoom": True,
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"],
}
STEPS: Final = (
    ("earlier", "←", "Earlier", {"shift": -0.5}),
    ("later", "→", "Later", {"shift": 0.5}),
    ("closer", "+", "Closer", {"scale": 0.4}),
    ("wider", "−", "Wider", {"scale": 2.5}),
)
"""Buttons: what the pointer does, for the keyboard."""


def layout(view: View) -> Component:
    run = view.run
    assert run is not None  # noqa: S101 (the path has it)
    asked = from_query(view.query)
    nodes = view.data.read(hosts_of, run.id)
    if not nodes and run.ended is not None:
        return empty("Nothing ran", "No try of this run began at a worker, or the workers did not tell.")
    base = view.link("summary")
    return html.Div(
        [
            dcc.Store(id="timeline-links", data={"tasks": f"{base}/tasks/"}),
            dcc.Store(id="timeline-asked", data=asked.stored()),
            dcc.Store(id="timeline-zoomed"),
            dcc.Store(id="timeline-names"),
            dcc.Store(id="timeline-seen"),
            dcc.Store(id="timeline-done"),
            _controls(asked, nodes),
            html.P(id="timeline-note", className="hg-note", **{"aria-live": "polite"}),
            html.Div(
                [
                    html.Div(id="timeline-readout", className="hg-readout"),
                    dcc.Graph(id="timeline-figure", config=CONFIG, style={"height": 480}, responsive=True),
                ],
                className="hg-card hg-plot",
            ),
        ]
    )


def _controls(asked: Asked, nodes: list[str]) -> Component:
    usual = {"3600": "Last hour", "600": "Last 10 min", "60": "Last min"}
    if asked.last is not None:
        usual.setdefault(str(asked.last), f"Last {duration(asked.last * SECOND)}")
    choices = [(ALL, "Whole run"), *usual.items(), (FROZEN, "Frozen")]
    return html.Div(
        [
            dmc.SegmentedControl(
                id="timeline-span",
                value=asked.span,
                size="xs",
                data=[{"value": value, "label": name} for value, name in choices],
            ),
            html.Div(
                [
                    html.Button(sign, id=f"timeline-{name}", className="hg-step", title=title, **{"aria-label": title})
                    for name, sign, title, _ in STEPS
                ],
                className="hg-controls",
                style={"margin": 0, "gap": 4},
            ),
            dmc.Select(
                id="timeline-node",
                value=asked.node if asked.node in nodes else None,
                data=nodes,
                placeholder=f"all {len(nodes):,} nodes" if len(nodes) != 1 else nodes[0],
                size="xs",
                w=220,
                searchable=True,
                clearable=True,
                **{"aria-label": "Only this node"},
            ),
        ],
        className="hg-controls",
    )


def callbacks(app: Dash, data: Data) -> None:
    _in_the_browser(app)

    @app.callback(
        output=[
            Output("timeline-asked", "data"),
            Output("timeline-span", "value"),
            Output("query", "data", allow_duplicate=True),
        ],
        inputs={
            "event": Input("timeline-zoomed", "data"),
            "span": Input("timeline-span", "value"),
            "node": Input("timeline-node", "value"),
            "clicks": [Input(f"timeline-{name}", "n_clicks") for name, *_ in STEPS],
        },
        state={"asked": State("timeline-asked", "data"), "seen": State("timeline-seen", "data")},
        prevent_initial_call=True,
    )
    def move(*, event: Any, span: str, node: str | None, clicks: Any, asked: Any, seen: Any) -> Any:
        del clicks
        now = change(str(ctx.triggered_id), from_store(asked), seen, event=event, span=span, node=node)
        # What is empty leaves the URL, into which this is merged.
        return now.stored(), now.span, {"from": "", "to": "", "last": "", "node": "", **now.query()}

    @app.callback(
        output=[
            Output("timeline-figure", "figure"),
            Output("timeline-figure", "style"),
            Output("timeline-note", "children"),
            Output("timeline-names", "data"),
            Output("timeline-seen", "data"),
        ],
        inputs={
            "asked": Input("timeline-asked", "data"),
            "theme": Input("theme", "data"),
            "tick": Input("tick", "data"),
        },
        state={
            "zone": State("zone", "data"),
            "looking": State("looking", "data"),
            "seen": State("timeline-seen", "data"),
        },
    )
    def draw(*, asked: Any, theme: str | None, tick: Any, zone: str | None, looking: Any, seen: Any) -> Any:
        del tick  # only says that something changed
        run = data.read(find_run, looking["run"]) if looking and looking.get("run") else None
        if run is None or theme is None:
            raise PreventUpdate
        wanted = from_store(asked)
        # Equal for viewers who ask in the same two seconds, and never before what the tick told of.
        window = window_of(run, wanted, now=(int(time.time()) // 2 + 1) * 2 * SECOND, zone=zone)
        return drawing(data, run, wanted, window, (theme, seen))


def _in_the_browser(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("timeline", "relayout"),
        Output("timeline-done", "data"),
        Input("timeline-figure", "relayoutData"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("timeline", "click"),
        Output("timeline-done", "data", allow_duplicate=True),
        Input("timeline-figure", "clickData"),
        State("timeline-seen", "data"),
        State("timeline-links", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("timeline", "hover"),
        Output("timeline-readout", "children"),
        Input("timeline-figure", "hoverData"),
        State("timeline-names", "data"),
        prevent_initial_call=True,
    )


def change(what: str, asked: Asked, seen: dict[str, Any] | None, *, event: Any, span: str, node: str | None) -> Asked:
    """What is asked for after a control was used. Raises PreventUpdate when that changes nothing."""
    drawn = (int(seen["since"]), int(seen["until"])) if seen else None
    now = asked
    if what == "timeline-zoomed" and event and seen:
        now = zoomed(asked, event, Clock(offset=int(seen["offset"])))
    elif what == "timeline-span":
        now = spanned(asked, span, drawn)
    elif what == "timeline-node":
        now = from_store({**asked.stored(), "node": node or None})
    elif drawn is not None:
        step = next((step for name, _, _, step in STEPS if what == f"timeline-{name}"), None)
        now = asked if step is None else moved(asked, drawn, **step)
    if now == asked:
        raise PreventUpdate
    return now


def drawing(data: Data, run: Run, asked: Asked, window: Window, shown: tuple[str, dict[str, Any] | None]) -> Any:
    """(figure, style, note, names, what was drawn). Raises PreventUpdate when the browser has it already."""
    theme, seen = shown
    since, until, node = window.since, window.until, asked.node
    mark = {
        "asked": repr((asked, theme)), "since": window.since, "until": window.until,
        "offset": window.clock.offset, "at": int(time.time()),
    }  # fmt: skip
    same = seen is not None and seen["asked"] == mark["asked"]
    if seen and same and seen["level"] != "bars" and not window.lost and int(time.time()) - seen["at"] < SELDOM:
        raise PreventUpdate
    apps = [count.app for count in data.read(app_counts, run.id)]
    found = data.read(ran, run.id, since=since, until=until, host=node, limit=MOST_RASTER)
    if found is None:
        level: Level = "area"
        rows = data.read(busy, run.id, since=since, until=min(until, window.last), buckets=BUCKETS, by="app")
        made = area_figure(rows, window, apps=apps, theme=theme)
        content: object = rows
        note = _area_note(asked)
    else:
        pools = [pool for pool in data.read(node_list, run.id, limit=10_000) if _there(pool, window, node)]
        level, made = tries_figure(found, pools, window, apps=apps, theme=theme)
        content = [*zip(*found, strict=True)]  # the same by columns: a name for each value takes longer than it
        note = _tries_note(level, len(found), made)
    mark["level"] = level
    mark["digest"] = hashlib.blake2b(repr((content, window)).encode(), digest_size=12).hexdigest()
    if seen and same and seen.get("digest") == mark["digest"]:
        raise PreventUpdate
    return made.figure, {"height": made.height}, note, made.names, mark


def _there(pool: Any, window: Window, node: str | None) -> bool:
    """Whether a pool was there during the window, as far as is known."""
    if node is not None and pool.host != node:
        return False
    gone = pool.active is False and (pool.last_seen or 0) < window.since
    return (pool.first_seen or 0) < window.until and not gone


def _tries_note(level: Level, tries: int, made: Drawing) -> str:
    what = f"{tries:,} tr{'y' if tries == 1 else 'ies'} on {made.lanes:,} worker{'s' * (made.lanes != 1)}. "
    if level == "bars":
        return what + "Click a bar to open its task; scroll or drag to zoom."
    return (
        f"{what}Each pixel has the colour of the app that ran there the longest, pale where workers were busy less "
        "than half of the time. Zoom in for single tasks."
    )


def _area_note(asked: Asked) -> str:
    what = f"More than {MOST_RASTER:,} tries in this window: how many workers were busy, by app"
    return (
        what
        + (", on all nodes. " if asked.node else ". ")
        + "Zoom in (scroll, drag or click) to see workers and tasks."
    )


PAGE = Page(name="timeline", path="/runs/<run>/timeline", title="Timeline", layout=layout, callbacks=callbacks)
