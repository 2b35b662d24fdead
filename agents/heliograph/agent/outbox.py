"""What waits to be shipped for one run.

In: records from many journals. Out: parcels, each one batch of one class: at once when little happens, after a linger
when much does, sooner when it is full. Samples that the bus refuses are kept, and thinned when they get too many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from heliograph import messages
from heliograph.agent.tail import Tail
from heliograph.bus import Outgoing
from heliograph.journal_reader import Found
from heliograph.messages import SCHEMA_VERSION, BadMessage, Batch, Class, Source, TaskSample

MAX_RECORDS = 2000
MAX_BYTES = 1 << 20
LINGER = 0.25
"""Seconds between two parcels of a class that are not full."""
FULL_BYTES, FULL_RECORDS = 16 << 20, 50_000
"""What may wait in memory before a run's journals are not read on: what lies there is safe."""
AROUND = 300
"""Bytes of memory that a record takes beside its payload."""
HELD_BYTES, HELD_RECORDS = 8 << 20, 20_000
"""What may wait of refused samples before they are thinned."""
FIRST_HOLD, LONGEST_HOLD = 2.0, 60.0
"""Seconds that refused samples wait before they are offered again: twice as long each time."""

Item = tuple[Tail, Found]


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Records of one class, on their way. `items` is in the order of each journal."""

    run: str
    cls: Class
    items: Sequence[Item]

    def half(self) -> tuple[Parcel, Parcel]:
        middle = len(self.items) // 2
        first, second = self.items[:middle], self.items[middle:]
        return Parcel(run=self.run, cls=self.cls, items=first), Parcel(run=self.run, cls=self.cls, items=second)

    def outgoing(self, agent: str) -> Outgoing:
        """The encoded batch: records of a journal stand together."""
        sources: dict[str, list[int]] = {}
        records: dict[str, list[msgspec.Raw]] = {}
        for tail, found in self.items:
            sources.setdefault(tail.journal, []).append(found.offset)
            records.setdefault(tail.journal, []).append(msgspec.Raw(found.payload))
        head = self.items[0][0].reader.head
        batch = Batch(
            version=SCHEMA_VERSION,
            run=self.run,
            cls=self.cls.value,
            agent=agent,
            host=head.host if head else "",
            boot=head.boot if head else "",
            sources=[Source(journal, offsets) for journal, offsets in sources.items()],
            records=[raw for some in records.values() for raw in some],
        )
        return Outgoing(run=self.run, cls=self.cls, body=messages.encode(batch))


class Outbox:
    """Not thread-safe. At most one parcel of each class is on its way: order within a journal and class stays."""

    def __init__(self, run: str, *, held_records: int = HELD_RECORDS) -> None:
        self.run = run
        self.bytes = self.records = 0
        self._held_records = held_records
        self.thinned = 0
        self._queues: dict[Class, deque[Item]] = {cls: deque() for cls in Class}
        self._sizes = dict.fromkeys(Class, 0)
        self._on_way: dict[Class, Parcel] = {}
        self._next_at = dict.fromkeys(Class, 0.0)
        self._hold = 0.0

    def add(self, tail: Tail, found: Found) -> None:
        self._queues[found.cls].append((tail, found))
        self._sizes[found.cls] += len(found.payload)
        self.bytes += len(found.payload)
        self.records += 1

    def full(self) -> bool:
        return self.bytes >= FULL_BYTES or self.records >= FULL_RECORDS

    @property
    def memory(self) -> int:
        """Bytes of memory that what waits takes, about."""
        return self.bytes + AROUND * self.records

    def empty(self) -> bool:
        return not self._on_way and not any(self._queues.values())

    def take(self, now: float, *, hurry: bool = False) -> list[Parcel]:
        """The parcels that are due at `now` (monotonic seconds); all that can go when in a hurry."""
        due = []
        for cls, queue in self._queues.items():
            if not queue or cls in self._on_way:
                continue
            full = (len(queue) >= MAX_RECORDS or self._sizes[cls] >= MAX_BYTES) and not self._held(cls)
            if full or hurry or now >= self._next_at[cls]:
                self._next_at[cls] = now + LINGER
                due.append(self._pack(cls))
        return due

    def next_at(self) -> float | None:
        """When the next parcel is due, None when nothing waits for its time."""
        return min(
            (self._next_at[cls] for cls, queue in self._queues.items() if queue and cls not in self._on_way),
            default=None,
        )

    def done(self, parcel: Parcel, bad: Sequence[Item]) -> None:
        """A parcel has arrived, but for the records that the bus can never take."""
        del self._on_way[parcel.cls]
        refused = {id(found) for _, found in bad}
        ends: dict[Tail, tuple[int, int]] = {}
        self.records -= len(parcel.items)
        for tail, found in parcel.items:
            self.bytes -= len(found.payload)
            if id(found) in refused:
                tail.give_up(parcel.cls)
            else:
                ends[tail] = (found.end, ends.get(tail, (0, 0))[1] + 1)
        for tail, (end, count) in ends.items():
            tail.confirm(parcel.cls, end, count)
        if parcel.cls is Class.SAMPLES:
            self._hold = 0.0

    def refused(self, parcel: Parcel, now: float) -> None:
        """The bus takes no samples for now: keep them, longer each time, and thin them when they get too many."""
        del self._on_way[parcel.cls]
        self._queues[parcel.cls].extendleft(reversed(parcel.items))
        self._sizes[parcel.cls] += sum(len(found.payload) for _, found in parcel.items)
        self._hold = min(LONGEST_HOLD, 2 * self._hold or FIRST_HOLD)
        self._next_at[parcel.cls] = now + self._hold
        if self._sizes[parcel.cls] > HELD_BYTES or len(self._queues[parcel.cls]) > self._held_records:
            self._thin(parcel.cls)

    def first(self) -> Parcel | None:
        """A parcel that has not arrived, the same one until it is `done`: nothing behind it is confirmed past it."""
        for cls, queue in self._queues.items():
            if cls in self._on_way or queue:
                return self._on_way.get(cls) or self._pack(cls)
        return None

    def _held(self, cls: Class) -> bool:
        return cls is Class.SAMPLES and self._hold > 0

    def _pack(self, cls: Class) -> Parcel:
        queue = self._queues[cls]
        items: list[Item] = []
        size = 0
        while queue and len(items) < MAX_RECORDS and (not items or size + len(queue[0][1].payload) <= MAX_BYTES):
            if items and _boot(queue[0]) != _boot(items[0]):
                break
            size += len(queue[0][1].payload)
            items.append(queue.popleft())
        self._sizes[cls] -= size
        parcel = self._on_way[cls] = Parcel(run=self.run, cls=cls, items=items)
        return parcel

    def _thin(self, cls: Class) -> None:
        """Every second sample of each task (and node) goes; a try's last one stays."""
        kept: deque[Item] = deque()
        turn: dict[object, bool] = {}
        for tail, found in self._queues[cls]:
            key, last = _whose(found)
            turn[key] = not turn.get(key, False)
            if turn[key] or last:
                kept.append((tail, found))
                continue
            tail.give_up(cls)
            self.thinned += 1
            self.records -= 1
            self.bytes -= len(found.payload)
            self._sizes[cls] -= len(found.payload)
        self._queues[cls] = kept


def _boot(item: Item) -> str:
    head = item[0].reader.head
    return head.boot if head else ""


def _whose(found: Found) -> tuple[object, bool]:
    try:
        record = messages.decode(found.payload)
    except BadMessage:
        return None, False
    if isinstance(record, TaskSample):
        return (record.origin, record.number, record.try_, record.pid), record.last
    return "node", False
