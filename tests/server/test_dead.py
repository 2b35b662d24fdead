"""A message that can never be written: put aside with its reason, shown, and replayed once it can be."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from heliograph.bus import BusUnavailable, Outgoing, open_consumer, open_dead_letters, open_publisher
from heliograph.messages import Class
from heliograph_store.migrate import migrate
from tests.fixtures.broker import Broker
from tests.server.ingest import WriterProcess, batches, stored


def heliograph(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heliograph_server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(params=["spool", "amqp"])
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "spool":
        return f"spool:{tmp_path}/spool"
    broker: Broker = request.getfixturevalue("broker")
    return broker.new_url()


def wait_for(what: str, reached: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)


def publish(bus: str, outgoing: Sequence[Outgoing]) -> None:
    """As agents do: until it is confirmed (the servers make the exchange, and they may still be starting)."""
    end = time.monotonic() + 30
    while True:
        try:
            with closing(open_publisher(bus, name="test")) as publisher:
                return publisher.publish(outgoing)
        except BusUnavailable:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_a_poison_message_is_put_aside_shown_and_replayed(tmp_path: Path, bus: str) -> None:
    database = f"sqlite:///{tmp_path}/heliograph.db"
    migrate(database)
    good = list(batches("run", 20))
    poison = Outgoing(run="run", cls=Class.STATES, body=b"\x93not a batch")
    writer = WriterProcess(bus=bus, database=database, folder=tmp_path)
    writer.start()
    try:
        publish(bus, [good[0][1], poison, *[outgoing for _, outgoing in good[1:]]])
        facts = {fact for some, _ in good for fact in some}
        wait_for("the ingest", lambda: stored(database) == facts)
        with closing(open_dead_letters(bus)) as letters:
            wait_for("the burial", lambda: letters.count() == 1)
            letter = next(letters.list())
        assert letter.body == poison.body
        assert "not a batch" in letter.reason

        listed = heliograph("dead", "list", "--bus", bus)
        assert listed.returncode == 0
        assert letter.id in listed.stdout
        assert "not a batch" in listed.stdout
        shown = json.loads(heliograph("dead", "show", letter.id, "--bus", bus).stdout)
        assert shown["hex"] == poison.body.hex()

        replayed = heliograph("dead", "replay", letter.id, "--bus", bus)
        assert replayed.stdout == "1 given to the writers again\n"
        with closing(open_dead_letters(bus)) as letters:
            # Still poison: it comes back, as another letter or with another time.
            wait_for("the second burial", lambda: letters.count() == 1)
            again = next(letters.list())
        assert again.body == poison.body
        assert heliograph("dead", "drop", "--all", "--bus", bus).stdout == "1 deleted\n"
        assert heliograph("dead", "list", "--bus", bus).stdout == "no dead letters\n"
    finally:
        assert writer.stop() == 0


def test_what_was_put_aside_by_mistake_arrives_when_it_is_replayed(tmp_path: Path, bus: str) -> None:
    """A good batch among the dead letters (an older writer refused it) is written after the replay."""
    database = f"sqlite:///{tmp_path}/heliograph.db"
    migrate(database)
    facts, outgoing = next(batches("run", 20))
    with closing(open_consumer(bus, name="older")) as consumer:
        assert consumer.receive(1, 0.1) == []  # connects, and makes the exchange where the carrier has one
        publish(bus, [outgoing])
        [delivery] = consumer.receive(10, 10.0)
        consumer.reject(delivery, "an older version knew no better")
    with closing(open_dead_letters(bus)) as letters:
        wait_for("the burial", lambda: letters.count() == 1)
        [letter] = letters.list()
    shown = json.loads(heliograph("dead", "show", letter.id, "--bus", bus).stdout)
    assert len(shown["batch"]["records"]) == len(facts)
    assert shown["reason"] == "an older version knew no better"
    assert heliograph("dead", "replay", "--all", "--bus", bus).returncode == 0
    writer = WriterProcess(bus=bus, database=database, folder=tmp_path)
    writer.start()
    try:
        wait_for("the ingest", lambda: stored(database) == set(facts))
    finally:
        assert writer.stop() == 0
