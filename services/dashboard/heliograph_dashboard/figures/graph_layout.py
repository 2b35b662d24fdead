"""Where the nodes of a graph are drawn: in layers from left to right, every edge forward, no two nodes in one place.

In: how many nodes, and edges as two arrays of node numbers (from, to). Out: integer coordinates, the same for the same
graph every time. Pure numpy and lists; 20,000 nodes take a fraction of a second, so callers keep the answer.

A node's layer is the longest way to it. A layer of many nodes is folded into a block of several columns, because a
bag of ten thousand independent tasks is a square that can be looked at and not a line. Within its layer a node stands
where its neighbours are (their mean, several sweeps in both directions), and components stay together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Reals = NDArray[np.float64]

ASPECT: Final = 1.6
"""Width to height, in nodes, that layers are folded for."""
UNFOLDED: Final = 24
"""Layers of up to so many nodes stay one column."""
SWEEPS: Final = 16
MANY_LAYERS: Final = 512
"""With more layers than that, nodes stay where their order puts them."""
STEP: Final = 8
"""Rows are so many units of y apart, so that a node can stand between two others."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Integer coordinates by node number; y grows downwards. `layer` is the longest way to a node."""

    x: Ints
    y: Ints
    layer: Ints

    @property
    def width(self) -> int:
        return int(self.x.max()) + 1 if self.x.size else 0

    @property
    def height(self) -> int:
        return int(self.y.max()) + 1 if self.y.size else 0


def layered(nodes: int, start: Ints, end: Ints) -> Layout:
    """Coordinates of a graph's nodes. Edges of a cycle that cannot all go forward are let go backward."""
    start, end = _without_loops(start, end)
    layer = layers(nodes, start, end)
    if not nodes:
        return Layout(x=layer, y=layer, layer=layer)
    order = _ordered(layer, components(nodes, start, end), start, end)
    sizes = np.bincount(layer)
    rows_most = _rows(sizes)
    columns = -(-sizes // rows_most)
    gap = _gap(rows_most, sizes.size)
    left = np.concatenate(([0], np.cumsum(columns + gap)[:-1]))
    x = left[layer] + order % columns[layer]
    rows = order // columns[layer]
    y = (rows + 0.5) * (rows_most / -(-sizes // columns)[layer])
    _towards_neighbours(y, layer, rows, columns == 1, (start, end))
    return Layout(x=x, y=_apart(np.rint((y - y.min()) * STEP).astype(np.int64), layer, rows), layer=layer)


def layers(nodes: int, start: Ints, end: Ints) -> Ints:
    """The number of edges of the longest way to each node, 0 for those that wait for nothing."""
    following: list[list[int]] = [[] for _ in range(nodes)]
    waiting = [0] * nodes
    for a, b in zip(start.tolist(), end.tolist(), strict=True):
        following[a].append(b)
        waiting[b] += 1
    found = [0] * nodes
    done = [False] * nodes
    ready = [node for node in range(nodes) if not waiting[node]]
    unbroken = 0
    while True:
        while ready:
            node = ready.pop()
            done[node] = True
            for other in following[node]:
                if not done[other]:
                    found[other] = max(found[other], found[node] + 1)
                    waiting[other] -= 1
                    if not waiting[other]:
                        ready.append(other)
        # Whatever is left waits for itself in a circle, which a broken recording can claim: cut it at its first node.
        while unbroken < nodes and done[unbroken]:
            unbroken += 1
        if unbroken == nodes:
            return np.asarray(found, dtype=np.int64)
        waiting[unbroken] = 0
        ready.append(unbroken)


def components(nodes: int, start: Ints, end: Ints) -> Ints:
    """For each node the lowest number of a node that it is connected with."""
    label = np.arange(nodes, dtype=np.int64)
    while True:
        before = label
        label = label.copy()
        np.minimum.at(label, end, before[start])
        np.minimum.at(label, start, before[end])
        label = label[label]  # jump on to the label of the label: long chains take few rounds
        label = label[label]
        if np.array_equal(label, before):
            return label


def _without_loops(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    keep = start != end
    return start[keep], end[keep]


def _rows(sizes: Ints) -> int:
    """The height, in nodes, at which all layers together have the aspect that is wanted."""
    low, high = min(UNFOLDED, int(sizes.max())), max(1, int(sizes.max()))
    while low < high:
        middle = (low + high) // 2
        width = int((-(-sizes // middle)).sum()) + sizes.size * _gap(middle, sizes.size)
        if width > ASPECT * middle:
            low = middle + 1
        else:
            high = middle
    # A deep graph is wide whatever its height; it is not made higher than its largest layer needs.
    return low


def _gap(rows: int, layers: int) -> int:
    """Empty columns between two layers, in which the edges are seen."""
    return max(1, rows // (2 * layers))


def _ordered(layer: Ints, component: Ints, start: Ints, end: Ints) -> Ints:
    """Each node's place within its layer."""
    sizes = np.bincount(layer)
    first = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    place = np.arange(layer.size, dtype=np.float64)
    for sweep in range(min(SWEEPS, 2 * sizes.size)):
        if sweep:
            a, b = (start, end) if sweep % 2 else (end, start)
            place = _means(place, a, b)
        by_place = np.lexsort((np.arange(layer.size), place, component, layer))
        rank = np.empty(layer.size, dtype=np.int64)
        rank[by_place] = np.arange(layer.size) - first[layer[by_place]]
        place = (rank + 0.5) / sizes[layer]
    return rank


def _means(value: Reals, start: Ints, end: Ints) -> Reals:
    """Each node's mean value of the nodes before it; its own value where there are none."""
    count = np.bincount(end, minlength=value.size)
    total = np.bincount(end, weights=value[start], minlength=value.size)
    return np.where(count > 0, total / np.maximum(count, 1), value)


def _towards_neighbours(y: Reals, layer: Ints, rows: Ints, single: NDArray[np.bool_], edges: tuple[Ints, Ints]) -> None:
    """Layers of one column move as near to their neighbours as their order lets; folded ones fill the height."""
    sizes = np.bincount(layer)
    if sizes.size > MANY_LAYERS:
        return
    members = _members(layer, rows, sizes)
    forth = range(1, sizes.size)
    for levels, back in ((forth, False), (range(sizes.size - 1), True), (forth, False)):
        before, these = reversed(edges) if back else edges
        by_level = _by_target(layer, before, these)
        for level in reversed(levels) if back else levels:
            if single[level]:
                _settle(y, members[level], *by_level[level])


def _members(layer: Ints, rows: Ints, sizes: Ints) -> list[Ints]:
    """The nodes of each layer in their order."""
    return np.split(np.lexsort((rows, layer)), np.cumsum(sizes)[:-1])


def _by_target(layer: Ints, a: Ints, b: Ints) -> list[tuple[Ints, Ints]]:
    """The edges (a, b) by the layer of b."""
    order = np.argsort(layer[b], kind="stable")
    cuts = np.cumsum(np.bincount(layer[b], minlength=int(layer.max()) + 1))[:-1]
    return list(zip(np.split(a[order], cuts), np.split(b[order], cuts), strict=True))


def _settle(y: Reals, nodes: Ints, before: Ints, these: Ints) -> None:
    """Move a layer's nodes to the mean of the nodes before them, one row apart at least and in their order.

    The nearest such places in the sense of least squares: pool adjacent violators.
    """
    count = np.bincount(these, minlength=y.size)[nodes]
    total = np.bincount(these, weights=y[before], minlength=y.size)[nodes]
    wanted = np.where(count > 0, total / np.maximum(count, 1), y[nodes]) - np.arange(nodes.size)
    pools: list[tuple[float, int]] = []
    for value in wanted.tolist():
        sum_, size = value, 1
        while pools and pools[-1][0] / pools[-1][1] > sum_ / size:
            more, many = pools.pop()
            sum_, size = sum_ + more, size + many
        pools.append((sum_, size))
    places = np.repeat([s / n for s, n in pools], [n for _, n in pools])
    y[nodes] = places + np.arange(nodes.size)


def _apart(y: Ints, layer: Ints, rows: Ints) -> Ints:
    """Rounding may have put two rows of a layer on one line: each is at least one unit below the one before."""
    order = np.lexsort((rows, layer))
    value, level, row = y[order], layer[order], rows[order]
    begins = np.concatenate(([True], level[1:] != level[:-1]))
    # y - row may not fall within a layer: a running maximum, begun anew in each layer by an offset larger than any y.
    offset = np.cumsum(begins) * (2 * int(value.max() + row.max()) + 2)
    value = np.maximum.accumulate(value - row + offset) - offset + row
    placed = np.empty_like(y)
    placed[order] = value
    return placed
