"""Where Parsl puts its monitoring messages: an object that Parsl takes for a multiprocessing queue.

In: tagged messages from the kernel, from executors and (on the official route) from a router process that Parsl spawns.
Out: records appended to this process's journal. `put` never raises and never blocks, also after `close`; pickled, the
queue is its route and nothing else, and the copy appends to a journal of the process that it arrives in.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from multiprocessing.queues import Queue
from typing import Any, Protocol

from heliograph import journal as journals
from heliograph.interrupts import is_the_programs
from heliograph.messages import NodeSeen, Record
from heliograph.parsl import direct
from heliograph.parsl.translate import Context, Moment, records

_log = logging.getLogger("parsl.heliograph")


class Appends(Protocol):
    """The part of a journal that is used here."""

    def append(self, record: Record, /, *more: Record) -> bool: ...


class Sink:
    """Translates and appends. The journal is opened by `opener` at the first message that names its run."""

    def __init__(self, *, context: Context, opener: Callable[[str, str], Appends]) -> None:
        self._context = context
        self._opener = opener
        self._journal: Appends | None = None
        self._opening = threading.Lock()
        self._nodes: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.refused = 0
        """Messages that could not be taken: not what this version of Heliograph knows."""

    def begin(self, run: str, run_dir: str) -> Appends:
        if self._journal is None:
            held = self._opening.acquire(timeout=1.0)  # threads that are first at once share one journal
            try:
                self._journal = self._journal or self._opener(run, run_dir)
            finally:
                if held:
                    self._opening.release()
        return self._journal

    def take(self, message: Any) -> None:
        """Never raises, but for what a signal handler of the program's does: it is called amid Parsl's bookkeeping."""
        try:
            tag, payload = message
            now = Moment(*journals.now())
            found = records(tag.name, payload, now, self._context)
            if not found:
                return
            journal = self._journal or self.begin(*_run_of(payload))
            for record in found:
                if type(record) is not NodeSeen or self._news(record):
                    journal.append(record)
        except Exception as error:
            if is_the_programs(error):
                raise
            self.refused += 1
            if self.refused == 1:
                _log.warning("A monitoring message of Parsl could not be recorded; the workflow goes on", exc_info=True)

    def task(self, task: direct.Task) -> bool:
        """A task of the kernel's changed its state; only after `begin`. False when its record is not as expected.
        Never raises, but for what a signal handler of the program's does."""
        journal = self._journal
        if journal is None:
            return False
        try:
            journal.append(*direct.records(task, Moment(*journals.now()), self._context))
            return True
        except Exception as error:
            if is_the_programs(error):
                raise
            return False

    def record(self, record: Record) -> None:
        """One record that is not from Parsl's messages; only after `begin`. Never raises."""
        try:
            if self._journal is not None:
                self._journal.append(record)
        except Exception as error:
            if is_the_programs(error):
                raise
            self.refused += 1

    def _news(self, node: NodeSeen) -> bool:
        """Parsl repeats a node's whole description twice a task; only changes are worth a record."""
        key, told = (node.host, node.pool), (node.block, node.workers, node.active)
        if self._nodes.get(key) == told:
            return False
        self._nodes[key] = told
        return True


def _run_of(payload: Any) -> tuple[str, str]:
    message = payload[0] if isinstance(payload, (list, tuple)) else payload
    return str(message["run_id"]), str(message.get("rundir") or "")


class JournalQueue(Queue):  # type: ignore[type-arg]
    """A queue by type only (HTEX checks it): no pipe, no lock, no feeder thread. Always true, always empty."""

    def __init__(self, sink: Sink, shipped: tuple[Any, ...]) -> None:
        self._sink = sink  # Queue.__init__ is not called: it would make the pipe and its semaphores
        self._shipped = shipped

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        self._sink.take(obj)

    def put_nowait(self, obj: Any) -> None:
        self._sink.take(obj)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        raise queue.Empty  # whoever reads here would wait for ever

    def get_nowait(self) -> Any:
        raise queue.Empty

    def qsize(self) -> int:
        return 0

    def empty(self) -> bool:
        return True

    def full(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing to close: a message may still come after it."""

    def join_thread(self) -> None:
        """No thread to join."""

    def cancel_join_thread(self) -> None:
        """No thread to leave."""

    def __repr__(self) -> str:
        return "<JournalQueue>"

    def __reduce__(self) -> tuple[Any, ...]:
        return arrived, self._shipped


def arrived(hub: str | None, run_dir: str, sample_interval: float) -> JournalQueue:
    """The queue as it arrives in another process: messages go to a journal of that process. Never owns the run."""

    def opener(run: str, _: str) -> Appends:
        route = journals.Route(run=run, run_dir=run_dir, hub=hub, sample_interval=sample_interval)
        return journals.journal_for(route)

    sink = Sink(context=Context(sample_interval=sample_interval), opener=opener)
    return JournalQueue(sink, (hub, run_dir, sample_interval))
