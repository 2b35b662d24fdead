"""What a task was given and what it wrote: inputs, outputs, and the last lines of its output files.

In: a task. Out: two cards' contents, and the callbacks that read a file's end. Files are opened by `tail` alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from heliograph_dashboard.components import outcome
from heliograph_dashboard.components.text import cut, cut_middle
from heliograph_dashboard.components.times import when
from heliograph_dashboard.data import Data
from heliograph_dashboard.tail import NotShown, tail
from heliograph_store.read.one_task import TaskRecord, task_record
from heliograph_store.read.runs import Run, find_run

STREAMS: Final = ("stdout", "stderr")
MOST_SEARCHED: Final = 20_000
"""Characters of inputs or outputs that are looked through for files."""
MOST_FILES: Final = 50
_FILE: Final = re.compile(r"<File at 0x[0-9a-f]{1,16} url=([^<>]{1,4096}?) scheme=")


def texts(record: TaskRecord) -> list[Component]:
    shown: list[Component] = []
    for name, text in (("inputs", record.inputs), ("outputs", record.outputs), ("stdin", record.stdin)):
        if text:
            shown += [outcome.block(text, identity=f"task-{name}", title=name.capitalize()), *_files(name, text)]
    return [html.H2("Inputs and outputs"), *(shown or [html.P("None were recorded.", className="hg-remark")])]


def files_in(text: str) -> list[str]:
    """The files among inputs or outputs, as Parsl writes them down."""
    return list(dict.fromkeys(_FILE.findall(text[:MOST_SEARCHED])))[:MOST_FILES]


def _files(name: str, text: str) -> list[Component]:
    paths = [html.Li(html.Code(cut_middle(path, 160), title=cut(path, 4096))) for path in files_in(text)]
    return [html.Ul(paths, className="hg-files", **{"aria-label": f"Files among the {name}"})] if paths else []


def logs(data: Data, run: Run, record: TaskRecord, opened: str | None) -> list[Component]:
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
        ],
        className="hg-log",
    )


def callbacks(app: Dash, data: Data) -> None:
    for stream in STREAMS:
        _tails(app, data, stream)


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
        run = data.read(find_run, str(place["run"]))
        record = None if run is None else data.read(task_record, run.id, int(place["task"]))
        path = getattr(record, stream, None)
        if not clicks or run is None or not path:
            return (no_update,) * 3
        query = {"log": stream}
        return _end_of(data, run, stream, path), "Read it again", query
