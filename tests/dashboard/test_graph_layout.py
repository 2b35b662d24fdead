"""The layout of a graph: forward edges, a place for every node, the same every time, whatever the graph."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heliograph_dashboard.figures.graph_layout import STEP, Layout, components, layered, layers

Edges = list[tuple[int, int]]


def of(nodes: int, edges: Edges) -> Layout:
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    return layered(nodes, pairs[:, 0], pairs[:, 1])


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool) -> tuple[int, Edges]:
    nodes = draw(st.integers(1, 60))
    node = st.integers(0, nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=150))
    if acyclic:
        order = draw(st.permutations(range(nodes)))
        edges = [(order[min(a, b)], order[max(a, b)]) for a, b in edges if a != b]
    return nodes, edges


@given(graphs(acyclic=True))
def test_every_edge_goes_forward(graph: tuple[int, Edges]) -> None:
    nodes, edges = graph
    layout = of(nodes, edges)
    assert all(layout.x[a] < layout.x[b] for a, b in edges)


@given(graphs(acyclic=False))
def test_no_two_nodes_at_one_place_even_with_circles(graph: tuple[int, Edges]) -> None:
    nodes, edges = graph
    layout = of(nodes, edges)
    assert len(set(zip(layout.x.tolist(), layout.y.tolist(), strict=True))) == nodes
    assert layout.x.min() >= 0
    assert layout.y.min() >= 0


@given(graphs(acyclic=False))
def test_the_same_graph_is_drawn_the_same_way(graph: tuple[int, Edges]) -> None:
    nodes, edges = graph
    one, two = of(nodes, edges), of(nodes, edges)
    assert np.array_equal(one.x, two.x)
    assert np.array_equal(one.y, two.y)


@given(graphs(acyclic=True))
def test_a_layer_is_the_longest_way(graph: tuple[int, Edges]) -> None:
    nodes, edges = graph
    expected = [0] * nodes
    for _ in range(nodes):
        for a, b in edges:
            expected[b] = max(expected[b], expected[a] + 1)
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    assert layers(nodes, pairs[:, 0], pairs[:, 1]).tolist() == expected


@given(graphs(acyclic=False))
def test_components_are_what_is_connected(graph: tuple[int, Edges]) -> None:
    nodes, edges = graph
    label = list(range(nodes))
    for _ in range(nodes):
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    assert components(nodes, pairs[:, 0], pairs[:, 1]).tolist() == label


def test_pipelines_are_straight_lines_below_each_other() -> None:
    pipelines, length = 5, 4
    edges = [(i * length + k, i * length + k + 1) for i in range(pipelines) for k in range(length - 1)]
    y = of(pipelines * length, edges).y.reshape(pipelines, length)
    assert (y == y[:, :1]).all()
    assert len(set(y[:, 0].tolist())) == pipelines


def test_what_collects_stands_in_the_middle_of_what_it_collects() -> None:
    layout = of(8, [(0, k) for k in range(1, 7)] + [(k, 7) for k in range(1, 7)])
    middle = layout.y[1:7].mean()
    assert abs(layout.y[0] - middle) <= STEP / 2
    assert abs(layout.y[7] - middle) <= STEP / 2


def test_a_bag_of_tasks_is_a_block_and_not_a_line() -> None:
    layout = of(10_000, [])
    rows = layout.height / STEP
    assert 1 < layout.width / rows < 3


def test_no_node_at_all() -> None:
    assert of(0, []).x.size == 0
