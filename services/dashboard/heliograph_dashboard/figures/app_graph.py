"""The condensed graph: a card for each app, and how often its tasks wait for those of others.

In: tasks by app and state, edges between apps. Out: a plotly figure as plain dicts. Every card has the app's name, how
many tasks it has, and their states as a segmented bar; `customdata` of a card is the app's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10
from typing import Any, Final, NamedTuple

import numpy as np

from heliograph_dashboard.components.states import by_group, state_label
from heliograph_dashboard.figures.colours import GROUP, app_colours, template
from heliograph_dashboard.figures.graph import Colour, Figure, join_colour
from heliograph_dashboard.figures.graph_layout import STEP, layered, layers
from heliograph_dashboard.figures.labels import app_label
from heliograph_store.read.app_graph import AppEdge
from heliograph_store.read.runs import AppCounts

MOST: Final = 60
"""Apps with a card of their own; the others share one."""
WIDE, HIGH = 0.37, 0.36
"""Half of a card's width and height, where columns and rows are 1 apart."""
COLUMN, ROW = 164, 92
"""Pixels that a column and a row should have at least."""
SCREEN: Final = 720
"""Pixels that columns share at least, when they need no more."""
_STEPS = np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True, kw_only=True)
class Card:
    """A node of the condensed graph; `others` > 0: it stands for so many apps."""

    app: str | None
    states: Mapping[str | None, int]
    others: int = 0

    @property
    def tasks(self) -> int:
        return sum(self.states.values())

    def title(self, length: int) -> str:
        return f"{self.others} more apps" if self.others else app_label(self.app, length)


class Link(NamedTuple):
    """How often tasks of one card wait for those of another; `about`: the numbers are estimates."""

    dependencies: int = 0
    joins: int = 0
    about: bool = False

    @property
    def total(self) -> int:
        return self.dependencies + self.joins


Place = tuple[float, float]
"""Column and row."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure and how many pixels it needs to be legible."""

    figure: Figure
    width: int
    height: int


def app_figure(counts: Sequence[AppCounts], edges: Sequence[AppEdge], *, colour: Colour, theme: str | None) -> Drawing:
    """The condensed graph of a run."""
    cards, links = condensed(counts, edges)
    places, ways = _placed(len(cards), list(links))
    colours = app_colours(count.app for count in counts)
    shapes: list[Figure] = []
    notes: list[Figure] = []
    high = max((y for _, y in places), default=0.0)
    wide = max((x for x, _ in places), default=0.0)
    column = max(COLUMN, SCREEN / (wide + 1.1))
    for card, (x, y) in zip(cards, places, strict=True):
        paint = colours[card.app] if colour == "app" else GROUP[_leading(card.states)]
        shapes += _card_shapes(card, x, y, paint, theme)
        notes += _card_texts(card, x, y, theme, (2 * WIDE - 0.05) * column)
    traces = list(_link_traces(links, ways, theme, notes))
    traces.append(_hover_trace(cards, links, places))
    axis = {"visible": False, "fixedrange": False}
    figure = {
        "data": traces,
        "layout": {
            "template": template(theme),
            "xaxis": {**axis, "range": [-0.55, wide + 0.55]},
            "yaxis": {**axis, "range": [high + 0.65, -0.65]},
            "shapes": shapes,
            "annotations": notes,
            "margin": {"l": 4, "r": 4, "t": 4, "b": 4},
            "hovermode": "closest",
            "dragmode": "pan",
            "clickmode": "event",
            "showlegend": False,
            "uirevision": "apps",
        },
    }
    return Drawing(
        figure=figure, width=round((wide + 1.1) * COLUMN), height=max(260, min(2400, round((high + 1.3) * ROW)))
    )


def condensed(
    counts: Sequence[AppCounts], edges: Sequence[AppEdge], most: int = MOST
) -> tuple[list[Card], dict[tuple[int, int], Link]]:
    """Cards, and the links between their places. Small apps beyond `most` share the last card."""
    largest = sorted(counts, key=lambda c: (-c.total, c.app or ""))
    own = largest if len(largest) <= most else largest[: most - 1]
    cards = [Card(app=c.app, states=c.states) for c in sorted(own, key=lambda c: (c.app is None, c.app or ""))]
    place: dict[str | None, int] = {card.app: index for index, card in enumerate(cards)}
    rest = largest[len(own) :]
    if rest:
        states: dict[str | None, int] = {}
        for count in rest:
            place[count.app] = len(cards)
            for state, tasks in count.states.items():
                states[state] = states.get(state, 0) + tasks
        cards.append(Card(app=None, states=states, others=len(rest)))
    links: dict[tuple[int, int], Link] = {}
    for edge in edges:
        if edge.start in place and edge.end in place:
            key = (place[edge.start], place[edge.end])
            had = links.get(key, Link())
            links[key] = Link(had.dependencies + edge.dependencies, had.joins + edge.joins, had.about or edge.about)
    return cards, links


def _placed(cards: int, links: Sequence[tuple[int, int]]) -> tuple[list[Place], dict[tuple[int, int], list[Place]]]:
    """Where the cards are, and for every link the places it goes through: one in every column on its way, so that it
    passes between the cards there."""
    ends = np.asarray([(a, b) for a, b in links if a != b], dtype=np.int64).reshape(-1, 2)
    column = layers(cards, ends[:, 0], ends[:, 1]).tolist()
    through: dict[tuple[int, int], list[int]] = {}
    steps: list[tuple[int, int]] = []
    nodes = cards
    for a, b in links:
        between = max(0, column[b] - column[a] - 1)
        through[a, b] = [a, *range(nodes, nodes + between), b]
        nodes += between
        if a != b and column[b] > column[a]:
            steps += pairwise(through[a, b])
    forward = np.asarray(steps, dtype=np.int64).reshape(-1, 2)
    layout = layered(nodes, forward[:, 0], forward[:, 1])
    order = {x: at for at, x in enumerate(sorted(set(layout.x.tolist())))}
    places = [(float(order[int(x)]), int(y) / STEP) for x, y in zip(layout.x, layout.y, strict=True)]
    return places[:cards], {link: [places[node] for node in way] for link, way in through.items()}


def _leading(states: Mapping[str | None, int]) -> str:
    """The group of states that colours a card: what needs attention first."""
    groups = by_group(states)
    return next((group for group in ("failed", "retrying", "running", "waiting", "done") if groups[group]), "waiting")


def _card_shapes(card: Card, x: float, y: float, paint: str, theme: str | None) -> Iterator[Figure]:
    dark = theme == "dark"
    box = {"type": "rect", "layer": "above"}
    yield {
        **box, "x0": x - WIDE, "x1": x + WIDE, "y0": y - HIGH, "y1": y + HIGH,
        "fillcolor": "#22272e" if dark else "#ffffff", "line": {"width": 1, "color": "#484f58" if dark else "#ced4da"},
    }  # fmt: skip
    yield {
        **box, "x0": x - WIDE, "x1": x - WIDE + 0.025, "y0": y - HIGH, "y1": y + HIGH, "fillcolor": paint,
        "line": {"width": 0},
    }  # fmt: skip
    left, total = x - WIDE + 0.06, max(1, card.tasks)
    room, bottom = 2 * WIDE - 0.09, y + HIGH - 0.09
    groups = by_group(card.states)
    for group in ("done", "failed", "retrying", "running", "waiting"):
        share = groups[group] / total
        if share:
            part = {**box, "y0": bottom - 0.07, "y1": bottom, "fillcolor": GROUP[group], "line": {"width": 0}}
            yield {**part, "x0": left, "x1": left + room * share}
            left += room * share


def _card_texts(card: Card, x: float, y: float, theme: str | None, pixels: float) -> Iterator[Figure]:
    dark = theme == "dark"
    text = {"x": x - WIDE + 0.05, "xanchor": "left", "showarrow": False, "align": "left"}
    yield {
        **text, "y": y - HIGH + 0.17, "text": f"<b>{card.title(round(pixels / 8))}</b>",
        "font": {"size": 13, "color": "#d6dde5" if dark else "#1f2933"},
    }  # fmt: skip
    groups = by_group(card.states)
    said = [f"{groups[group]:,} {group}" for group in ("failed", "running") if groups[group]][:1]
    words = " · ".join([f"{card.tasks:,} task{'s' * (card.tasks != 1)}", *said])
    if len(words) > pixels / 6:
        words = " · ".join([f"{card.tasks:,}", *said])
    yield {
        **text, "y": y + 0.04, "text": words,
        "font": {"size": 11, "color": "#98a3af" if dark else "#5b6672"},
    }  # fmt: skip


def _link_traces(
    links: Mapping[tuple[int, int], Link],
    ways: Mapping[tuple[int, int], Sequence[Place]],
    theme: str | None,
    notes: list[Figure],
) -> Iterator[Figure]:
    """A curve for every pair of apps; the numbers on it go to `notes`."""
    dark = theme == "dark"
    most = max((link.total for link in links.values()), default=1)
    grey, violet = ("#768390" if dark else "#9aa5b1"), join_colour(theme)
    for (a, b), link in sorted(links.items()):
        total, joins = link.total, link.joins
        only_joins = joins and not link.dependencies
        paint = violet if only_joins else grey
        way = ways[a, b]
        x, y = _curve(way) if a != b else _loop(way[0])
        size = [0] * (len(x) - 1) + [12]
        yield {
            "type": "scatter", "mode": "lines+markers", "x": x, "y": y, "hoverinfo": "skip", "showlegend": False,
            "line": {
                "color": paint, "width": 1.2 + 2.8 * (log10(total + 1) / log10(most + 1)),
                "dash": "dot" if only_joins else "solid",
            },
            "marker": {
                "symbol": "arrow", "angleref": "previous", "size": size, "color": paint, "opacity": 1,
                "line": {"width": 0},
            },
        }  # fmt: skip
        middle = len(x) // 2
        number = f"≈ {_rounded(total):,}" if link.about else f"{total:,}"
        words = number + (" joins" if only_joins else f" ({joins:,} joins)" if joins else "")
        notes.append({
            "x": x[middle], "y": y[middle], "text": words, "showarrow": False,
            "bgcolor": "#1c2128" if dark else "#ffffff", "borderpad": 1,
            "font": {"size": 11, "color": violet if joins else ("#98a3af" if dark else "#5b6672")},
        })  # fmt: skip


def _rounded(number: int) -> int:
    """To two digits: an estimate does not look exact."""
    return round(number, min(0, 2 - len(str(number))))


def _curve(way: Sequence[Place]) -> tuple[list[float], list[float]]:
    """From the right side of one card to the left side of another, level in every column on its way; what goes
    backward swings below both."""
    first, last = (way[0][0] + WIDE, way[0][1]), (way[-1][0] - WIDE - 0.01, way[-1][1])
    if last[0] < first[0]:
        points = [first, (first[0] + 0.3, first[1] + 0.9), (last[0] - 0.3, last[1] + 0.9), last]
        return _bezier(np.asarray(points))
    stops = [first, *(stop for x, y in way[1:-1] for stop in ((x - WIDE, y), (x + WIDE, y))), last]
    x: list[float] = []
    y: list[float] = []
    for (x0, y0), (x1, y1) in pairwise(stops):
        reach = (x1 - x0) / 2
        more = _bezier(np.asarray([(x0, y0), (x0 + reach, y0), (x1 - reach, y1), (x1, y1)]))
        x += more[0]
        y += more[1]
    return x, y


def _loop(at: tuple[float, float]) -> tuple[list[float], list[float]]:
    x, y = at
    return _bezier(np.asarray([(x + 0.1, y + HIGH), (x + 0.16, y + 0.72), (x - 0.16, y + 0.72), (x - 0.1, y + HIGH)]))


def _bezier(points: Any) -> tuple[list[float], list[float]]:
    t = _STEPS[:, None]
    curve = (
        (1 - t) ** 3 * points[0] + 3 * t * (1 - t) ** 2 * points[1] + 3 * t**2 * (1 - t) * points[2] + t**3 * points[3]
    )
    return [round(float(v), 3) for v in curve[:, 0]], [round(float(v), 3) for v in curve[:, 1]]


def _hover_trace(
    cards: Sequence[Card], links: Mapping[tuple[int, int], Link], places: Sequence[tuple[float, float]]
) -> Figure:
    """Unseen marks that cover the cards: what the pointer meets."""
    waits: dict[int, int] = {}
    for (_, end), link in links.items():
        waits[end] = waits.get(end, 0) + link.total
    x, y, texts, apps = [], [], [], []
    for index, (card, place) in enumerate(zip(cards, places, strict=True)):
        lines = [f"<b>{card.title(80)}</b>", f"{card.tasks:,} tasks"]
        lines += [f"{n:,} {state_label(s)}" for s, n in sorted(card.states.items(), key=lambda item: -item[1]) if n]
        lines.append(f"waits {waits.get(index, 0):,} times for others")
        for shift in (-0.24, -0.12, 0.0, 0.12, 0.24):
            x.append(round(place[0] + shift, 3))
            y.append(round(place[1], 3))
            texts.append("<br>".join(lines))
            apps.append(card.app if not card.others else None)
    return {
        "type": "scatter", "mode": "markers", "x": x, "y": y, "text": texts, "customdata": apps, "showlegend": False,
        "hovertemplate": "%{text}<extra></extra>", "marker": {"size": 56, "symbol": "square", "opacity": 0},
    }  # fmt: skip
