"""Parcels on a bus that fails in every way that it may; publishers handed in."""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from heliograph import messages as m
from heliograph import state
from heliograph.agent.forward import Forwarder
from heliograph.agent.outbox import Outbox
from heliograph.agent.routes import Resolver, Target
from heliograph.agent.runs import Means, RunPart
from heliograph.agent.ship import Outcome, Refused, Shipped, Shipper
from heliograph.agent.spill import spill
from heliograph.agent.tail import Tail
from heliograph.bus import BadMessage, BusFull, BusUnavailable, Outgoing
from heliograph.bus.spool import SpoolPublisher
from heliograph.journal import Journal, Limits, Route
from heliograph.route import spool_path
from tests.agent.conftest import task, wait_for

ROUTE = Route(run="r")


class FakeBus:
    """A publisher that takes what `allow` allows."""

    def __init__(self, allow: Callable[[Outgoing], None]) -> None:
        self.allow, self.numbers = allow, list[int]()

    def publish(self, batches: Sequence[Outgoing]) -> None:
        for out in batches:
            self.allow(out)
            self.numbers += numbers(out)

    def close(self) -> None:
        pass


def numbers(out: Outgoing) -> list[int]:
    records, aside = m.decode_records(m.decode_batch(out.body))
    assert not aside
    return [record.number for record in records]  # type: ignore[union-attr]


def sample(number: int, last: bool = False) -> m.TaskSample:
    return m.TaskSample(at=1, origin="o", number=number, try_=0, host="h", pid=1, last=last)


def filled(folder: Path, records: Sequence[m.Record], outbox: Outbox | None = None) -> tuple[Tail, Outbox]:
    journal = Journal.open(ROUTE, folder=folder, start_agent=False)
    for record in records:
        assert journal.append(record)
    journal.close()
    tail = Tail(next((state.namespace_folder(folder) / "journals").iterdir()))
    outbox = outbox or Outbox("r")
    while not tail.reader.ended:
        for found in tail.pull():
            outbox.add(tail, found)
    return tail, outbox


def shipped_by(bus: FakeBus, outbox: Outbox) -> list[Outcome]:
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    resolver = Resolver(Route(run="r", hub="h"), ask=lambda _: Target(bus="spool:/nowhere"))
    shipper = Shipper(ROUTE, "agent", outcomes, lambda _target, _name: bus, resolver)
    shipper.start()
    parcels = outbox.take(0.0, hurry=True)
    for parcel in parcels:
        shipper.submit(parcel)
    wait_for(lambda: outcomes.qsize() == len(parcels))
    shipper.stop()
    shipper.join(5)
    assert not shipper.is_alive()
    return [outcomes.get() for _ in parcels]


def test_one_bad_record_is_found_by_halving_and_costs_no_other(tmp_path: Path) -> None:
    def refuse_thirteen(out: Outgoing) -> None:
        if 13 in numbers(out):
            raise BadMessage("never")

    tail, outbox = filled(tmp_path, [task(n) for n in range(100)])
    bus = FakeBus(refuse_thirteen)
    (outcome,) = shipped_by(bus, outbox)
    assert isinstance(outcome, Shipped)
    assert [m.decode(found.payload).number for _, found in outcome.bad] == [13]  # type: ignore[union-attr]
    assert bus.numbers == [n for n in range(100) if n != 13]
    outbox.done(outcome.parcel, outcome.bad)
    assert tail.finished()
    assert tail.records == 99


def test_a_bus_that_is_away_is_tried_again_until_it_takes_all(tmp_path: Path) -> None:
    failures = iter([BusUnavailable("away"), BusFull("full"), RuntimeError("a bug of a carrier"), None])

    def fail_at_first(_: Outgoing) -> None:
        failure = next(failures)
        if failure is not None:
            raise failure

    _, outbox = filled(tmp_path, [task(n) for n in range(10)])
    bus = FakeBus(fail_at_first)
    (outcome,) = shipped_by(bus, outbox)
    assert isinstance(outcome, Shipped)
    assert bus.numbers == list(range(10))


def test_refused_samples_hold_up_no_states_and_keep_their_place(tmp_path: Path) -> None:
    def no_samples(out: Outgoing) -> None:
        if out.cls is m.Class.SAMPLES:
            raise BusFull("no more")

    records: list[m.Record] = [r for n in range(10) for r in (task(n), sample(n))]
    tail, outbox = filled(tmp_path, records)
    outcomes = shipped_by(FakeBus(no_samples), outbox)
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            outbox.refused(outcome.parcel, 100.0)
        else:
            outbox.done(outcome.parcel, outcome.bad)
    assert {type(outcome) for outcome in outcomes} == {Shipped, Refused}
    cursor = tail.cursor()
    assert cursor.confirmed[m.Class.STATES] > cursor.confirmed[m.Class.SAMPLES]
    assert not tail.finished()
    assert outbox.take(101.0) == []  # the bus is left alone for a while
    (again,) = outbox.take(1000.0)
    assert [m.decode(f.payload).number for _, f in again.items] == list(range(10))  # type: ignore[union-attr]
    # An agent that starts here sends the samples, and no state twice.
    resumed = Tail(tail.reader.folder, cursor)
    assert {found.cls for found in resumed.pull()} == {m.Class.SAMPLES}
    tail.reader.close()


def test_too_many_refused_samples_are_thinned_task_by_task_and_counted(tmp_path: Path) -> None:
    rounds = 800
    many = [sample(n, last=(i == 1 and n == 2)) for i in range(rounds) for n in (1, 2, 3)]
    tail, outbox = filled(tmp_path, many, Outbox("r", held_records=2000))
    (parcel,) = outbox.take(0.0)
    outbox.refused(parcel, 0.0)
    (again,) = outbox.take(1000.0)
    kept = [m.decode(found.payload) for _, found in again.items]
    assert outbox.thinned == rounds * 3 - len(kept)
    for n in (1, 2, 3):
        assert abs(sum(s.number == n for s in kept) - rounds / 2) < 2  # type: ignore[union-attr]
    assert any(s.last for s in kept)  # type: ignore[union-attr]
    assert not tail.finished()


def test_a_queue_of_samples_that_is_full_for_days_is_asked_once_a_minute(tmp_path: Path) -> None:
    _, outbox = filled(tmp_path, [sample(1)])
    moment = 0.0
    for _ in range(2000):
        (parcel,) = outbox.take(moment)
        outbox.refused(parcel, moment)
        due = outbox.next_at()
        assert due is not None
        wait, moment = due - moment, due
    assert wait == 60.0


def test_what_the_spool_does_not_take_at_the_end_is_never_confirmed_by_what_follows(tmp_path: Path) -> None:
    tail, outbox = filled(tmp_path / "state", [task(n) for n in range(5000)])
    refusals = iter([None, BusUnavailable("the disk is full")])

    def refuse_the_second(_: Outgoing) -> None:
        refusal = next(refusals, None)
        if refusal is not None:
            raise refusal

    bus = FakeBus(refuse_the_second)
    means = Means(
        agent="agent", state=tmp_path, limits=Limits(), outcomes=queue.SimpleQueue(),
        open_publisher=lambda _target, _name: bus, resolver=Resolver,
    )  # fmt: skip
    part = RunPart(replace(ROUTE, run_dir=str(tmp_path)), means)
    part.outbox = outbox
    assert spill(part, means) == 2000
    assert Tail(tail.reader.folder, tail.cursor()).pull()[0].offset == tail.position(m.Class.STATES)
    assert spill(part, means) == 3000
    assert bus.numbers == list(range(5000))
    assert tail.finished()


def test_an_odd_spool_of_others_does_not_end_the_shipping_of_our_own(tmp_path: Path) -> None:
    (spool_path(tmp_path) / "new").mkdir(parents=True)
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    bus = FakeBus(lambda _: None)
    route = Route(run="r", run_dir=str(tmp_path), owner=True, hub="h")
    resolver = Resolver(route, ask=lambda _: Target(bus="http://elsewhere"))
    looked = 0

    def open_bus(_target: Target, _name: str) -> FakeBus:
        nonlocal looked
        looked += 1
        if looked == 1:
            raise RuntimeError("a bug of a carrier")
        return bus

    shipper = Shipper(route, "agent", outcomes, open_bus, resolver)
    shipper.start()
    shipper.learn(route)
    wait_for(lambda: looked)
    _, outbox = filled(tmp_path / "state", [task(1)])
    (parcel,) = outbox.take(0.0)
    shipper.submit(parcel)
    wait_for(outcomes.qsize)
    shipper.stop()
    shipper.join(5)
    assert bus.numbers == [1]


def test_samples_of_others_that_the_bus_refuses_are_offered_once_a_look_and_hold_up_no_states(tmp_path: Path) -> None:
    offered: list[m.Class] = []

    def full(outgoing: Outgoing) -> None:
        offered.append(outgoing.cls)
        if outgoing.cls is m.Class.SAMPLES:
            raise BusFull("samples")

    elsewhere = SpoolPublisher(f"spool:{spool_path(tmp_path)}", name="elsewhere")
    _, outbox = filled(tmp_path / "state", [record for n in range(5) for record in (sample(n), task(n))])
    for parcel in outbox.take(0.0):
        for item in parcel.items:
            elsewhere.publish([replace(parcel, items=[item]).outgoing("elsewhere")])
    bus, forwarder = FakeBus(full), Forwarder(replace(ROUTE, run_dir=str(tmp_path)), "agent")
    assert forwarder.forward(bus) == 5
    assert sorted(bus.numbers) == list(range(5))
    assert offered.count(m.Class.SAMPLES) == 1
    assert forwarder.held
    bus.allow = lambda _: None
    assert forwarder.forward(bus) == 5
    assert not forwarder.held
    forwarder.close()


@pytest.mark.parametrize("owner", [False, True], ids=["elsewhere", "on the submitting node"])
def test_who_cannot_publish_elsewhere_announces_the_spool_and_uses_it_in_time(tmp_path: Path, owner: bool) -> None:
    """In time, however long the waits between its tries have become; and never where the run itself lives."""
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    tried: list[Outgoing] = []

    def refuse(outgoing: Outgoing) -> None:
        tried.append(outgoing)
        raise BusUnavailable("no route to host")

    away, spool = FakeBus(refuse), FakeBus(lambda _: None)
    route = Route(run="r", run_dir=str(tmp_path), owner=owner, hub="h")
    resolver = Resolver(route, ask=lambda _: Target(bus="http://elsewhere"), grace=4.0)
    shipper = Shipper(route, "agent", outcomes, lambda target, _: spool if target.fallback else away, resolver)
    _, outbox = filled(tmp_path / "state", [task(1)])
    (parcel,) = outbox.take(0.0)
    shipper.start()
    shipper.submit(parcel)
    if owner:
        wait_for(lambda: len(tried) > 2, 60)
        assert resolver.until_fallback() == float("inf")
        assert not spool_path(tmp_path).exists()
    else:
        wait_for((spool_path(tmp_path) / "new").is_dir, 60)
        assert 0 < resolver.until_fallback() <= 4.1
        wait_for(outcomes.qsize, 60)
        assert spool.numbers == [1]
    shipper.stop()
    shipper.join(5)


def test_records_of_many_journals_travel_in_one_batch(tmp_path: Path) -> None:
    outbox = Outbox("r")
    ids = set()
    for n in range(5):
        journal = Journal.open(ROUTE, folder=tmp_path, start_agent=False)
        journal.append(task(n))
        tail = Tail(state.namespace_folder(tmp_path) / "journals" / journal.id)
        for found in tail.pull():
            outbox.add(tail, found)
            ids.add(f"{journal.id}:{found.offset}")
        journal.close()
    (parcel,) = outbox.take(0.0)
    batch = m.decode_batch(parcel.outgoing("agent").body)
    assert set(m.record_ids(batch)) == ids
    assert len(batch.records) == 5
    assert (batch.boot, batch.host) == (state.boot_id(), state.host())
