"""How a try failed: exception, place and traceback as text that can be copied.

In: a try. Out: components. Whatever the texts hold, they are text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dash import dcc, html
from dash.development.base_component import Component

from heliograph_dashboard.components.text import cut, plain
from heliograph_store.read.tries import Try

MAX_TEXT: Final = 100_000
"""Characters of one text on a page; recorders cut tracebacks long before."""


def has_failed(one: Try) -> bool:
    """Is there anything to tell about a failure of this try?"""
    return bool(one.exc_type or one.exc_message or one.traceback or one.history or (one.exit or 0) != 0)


def failed_tries(tries: Sequence[Try]) -> list[Try]:
    return [one for one in tries if has_failed(one)]


def failure(one: Try) -> Component:
    """Everything that is known of how this try went wrong."""
    head = [
        html.Span(cut(one.exc_type, 200) or "failed", className="hg-exception"),
        *([html.Span(f"exit code {one.exit}", className="hg-muted")] if one.exit else []),
        *([html.Span(["at ", html.Code(cut(one.exc_place, 300))], className="hg-muted")] if one.exc_place else []),
    ]
    texts = [
        block(one.exc_message, identity=f"task-message-{one.try_}") if one.exc_message else None,
        block(one.traceback, identity=f"task-traceback-{one.try_}", title="Traceback") if one.traceback else None,
        block(one.history, identity=f"task-history-{one.try_}", title="As the submitting process saw it")
        if one.history and not _same(one)
        else None,
    ]
    return html.Div([html.Div(head, className="hg-exception-line"), *[text for text in texts if text is not None]])


def _same(one: Try) -> bool:
    """The history often only says again what the worker told."""
    return bool(one.history and one.exc_message and one.history.strip() == one.exc_message.strip())


def block(text: str, *, identity: str, title: str | None = None) -> Component:
    """Preformatted text with a button that copies it, cut where a page would choke on it."""
    shown = plain(text[:MAX_TEXT])
    if len(text) > MAX_TEXT:
        shown += f"\n… {len(text) - MAX_TEXT:,} more characters"
    copy = dcc.Clipboard(target_id=identity, title="Copy", className="hg-copy")
    head = html.Div(html.H3(title), className="hg-textblock-head") if title else None
    pre = html.Pre(shown, id=identity, className="hg-raw", tabIndex=0)
    return html.Div([head, html.Div([pre, copy], className="hg-textbox")], className="hg-textblock")
