"""The object that Parsl takes for a queue: by type, by pickle, and in every odd moment."""

from __future__ import annotations

import pickle
import queue
import subprocess
import sys
import threading
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
from parsl.monitoring.message_type import MessageType

from heliograph.messages import BlockState, NodeSeen, Record
from heliograph.parsl.sink import JournalQueue, Sink
from heliograph.parsl.translate import Context
from tests.parsl.conftest import of, recorded

BLOCK = {"run_id": "r1", "status": "RUNNING", "timestamp": None, "executor_label": "e", "job_id": "1", "block_id": "0"}
NODE = {"run_id": "r1", "hostname": "n", "uid": "p", "active": True, "worker_count": 2}


class Memory:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def append(self, record: Record, /) -> bool:
        self.records.append(record)
        return True


def _queue(journal: Any) -> JournalQueue:
    return JournalQueue(Sink(context=Context(), opener=lambda run, run_dir: journal), (None, "", 1.0))


def test_is_a_queue_by_type_and_never_false() -> None:
    made = _queue(Memory())
    assert isinstance(made, Queue)
    assert bool(made)
    assert not hasattr(made, "__len__")
    assert (made.qsize(), made.empty(), made.full()) == (0, True, False)
    with pytest.raises(queue.Empty):
        made.get(timeout=100)


@pytest.mark.parametrize("junk", [None, 7, (), (MessageType.TASK_INFO, {}), (MessageType.BLOCK_INFO, [{}]), ("x", "y")])
def test_junk_is_counted_and_raises_nothing(junk: Any) -> None:
    made = _queue(Memory())
    made.put(junk)
    assert made._sink.refused == 1


def test_a_broken_journal_reaches_nobody() -> None:
    class Broken:
        def append(self, record: Record, /) -> bool:
            raise OSError("full")

    made = _queue(Broken())
    made.put((MessageType.BLOCK_INFO, [BLOCK]))
    assert made._sink.refused == 1


def test_put_after_close() -> None:
    journal = Memory()
    made = _queue(journal)
    made.close()
    made.join_thread()
    made.cancel_join_thread()
    made.put((MessageType.BLOCK_INFO, [BLOCK]), block=False)
    made.put_nowait((MessageType.BLOCK_INFO, [BLOCK]))
    assert len(journal.records) == 2


def test_nodes_are_told_on_change_only() -> None:
    journal = Memory()
    made = _queue(journal)
    for message in (NODE, NODE, {**NODE, "active": False}, {**NODE, "active": False}, {**NODE, "uid": "other"}):
        made.put((MessageType.NODE_INFO, message))
    assert [(n.pool, n.active) for n in journal.records if isinstance(n, NodeSeen)] == [
        ("p", True),
        ("p", False),
        ("other", True),
    ]


def test_pickled_it_is_its_route_only(state_dir: Path) -> None:
    """As when HTEX hands it to a router process, which then puts messages into it."""
    payload = pickle.dumps(_queue(threading.Lock()))
    assert len(payload) < 200
    code = (
        "import pickle; from parsl.monitoring.message_type import MessageType; "
        f"q = pickle.loads({payload!r}); q.put((MessageType.BLOCK_INFO, [{BLOCK!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    (one,) = recorded(state_dir, "r1")
    assert isinstance(one.record, BlockState)
    assert not one.owner


def test_threads_put_side_by_side(state_dir: Path) -> None:
    from heliograph.journal import Journal, Route

    with_journal = Sink(context=Context(), opener=lambda run, run_dir: Journal.open(Route(run=run)))
    made = JournalQueue(with_journal, (None, "", 1.0))

    def put() -> None:
        for _ in range(200):
            made.put((MessageType.BLOCK_INFO, [BLOCK]))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = recorded(state_dir, "r1")
    assert len({one.journal for one in records}) == 1
    assert len(of(BlockState, records)) == 1600
