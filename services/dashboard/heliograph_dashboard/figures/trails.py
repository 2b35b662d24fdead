"""Edges as few long lines: what a browser gets for the lines of a large graph.

In: edges as two arrays of node numbers. Out: one sequence of nodes with -1 for gaps; walking it draws every edge
exactly once. An edge by itself takes three entries (from, to, gap); a trail of n edges takes n + 2, so a graph is sent
and drawn in about half of the numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
GAP = -1


def trails(nodes: int, start: Ints, end: Ints) -> Ints:
    """A cover of the graph's edges by trails, each as long as it gets; directions do not matter to a line."""
    at: list[list[int]] = [[] for _ in range(nodes)]
    ends = list(zip(start.tolist(), end.tolist(), strict=True))
    for edge, (a, b) in enumerate(ends):
        at[a].append(edge)
        at[b].append(edge)
    used = bytearray(len(ends))
    walked: list[int] = []
    # Trails that begin where an odd number of edges meet leave only rings for the second round.
    odd = [node for node in range(nodes) if len(at[node]) % 2]
    for first in (*odd, *range(nodes)):
        while at[first]:
            trail = _walk(first, at, ends, used)
            if len(trail) > 1:
                walked += trail
                walked.append(GAP)
    return np.asarray(walked[:-1], dtype=np.int64)


def _walk(node: int, at: list[list[int]], ends: list[tuple[int, int]], used: bytearray) -> list[int]:
    trail = [node]
    while at[node]:
        edge = at[node].pop()
        if used[edge]:
            continue
        used[edge] = True
        a, b = ends[edge]
        node = b if node == a else a
        trail.append(node)
    return trail
