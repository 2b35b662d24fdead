"""A task's tries as a table: where each ran, how long it waited and ran, what it used, how it ended.

In: tries, newest last. Out: a table, whose numbers of tries lead to them; a table of every state and its time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dash import dcc, html
from dash.development.base_component import Component

from heliograph_dashboard.components.states import state_badge, state_label
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.components.times import duration, size, when
from heliograph_store.read.tries import Try

MAX_ROWS: Final = 50
"""The last ones are shown; nobody reads more of them in a table."""
_HEADS: Final = (
    ("Try", ""), ("State", ""), ("Began", ""), ("Waited", "hg-num"), ("Ran", "hg-num"),
    ("CPU", "hg-num"), ("Peak memory", "hg-num"), ("Host", ""), ("Executor", ""), ("Block", ""), ("Pool", ""),
    ("Worker", ""), ("Process", "hg-num"), ("Exit", "hg-num"),
)  # fmt: skip


def try_table(
    tries: Sequence[Try], chosen: int | None, *, to_try: Callable[[int], str], to_host: Callable[[str], str | None]
) -> Component:
    """`chosen` is marked; `to_host` may know no page for a host."""
    shown = tries[-MAX_ROWS:]
    left_out = len(tries) - len(shown)
    table = html.Table(
        [
            html.Thead(html.Tr([html.Th(title, className=kind, scope="col") for title, kind in _HEADS])),
            html.Tbody([_row(one, one.try_ == chosen, to_try, to_host) for one in shown]),
        ],
        className="hg-plain",
    )
    note = html.P(f"{left_out:,} earlier tries are not shown.", className="hg-remark") if left_out else None
    return html.Div([html.Div(table, className="hg-plain-wrap"), note])


def state_times(tries: Sequence[Try]) -> Component | None:
    """Every state of the tries that `try_table` shows, when it was first seen, and how long after the one before."""
    rows = []
    for one in tries[-MAX_ROWS:]:
        before: int | None = None
        for state, at in sorted(one.states.items(), key=lambda item: item[1]):
            after = "" if before is None else duration(at - before)
            cells = [(str(one.try_), ""), (state_label(state), ""), (when(at), ""), (after, "hg-num")]
            rows.append(html.Tr([html.Td(content, className=kind) for content, kind in cells]))
            before = at
    if not rows:
        return None
    heads = html.Tr([html.Th(name, scope="col") for name in ("Try", "State", "Seen first", "After the one before")])
    table = html.Table([html.Thead(heads), html.Tbody(rows)], className="hg-plain")
    return html.Details(
        [html.Summary("Every state and its time"), html.Div(table, className="hg-plain-wrap")], className="hg-more"
    )


def _row(one: Try, chosen: bool, to_try: Callable[[int], str], to_host: Callable[[str], str | None]) -> Component:
    cpu = None if one.cpu_user is None and one.cpu_system is None else (one.cpu_user or 0) + (one.cpu_system or 0)
    link = to_host(one.host) if one.host else None
    host: Component | str = dcc.Link(cut(one.host, 40), href=link) if link else cut(one.host, 40)
    cells: list[tuple[Component | str | None, str]] = [
        (dcc.Link(str(one.try_), href=to_try(one.try_)), ""),
        (state_badge(one.state), ""),
        (when(one.began or one.states.get("running")), ""),
        (_waited(one), "hg-num"),
        (duration(ran(one)), "hg-num"),
        (duration(cpu), "hg-num"),
        (_peak(one), "hg-num"),
        (host or "—", ""),
        (cut(one.executor, 40) or "—", ""),
        (cut(one.block, 24) or "—", ""),
        (html.Span(cut(one.pool, 12), title=cut(one.pool, 200)) if one.pool else "—", ""),
        (cut(one.worker, 24) or "—", ""),
        (_process(one), "hg-num"),
        ("—" if one.exit is None else str(one.exit), "hg-num"),
    ]
    return html.Tr(
        [html.Td(content, className=kind) for content, kind in cells], className="hg-chosen" if chosen else None
    )


def ran(one: Try) -> int | None:
    """How long the function ran, by its own clock where that is known."""
    if one.elapsed is not None:
        return one.elapsed
    begin, end = one.began or one.states.get("running"), one.ended or one.states.get("running_ended")
    return end - begin if begin is not None and end is not None else None


def _waited(one: Try) -> Component | str:
    if one.waited is None:
        return "—"
    if one.waited < 0:
        return html.Span(f"{duration(one.waited)} ⚠", title="It began before it was launched: two clocks that differ.")
    return duration(one.waited)


def _peak(one: Try) -> Component | str:
    if one.peak_rss is None or one.peak_exact:
        return size(one.peak_rss)
    return html.Span(f"≤ {size(one.peak_rss)}", title="The process had used that much before: an upper bound.")


def _process(one: Try) -> Component | str:
    if one.pid is None:
        return "—"
    thread = f"thread {one.thread}" if one.thread is not None else None
    shared = "ran other tasks at the same time" if one.shared else None
    notes = ", ".join(note for note in (thread, shared) if note)
    return html.Span(f"{one.pid}{' ⧉' if one.shared else ''}", title=notes or None)
