"""Stands in for Graphviz's `dot` where it is not installed: gives every node of a graph a place.

In: the arguments that pydot calls `dot` with; the last one is a file in DOT. Out: the same graph with positions. The
layout is of no beauty; what the tests want to see is that the page draws *our* tasks and dependencies.
"""

import sys

import pydot

(graph,) = pydot.graph_from_dot_file(sys.argv[-1])
for number, node in enumerate(graph.get_nodes()):
    node.set_pos(f'"{number % 7},{number // 7}"')
sys.stdout.write(graph.to_string())
