"""A run that goes on as a test tells it to, or at a steady pace: `python -m tests.dashboard.steady URL RATE [FILE]`.

In: the URL of a database or of a bus. Out: rows, written by the real `Writer` as if a workflow had just sent them; or
batches on the bus, for a writer to take.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing

import msgspec

from heliograph.bus import Outgoing, open_publisher
from heliograph.messages import (
    CLASS_OF,
    Batch,
    Class,
    Record,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    Source,
    TaskDescribed,
    TaskState,
    encode,
)
from heliograph_store.migrate import migrate
from heliograph_store.store import connect
from heliograph_store.write import Writer, WriteResult


def now() -> int:
    return time.time_ns() // 1000


class Steady:
    """One run, written step by step."""

    def __init__(self, url: str, run: str = "steady", *, name: str = "Steady") -> None:
        self.run, self._name = run, name
        self._offset = 0
        self.tasks = 0
        self._open(url)

    def _open(self, url: str) -> None:
        migrate(url)
        self.store = connect(url)
        self._writer = Writer(self.store)

    def start(self) -> None:
        at = now()
        started = RunStarted(at=at, name=self._name, owner="ada", host="login1")
        self.write([started, RunHeartbeat(at=at)])

    def add(self, tasks: int, *, states: Sequence[str] = ("pending", "launched", "running")) -> range:
        """New tasks of two apps, in these states; gives their numbers."""
        numbers = range(self.tasks, self.tasks + tasks)
        self.tasks += tasks
        described = [TaskDescribed(at=now(), origin="parsl", number=n, app=f"app_{n % 2}") for n in numbers]
        self.write(described)
        for state in states:
            self.move(numbers, state)
        return numbers

    def move(self, numbers: Sequence[int], state: str) -> None:
        self.write([TaskState(at=now(), origin="parsl", number=n, try_=0, state=state) for n in numbers])

    def end(self, *, failed: int = 0) -> None:
        self.write([RunEnded(at=now(), completed=self.tasks - failed, failed=failed)])

    def write(self, records: Sequence[Record]) -> WriteResult | None:
        by_class: dict[str, list[Record]] = {}
        for record in records:
            by_class.setdefault(CLASS_OF[type(record)].value, []).append(record)
        return self._send([self._batch(cls, some) for cls, some in by_class.items()]) if records else None

    def _send(self, batches: Sequence[Batch]) -> WriteResult | None:
        return self._writer.write(batches)

    def close(self) -> None:
        self.store.close()

    def _batch(self, cls: str, records: Sequence[Record]) -> Batch:
        first, self._offset = self._offset, self._offset + len(records)
        return Batch(
            version=1,
            run=self.run,
            cls=cls,
            agent="steady",
            host="login1",
            boot="boot",
            sources=[Source(journal=self.run, offsets=list(range(first, self._offset)))],
            records=[msgspec.Raw(encode(record)) for record in records],
        )


class Sent(Steady):
    """The same, put on a bus."""

    def _open(self, url: str) -> None:
        self._publisher = open_publisher(url, name="steady")

    def _send(self, batches: Sequence[Batch]) -> None:
        self._publisher.publish([Outgoing(run=one.run, cls=Class(one.cls), body=encode(one)) for one in batches])

    def close(self) -> None:
        self._publisher.close()


def main(url: str, pace: float, late: str | None = None) -> None:
    """Four records a task, until killed. Into the file `late` goes how long after its due time each was written, or
    confirmed by the bus."""
    with closing((Sent if url.startswith("amqp") else Steady)(url)) as steady:
        steady.start()
        began, written, beat = time.monotonic(), 0, 0.0
        while True:
            due = int((time.monotonic() - began) * pace) - written
            if due < 4:
                time.sleep(0.05)
                continue
            tasks = max(1, min(due // 4, 1000))
            numbers = steady.add(tasks, states=("pending", "running"))
            steady.move(numbers, "exec_done" if numbers[0] % 50 else "failed")
            if late is not None:
                with open(late, "a", encoding="ascii") as file:
                    file.write(f"{time.monotonic() - began - written / pace:.4f}\n")
            written += 4 * tasks
            if time.monotonic() - beat > 5:
                beat = time.monotonic()
                steady.write([RunHeartbeat(at=now())])


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
