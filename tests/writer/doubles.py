"""A bus and a store in memory that can be taken away, for tests of the loop alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from heliograph.bus import BusUnavailable, Delivery
from heliograph.messages import BadMessage, Batch, RunHeartbeat, Source, encode
from heliograph_store.errors import StoreUnavailable


def body(run: str = "r", *, offsets: Sequence[int] = (0,), at: int = 1_000_000, host: str = "h") -> bytes:
    """An encoded batch of heartbeats."""
    records = [msgspec.Raw(encode(RunHeartbeat(at=at + o))) for o in offsets]
    return encode(
        Batch(
            version=1,
            run=run,
            cls="control",
            agent="a",
            host=host,
            boot="b",
            sources=[Source(journal="j", offsets=list(offsets))],
            records=records,
        )
    )


class MemoryBus:
    """Deliveries wait in a queue; unacknowledged ones come back when their consumer closes."""

    def __init__(self, bodies: Sequence[bytes] = ()) -> None:
        self.waiting: deque[bytes] = deque(bodies)
        self.dead: list[tuple[bytes, str]] = []
        self.acked: list[bytes] = []
        self.opened = 0
        self.down = 0
        """How many of the next calls fail."""
        self.paused_calls: list[str] = []

    def open(self) -> MemoryConsumer:
        self.check()
        self.opened += 1
        return MemoryConsumer(self)

    def check(self) -> None:
        if self.down:
            self.down -= 1
            raise BusUnavailable("the memory bus is away")


class MemoryConsumer:
    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.unacked: dict[int, bytes] = {}
        self.paused = False
        self.number = 0

    def receive(self, limit: int, timeout: float) -> list[Delivery]:
        self.bus.check()
        found: list[Delivery] = []
        while not self.paused and self.bus.waiting and len(found) < limit:
            self.number += 1
            self.unacked[self.number] = self.bus.waiting.popleft()
            found.append(Delivery(body=self.unacked[self.number], token=self.number, route="control.r"))
        return found

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.bus.check()
        for d in deliveries:
            assert isinstance(d.token, int)
            self.bus.acked.append(self.unacked.pop(d.token))

    def reject(self, delivery: Delivery, reason: str) -> None:
        assert isinstance(delivery.token, int)
        self.bus.dead.append((self.unacked.pop(delivery.token), reason))

    def pause(self) -> None:
        self.paused = True
        self.bus.paused_calls.append("pause")

    def resume(self) -> None:
        self.paused = False
        self.bus.paused_calls.append("resume")

    def depth(self) -> int | None:
        return len(self.bus.waiting)

    def close(self) -> None:
        self.bus.waiting.extend(self.unacked.values())
        self.unacked.clear()


@dataclass(frozen=True, kw_only=True)
class Result:
    counts: dict[str, int]
    aside: tuple[str, ...] = ()
    late: int = 0


@dataclass
class MemoryStore:
    """Keeps ids of records. `down` fails that many writes; batches from host 'poison' can never be written."""

    down: int = 0
    rows: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    writes: list[int] = field(default_factory=list)

    def write(self, batches: Sequence[Batch], /) -> Result:
        if self.down:
            self.down -= 1
            raise StoreUnavailable("the memory store is away")
        if any(b.host == "poison" for b in batches):
            raise BadMessage("host is poison")
        self.writes.append(len(batches))
        for b in batches:
            for source in b.sources:
                self.rows.update((b.run, source.journal, o) for o in source.offsets)
        return Result(counts={"run.heartbeat": sum(len(b.records) for b in batches)})
