"""The graph's reads, on both databases: what they say is what the edges say, however they are bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from heliograph.messages import Record, TaskDescribed, TaskState
from heliograph_store.migrate import migrate
from heliograph_store.read import app_graph, graph, runs, tasks
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.stream import START, batches, numbered, recorded_run


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


def write(store: Store, records: list[tuple[str, Record]]) -> int:
    Writer(store).write(batches(numbered(records), 500))
    found = runs.find_run(store, "run-1")
    assert found is not None
    return found.id


def described(number: int, app: str, depends: list[int]) -> list[tuple[str, Record]]:
    head = {"origin": "parsl", "number": number}
    return [
        ("run-1", TaskDescribed(at=START + number, app=app, depends=depends, **head)),
        ("run-1", TaskState(at=START + number, try_=0, state="pending", **head)),
    ]


def test_the_whole_graph_is_all_tasks_and_edges(store: Store) -> None:
    run = write(store, recorded_run(Random(5), tasks=80, samples=False))
    whole = graph.whole_graph(store, run)
    assert whole is not None
    by_key = {node.task: node for node in whole.nodes}
    found = {(whole.nodes[end].task, whole.nodes[start].task, joins) for start, end, joins in whole.edges}
    edges = tasks.task_edges(store, run)
    assert found == {(edge.task, edge.depends_on, edge.join_try is not None) for edge in edges}
    for task in tasks.task_page(store, run, limit=1000):
        node = by_key[task.task]
        assert (node.number, node.app, node.state) == (task.number, task.app, task.state)
    assert graph.whole_graph(store, run, limit=79) is None


def test_edges_of_apps_are_those_of_their_tasks(store: Store) -> None:
    run = write(store, recorded_run(Random(6), tasks=80, samples=False))
    whole = graph.whole_graph(store, run)
    assert whole is not None
    expected: Counter[tuple[str | None, str | None, bool]] = Counter()
    app = {node.task: node.app for node in whole.nodes}
    for edge in tasks.task_edges(store, run):
        expected[(app[edge.depends_on], app[edge.task], edge.join_try is not None)] += 1
    found: Counter[tuple[str | None, str | None, bool]] = Counter()
    for app_edge in app_graph.app_edges(store, run):
        assert not app_edge.about
        found[(app_edge.start, app_edge.end, False)] += app_edge.dependencies
        found[(app_edge.start, app_edge.end, True)] += app_edge.joins
    assert +found == expected


def test_a_large_run_is_estimated_and_its_small_apps_are_counted(store: Store) -> None:
    records = described(0, "first", [])
    for number in range(1, 400):
        records += described(number, "many" if number % 40 else "rare", [number - 1])
    run = write(store, records)
    found = {(edge.start, edge.end): edge for edge in app_graph.app_edges(store, run, counted=100, few=20, sampled=128)}
    assert (found["many", "rare"].dependencies, found["many", "rare"].about) == (9, False)
    inner = found["many", "many"]
    assert inner.about
    assert 330 < inner.dependencies < 400


def test_a_neighbourhood_is_what_can_be_reached_in_so_many_steps(store: Store) -> None:
    run = write(store, [r for n in range(20) for r in described(n, "step", [n - 1] if n else [])])
    near = graph.neighbourhood(store, run, 10, depth=3)
    assert near is not None
    assert [node.task for node in near.nodes] == list(range(7, 14))
    assert near.hidden == {0: (1, 0), 6: (0, 1)}
    assert graph.neighbourhood(store, run, 999) is None


def test_a_crowd_of_neighbours_is_cut_and_counted(store: Store) -> None:
    records = described(0, "root", [])
    for number in range(1, 61):
        records += described(number, "leaf", [0])
    run = write(store, records)
    near = graph.neighbourhood(store, run, 0, depth=2, fan=10)
    assert near is not None
    assert [node.task for node in near.nodes] == list(range(11))
    assert near.hidden == {0: (0, 50)}
    few = graph.neighbourhood(store, run, 0, depth=2, limit=5)
    assert few is not None
    assert len(few.nodes) == 5


def test_siblings_are_not_neighbours(store: Store) -> None:
    run = write(store, [*described(0, "a", []), *described(1, "b", [0]), *described(2, "b", [0])])
    near = graph.neighbourhood(store, run, 1, depth=5)
    assert near is not None
    assert [node.task for node in near.nodes] == [0, 1]


def test_a_task_known_only_from_an_edge_is_drawn(store: Store) -> None:
    run = write(store, described(5, "late", [3]))
    whole = graph.whole_graph(store, run)
    assert whole is not None
    assert [(node.task, node.app) for node in whole.nodes] == [(3, None), (5, "late")]
    assert whole.edges == [(0, 1, False)]
