"""The pool answers for every batch exactly once: confirmed, or with the error that tells its sender what to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from heliograph.bus import BadMessage, BusFull, BusUnavailable, Outgoing
from heliograph.messages import Class
from heliograph_hub.publishing import PublisherPool, TooBusy


def batch(number: int, cls: Class = Class.STATES) -> Outgoing:
    return Outgoing(run="r", cls=cls, body=b"%d" % number)


class Fake:
    """A bus in memory. `fail` says, before anything is taken, whether this publish fails."""

    def __init__(self, fail: Callable[[Sequence[Outgoing]], None] = lambda _: None) -> None:
        self.taken: list[Outgoing] = []
        self.calls = 0
        self.opened = self.closed = 0
        self.threads: dict[int, set[int]] = {}
        self.fail = fail

    def open(self, number: int) -> FakePublisher:
        self.opened += 1
        return FakePublisher(self, number)


class FakePublisher:
    def __init__(self, bus: Fake, number: int) -> None:
        self.bus, self.number = bus, number

    def publish(self, batches: Sequence[Outgoing]) -> None:
        self.bus.calls += 1
        self.bus.threads.setdefault(self.number, set()).add(threading.get_ident())
        self.bus.fail(batches)
        self.bus.taken.extend(batches)

    def close(self) -> None:
        self.bus.closed += 1


def started(bus: Fake, *, threads: int = 1, length: int = 64) -> PublisherPool:
    pool = PublisherPool(bus.open, threads=threads, length=length)
    pool.start()
    return pool


def test_every_batch_is_published_once_and_each_publisher_stays_in_its_thread() -> None:
    bus = Fake(lambda _: time.sleep(0.001))
    pool = started(bus, threads=3, length=1000)
    futures = [pool.submit([batch(n)]) for n in range(500)]
    for future in futures:
        future.result(timeout=10)
    pool.stop()
    assert sorted(int(b.body) for b in bus.taken) == list(range(500))
    assert bus.calls < 500, "waiting batches share a confirm"
    assert all(len(idents) == 1 for idents in bus.threads.values())
    assert bus.closed == bus.opened


def test_stop_publishes_what_waits_and_takes_nothing_more() -> None:
    gate = threading.Event()
    bus = Fake(lambda _: gate.wait(10) and None)
    pool = started(bus, threads=2)
    futures = [pool.submit([batch(n)]) for n in range(40)]
    threading.Timer(0.05, gate.set).start()
    pool.stop()
    assert [f.result(timeout=0) for f in futures] == [None] * 40
    assert len(bus.taken) == 40
    with pytest.raises(TooBusy):
        pool.submit([batch(1)])


def test_a_full_queue_refuses_and_a_bus_that_hangs_past_the_end_answers_unavailable() -> None:
    gate = threading.Event()
    bus = Fake(lambda _: gate.wait(10) and None)
    pool = started(bus, length=2)
    first = pool.submit([batch(0)])
    while not bus.calls:
        time.sleep(0.001)
    waiting = [pool.submit([batch(n)]) for n in (1, 2)]
    with pytest.raises(TooBusy):
        pool.submit([batch(3)])
    pool.stop(timeout=0.1)
    for future in waiting:
        with pytest.raises(BusUnavailable):
            future.result(timeout=0)
    gate.set()
    first.result(timeout=5)


def test_a_connection_that_died_while_idle_costs_no_batch() -> None:
    bus = Fake()
    pool = started(bus)
    pool.submit([batch(1)]).result(timeout=5)
    failures = iter([BusUnavailable("gone")])

    def once(_: Sequence[Outgoing]) -> None:
        for error in failures:
            raise error

    bus.fail = once
    pool.submit([batch(2)]).result(timeout=5)
    pool.stop()
    assert [int(b.body) for b in bus.taken] == [1, 2]
    assert bus.opened == 2


def test_a_bus_that_is_down_is_asked_once_a_pause_and_found_again() -> None:
    down = True

    def fail(_: Sequence[Outgoing]) -> None:
        if down:
            raise BusUnavailable("no route")

    bus = Fake(fail)
    pool = started(bus)
    for n in range(20):
        with pytest.raises(BusUnavailable, match="no route"):
            pool.submit([batch(n)]).result(timeout=5)
    assert bus.calls == 1
    down = False
    ends = time.monotonic() + 10
    while True:
        try:
            pool.submit([batch(99)]).result(timeout=5)
            break
        except BusUnavailable:
            assert time.monotonic() < ends
            time.sleep(0.05)
    pool.stop()
    assert [int(b.body) for b in bus.taken] == [99]


def test_a_bad_batch_does_not_take_its_neighbours_with_it() -> None:
    gate = threading.Event()

    def fail(batches: Sequence[Outgoing]) -> None:
        gate.wait(10)
        if any(b.body == b"7" for b in batches):
            raise BadMessage("seven")

    bus = Fake(fail)
    pool = started(bus)
    futures = {n: pool.submit([batch(n)]) for n in range(20)}
    gate.set()
    for n, future in futures.items():
        if n == 7:
            with pytest.raises(BadMessage, match="seven"):
                future.result(timeout=5)
        else:
            future.result(timeout=5)
    pool.stop()
    assert sorted(int(b.body) for b in bus.taken) == [n for n in range(20) if n != 7]


def test_full_samples_refuse_samples_only() -> None:
    gate = threading.Event()

    def fail(batches: Sequence[Outgoing]) -> None:
        gate.wait(10)
        if any(b.cls is Class.SAMPLES for b in batches):
            raise BusFull("samples")

    bus = Fake(fail)
    pool = started(bus)
    states = [pool.submit([batch(n)]) for n in range(5)]
    samples = [pool.submit([batch(n, Class.SAMPLES)]) for n in range(5)]
    gate.set()
    for future in states:
        future.result(timeout=5)
    for future in samples:
        with pytest.raises(BusFull):
            future.result(timeout=5)
    pool.stop()


def test_an_error_nobody_thought_of_is_told_and_the_thread_lives_on() -> None:
    errors = iter([ZeroDivisionError("oops")])

    def fail(_: Sequence[Outgoing]) -> None:
        for error in errors:
            raise error

    bus = Fake(fail)
    pool = started(bus)
    with pytest.raises(BusUnavailable, match="ZeroDivisionError"):
        pool.submit([batch(1)]).result(timeout=5)
    time.sleep(1.1)
    pool.submit([batch(2)]).result(timeout=5)
    pool.stop()
    assert [int(b.body) for b in bus.taken] == [2]
