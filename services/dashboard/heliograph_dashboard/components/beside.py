"""The tasks around a task: what it waits for, what waits for it, what it joined; a page of each at a time.

In: neighbours as read from the store. Out: chips that lead to them, and a button for the next page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dash import dcc, html
from dash.development.base_component import Component

from heliograph_dashboard.components.states import app_dot, state_label
from heliograph_dashboard.components.text import cut
from heliograph_dashboard.figures.colours import state_colour
from heliograph_dashboard.urls import href
from heliograph_store.read.one_task import COUNTED, Beside, Direction

PAGE: Final = 60
TITLES: Final[Mapping[Direction, str]] = {
    "depends_on": "Waits for",
    "needed_by": "Needed by",
    "joined": "Joined",
    "joined_by": "Joined by",
}


def section(direction: Direction, total: int, first: Sequence[Beside], *, run_path: str) -> Component:
    """One direction with its first page; nothing is drawn for a direction without tasks."""
    return html.Div(
        [
            html.H3([TITLES[direction], " ", html.Span(_told(total), className="hg-muted")]),
            html.Div(page(direction, total, first, begin=0, run_path=run_path), id=f"task-beside-{direction}"),
        ],
        className="hg-beside",
    )


def page(direction: Direction, total: int, found: Sequence[Beside], *, begin: int, run_path: str) -> list[Component]:
    """The chips of one page, which is the `begin`-th task and those after it, and the way to the next."""
    chips = html.Div([_chip(one, run_path) for one in found], className="hg-chips")
    if total <= PAGE:
        return [chips]
    end = begin + len(found)
    more = end < total or (total >= COUNTED and len(found) == PAGE)
    after = [*found[-1].key, end] if more and found else None
    turn = html.Button(
        f"Next {min(PAGE, total - end) if total < COUNTED else PAGE}" if more else "Back to the first",
        id=f"task-more-{direction}",
        className="hg-turn",
    )
    told = html.Span(f"{begin + 1:,}–{end:,} of {_told(total)} ", className="hg-muted")
    return [chips, html.P([told, turn], className="hg-remark"), dcc.Store(id=f"task-after-{direction}", data=after)]


def _told(total: int) -> str:
    return f"{total:,}" if total < COUNTED else f"{COUNTED:,} or more"


def _chip(one: Beside, run_path: str) -> Component:
    joined = f", joined by try {one.join_try}" if one.join_try is not None else ""
    return dcc.Link(
        [app_dot(state_colour(one.state)), f"{one.number} {cut(one.app, 32)}"],
        href=href(f"{run_path}/tasks/{one.task}"),
        className="hg-chip",
        title=f"{cut(one.app, 120) or 'not described yet'}: {state_label(one.state)}{joined}",
    )
