"""When snapshots are published, and what is acknowledged when."""

from __future__ import annotations

from collections.abc import Sequence

from heliograph.bus import Delivery
from heliograph_server.snapshot import SHARE, AckAfterPublish
from heliograph_store.errors import StoreUnavailable


class Acks:
    """Remembers what was acknowledged."""

    def __init__(self) -> None:
        self.tokens: list[object] = []

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.tokens += [d.token for d in deliveries]


class World:
    """A clock, and a publication that takes its time or fails."""

    def __init__(self, takes: float) -> None:
        self.now = 0.0
        self.takes = takes
        self.published = 0
        self.broken = False

    def clock(self) -> float:
        return self.now

    def publish(self) -> None:
        self.now += self.takes
        if self.broken:
            raise StoreUnavailable("the network file system is away")
        self.published += 1


def delivery(token: int) -> Delivery:
    return Delivery(body=b"x" * 1000, token=token)


def test_publishing_takes_less_than_its_share_of_the_time() -> None:
    for takes in (0.01, 1.0, 30.0):
        world, acks = World(takes), Acks()
        settler = AckAfterPublish(world.publish, clock=world.clock)
        spent, number, end = 0.0, 0, max(2000.0, takes * 500)
        while world.now < end:
            settler.settle(acks, [delivery(number)])  # type: ignore[arg-type]
            number += 1
            settler.tick(acks)  # type: ignore[arg-type]
            world.now += 0.5
        spent = world.published * takes
        # The very first snapshot is published at once, so it is not part of the rhythm.
        assert spent - takes <= SHARE * world.now
        assert world.published > 3
        settler.finish(acks)  # type: ignore[arg-type]
        assert acks.tokens == list(range(number))


def test_nothing_is_acknowledged_before_it_is_published() -> None:
    world, acks = World(0.1), Acks()
    settler = AckAfterPublish(world.publish, clock=world.clock)
    world.broken = True
    settler.settle(acks, [delivery(1)])  # type: ignore[arg-type]
    settler.tick(acks)  # type: ignore[arg-type]
    assert acks.tokens == []
    assert settler.held == 1
    world.broken = False
    settler.tick(acks)  # type: ignore[arg-type]
    assert acks.tokens == [], "not tried again at once"
    world.now += 61
    settler.tick(acks)  # type: ignore[arg-type]
    assert acks.tokens == [1]


def test_a_bus_that_waits_for_acknowledgements_gets_them() -> None:
    world, acks = World(1.0), Acks()
    settler = AckAfterPublish(world.publish, most=10, clock=world.clock)
    settler.settle(acks, [delivery(0)])  # type: ignore[arg-type]
    settler.tick(acks)  # type: ignore[arg-type]
    settler.settle(acks, [delivery(i) for i in range(1, 11)])  # type: ignore[arg-type]
    settler.tick(acks)  # type: ignore[arg-type]
    assert len(acks.tokens) == 11


def test_what_cannot_be_acknowledged_any_more_is_forgotten() -> None:
    world, acks = World(0.1), Acks()
    settler = AckAfterPublish(world.publish, clock=world.clock)
    settler.settle(acks, [delivery(1)])  # type: ignore[arg-type]
    settler.forget()
    settler.finish(acks)  # type: ignore[arg-type]
    assert acks.tokens == []
    assert settler.held == 0
