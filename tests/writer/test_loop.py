"""The loop alone: nothing is acknowledged before it is written, and one bad batch costs no other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.bus import BusUnavailable
from heliograph_writer.config import WriterConfig
from heliograph_writer.loop import Tick, WriterLoop
from heliograph_writer.metrics import WriterMetrics, value
from heliograph_writer.stop import Stop
from tests.writer.doubles import MemoryBus, MemoryConsumer, MemoryStore, Result, body

QUICK = WriterConfig(linger=0.0, idle_wait=0.01, backoff_first=0.001, backoff_last=0.005, drain=0.05)


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.close()


def loop_until(
    bus: MemoryBus, store: MemoryStore, stop: Stop, done: Callable[[], bool], config: WriterConfig = QUICK
) -> WriterMetrics:
    """Run the loop until `done`, asked whenever the loop comes to the bus."""
    metrics = WriterMetrics()
    end = time.monotonic() + 10

    class Watched(MemoryConsumer):
        def receive(self, limit, timeout):  # type: ignore[no-untyped-def]
            if done() or time.monotonic() > end:
                stop.ask()
            return super().receive(limit, timeout)

    def open_consumer() -> MemoryConsumer:
        bus.check()
        bus.opened += 1
        return Watched(bus)

    WriterLoop(config=config, open_consumer=open_consumer, writer=store, metrics=metrics, stop=stop).run()
    assert time.monotonic() < end, "the loop did not get there"
    return metrics


def test_everything_is_written_and_then_acknowledged(stop: Stop) -> None:
    bus, store = MemoryBus([body(offsets=[i]) for i in range(100)]), MemoryStore()
    metrics = loop_until(bus, store, stop, lambda: len(bus.acked) == 100)
    assert set(store.rows) == {("r", "j", i) for i in range(100)}
    assert value(metrics.batches) == 100
    assert metrics.registry.get_sample_value("heliograph_writer_records_total", {"kind": "run.heartbeat"}) == 100
    assert metrics.ready


def test_many_batches_share_one_commit(stop: Stop) -> None:
    bus, store = MemoryBus([body(offsets=[i]) for i in range(1000)]), MemoryStore()
    loop_until(bus, store, stop, lambda: len(bus.acked) == 1000)
    assert max(store.writes) > 100, "quick and full commits grow"
    assert len(store.writes) < 50


def test_a_body_that_is_no_batch_is_put_aside_with_its_reason(stop: Stop) -> None:
    bus, store = MemoryBus([body(offsets=[1]), b"\xc1 nonsense", body(offsets=[2])]), MemoryStore()
    metrics = loop_until(bus, store, stop, lambda: len(bus.acked) == 2)
    assert [(b, "not a batch" in reason) for b, reason in bus.dead] == [(b"\xc1 nonsense", True)]
    assert set(store.rows) == {("r", "j", 1), ("r", "j", 2)}
    assert value(metrics.dead) == 1


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 39), max_size=8))
def test_a_batch_that_the_store_refuses_is_found_among_many(poison: set[int]) -> None:
    bodies = [body(offsets=[i], host="poison" if i in poison else "h") for i in range(40)]
    bus, store, stop = MemoryBus(bodies), MemoryStore(), Stop()
    loop_until(bus, store, stop, lambda: len(bus.acked) + len(bus.dead) == 40)
    stop.close()
    assert sorted(b for b, _ in bus.dead) == sorted(bodies[i] for i in poison)
    assert {o for _, _, o in store.rows} == set(range(40)) - poison
    assert set(store.rows.values()) <= {1}, "no batch is written twice on the way"


def test_while_the_store_is_away_nothing_is_consumed_or_lost(stop: Stop) -> None:
    bus, store = MemoryBus([body(offsets=[i]) for i in range(30)]), MemoryStore(down=5)
    metrics = loop_until(bus, store, stop, lambda: len(bus.acked) == 30)
    assert bus.paused_calls == ["pause", "resume"]
    assert bus.opened == 1, "the bus connection was kept"
    assert set(store.rows) == {("r", "j", i) for i in range(30)}
    assert metrics.registry.get_sample_value("heliograph_writer_retries_total", {"cause": "store"}) == 5


def test_a_lost_bus_is_found_again_and_unacknowledged_batches_come_back(stop: Stop) -> None:
    bus, store = MemoryBus([body(offsets=[i]) for i in range(30)]), MemoryStore()
    bus.down = 3
    seen: list[int] = []

    def done() -> bool:
        if len(bus.acked) > 0 and not seen:
            seen.append(1)
            bus.down = 2
        return len(bus.acked) >= 30

    loop_until(bus, store, stop, done)
    assert bus.opened >= 2
    assert set(store.rows) == {("r", "j", i) for i in range(30)}


def test_a_bus_that_opens_and_never_answers_is_not_hammered(stop: Stop) -> None:
    """Carriers connect at the first receive: that opening succeeded says nothing."""

    class Dead(MemoryConsumer):
        def receive(self, limit, timeout):  # type: ignore[no-untyped-def]
            raise BusUnavailable("refused, user or password is wrong")

    bus, metrics = MemoryBus([body()]), WriterMetrics()

    def open_consumer() -> MemoryConsumer:
        bus.opened += 1
        return Dead(bus)

    config = WriterConfig(backoff_first=0.05, backoff_last=5.0)
    threading.Timer(1.5, stop.ask).start()
    WriterLoop(config=config, open_consumer=open_consumer, writer=MemoryStore(), metrics=metrics, stop=stop).run()
    assert 2 <= bus.opened <= 8, "each wait is about twice the one before"
    assert not metrics.ready


def test_a_stop_request_writes_what_is_in_hand(stop: Stop) -> None:
    """The first batch lingers for company; SIGTERM must not wait for that, nor forget it."""
    bus, store = MemoryBus([body(offsets=[7])]), MemoryStore()
    config = WriterConfig(linger=30.0, idle_wait=0.01)
    stop.on_signals(signal.SIGUSR1)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    began = time.monotonic()
    WriterLoop(config=config, open_consumer=bus.open, writer=store, metrics=WriterMetrics(), stop=stop).run()
    assert time.monotonic() - began < 5
    assert set(store.rows) == {("r", "j", 7)}
    assert len(bus.acked) == 1


def test_a_stop_while_the_store_is_away_leaves_the_batches_to_the_bus(stop: Stop) -> None:
    bus, store = MemoryBus([body(offsets=[i]) for i in range(3)]), MemoryStore(down=10**9)
    threading.Timer(0.2, stop.ask).start()
    began = time.monotonic()
    WriterLoop(config=QUICK, open_consumer=bus.open, writer=store, metrics=WriterMetrics(), stop=stop).run()
    assert time.monotonic() - began < 5
    assert not bus.acked
    assert len(bus.waiting) == 3


def test_it_ends_when_told_that_it_is_finished(stop: Stop) -> None:
    bus, store = MemoryBus([body()]), MemoryStore()
    ticks: list[Tick] = []

    def finished(tick: Tick) -> bool:
        ticks.append(tick)
        return tick.waiting == 0

    WriterLoop(
        config=QUICK, open_consumer=bus.open, writer=store, metrics=WriterMetrics(), stop=stop, finished=finished
    ).run()
    assert len(bus.acked) == 1
    assert ticks[-1].quiet > 0


def test_a_mistake_of_ours_acknowledges_nothing(stop: Stop) -> None:
    class Broken(MemoryStore):
        def write(self, batches, /) -> Result:  # type: ignore[no-untyped-def]
            raise KeyError("a bug")

    bus = MemoryBus([body()])
    loop = WriterLoop(config=QUICK, open_consumer=bus.open, writer=Broken(), metrics=WriterMetrics(), stop=stop)
    with pytest.raises(KeyError):
        loop.run()
    assert not bus.acked
    assert len(bus.waiting) == 1


def test_it_ends_when_finished_though_the_store_stays_away(stop: Stop) -> None:
    bus, store = MemoryBus([body()]), MemoryStore(down=10**9)
    WriterLoop(
        config=QUICK, open_consumer=bus.open, writer=store, metrics=WriterMetrics(), stop=stop, finished=lambda _: True
    ).run()
    assert not bus.acked
    assert len(bus.waiting) == 1
