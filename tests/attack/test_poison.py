"""What is no message, among messages: put aside with a reason, and the next one goes on."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from heliograph.bus import Outgoing, open_dead_letters, open_publisher
from heliograph.messages import Batch, Class, encode
from heliograph_store.migrate import migrate
from tests.fixtures.broker import Broker
from tests.server.ingest import Counting, Fact, WriterProcess, batches, stored

GOOD = list(batches("poison", 200))
EMPTY = Batch(version=1, run="r", cls="states", agent="", host="", boot="", sources=[], records=[])
BAD = {
    "nothing": b"",
    "zeros": b"\0" * 1000,
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "cut": GOOD[0][1].body[:-7],
    "longer": GOOD[0][1].body + b"\xc0",
    "deep": b"\x91" * 60_000,
    "bomb": b"\xdd\xff\xff\xff\xff",
    "of the future": encode(msgspec.structs.replace(EMPTY, version=99)),
    "no run": encode(msgspec.structs.replace(EMPTY, run="")),
    "endless run": encode(msgspec.structs.replace(EMPTY, run="r" * 300)),
    "NUL in the run": encode(msgspec.structs.replace(EMPTY, run="a\0b")),
    "unknown class": encode(msgspec.structs.replace(EMPTY, cls="rumours")),
    "no offsets": encode(msgspec.structs.replace(EMPTY, records=[msgspec.Raw(b"\xc0")])),
}


def expected(database: str, bus: str, facts: set[Fact], dead: int) -> None:
    """Until everything that is good is stored, and everything that is not lies with the dead letters."""
    total, end = len(facts), time.monotonic() + 40
    with closing(Counting(database)) as count, closing(open_dead_letters(bus)) as letters:
        while (have := count()) < total or letters.count() < dead:
            assert time.monotonic() < end, f"{have} of {total} stored, {letters.count()} of {dead} dead"
            time.sleep(0.1)
        assert all(letter.reason for letter in letters.list())
        while letters.count() < dead:  # a broker takes back what was only looked at in its own time
            assert time.monotonic() < end + 20, f"{letters.count()} of {dead} dead"
            time.sleep(0.1)
        assert letters.count() == dead
    assert stored(database) == facts


@pytest.mark.parametrize("carrier", ["spool", "amqp"])
def test_bad_batches_among_good_ones(tmp_path: Path, carrier: str, broker: Broker) -> None:
    bus = f"spool:{tmp_path}/spool" if carrier == "spool" else broker.new_url()
    database = f"sqlite:///{tmp_path}/store.db"
    migrate(database)
    writer = WriterProcess(bus=bus, database=database, folder=tmp_path)
    writer.start()
    try:
        with closing(open_publisher(bus, name="attacker")) as publisher:
            end = time.monotonic() + 30
            while True:
                try:
                    publisher.publish([GOOD[0][1]])
                    break
                except Exception:  # until the writer has declared its exchange
                    assert time.monotonic() < end
                    time.sleep(0.2)
            for number, (_, good) in enumerate(GOOD):
                poison = list(BAD.values())[number % len(BAD)]
                publisher.publish([good])
                if number < len(BAD):
                    publisher.publish([Outgoing(run="r", cls=Class.STATES, body=poison)])
        facts = {fact for some, _ in GOOD for fact in some}
        expected(database, bus, facts, len(BAD))
    finally:
        assert writer.stop() == 0


def test_a_spool_folder_with_anything_in_it(tmp_path: Path) -> None:
    """Names and kinds of files that nobody from us would leave there."""
    bus, database = f"spool:{tmp_path}/spool", f"sqlite:///{tmp_path}/store.db"
    migrate(database)
    with closing(open_publisher(bus, name="good")) as publisher:
        publisher.publish([one for _, one in GOOD[:2]])
    new = tmp_path / "spool" / "new"
    whole = next((new / "good").iterdir()).read_bytes()
    victim = tmp_path / "victim"
    victim.write_bytes(whole)
    attacker = new / "attacker"
    attacker.mkdir()
    for name, content in {"empty.batch": b"", "cut.batch": whole[:-9], "a": b"x", "\n": b"y", "x" * 250: b"z"}.items():
        (attacker / name).write_bytes(content)
    (attacker / "00000000000000000000-000000000000.batch").write_bytes(os.urandom(100_000))
    (attacker / "folder.batch").mkdir()
    (attacker / "link.batch").symlink_to(victim)
    (attacker / "dangling.batch").symlink_to(tmp_path / "nowhere")
    (attacker / "device.batch").symlink_to("/dev/zero")
    os.mkfifo(attacker / "pipe.batch")
    (new / "file").write_bytes(b"no sender's folder")
    (new / "loop").symlink_to(new)
    (tmp_path / "spool" / "claims" / "file").write_bytes(b"no claim")
    (tmp_path / "spool" / "dead" / "file").write_bytes(b"no letter")
    writer = WriterProcess(bus=bus, database=database, folder=tmp_path)
    writer.start()
    try:
        with closing(open_publisher(bus, name="good")) as publisher:
            publisher.publish([one for _, one in GOOD[2:]])
        total = sum(len(facts) for facts, _ in GOOD)
        end = time.monotonic() + 40
        with closing(Counting(database)) as count:
            while (have := count()) < total or [p for p in attacker.glob("*") if not p.is_dir()]:
                assert time.monotonic() < end, f"{have} of {total}; {sorted(p.name for p in attacker.iterdir())}"
                time.sleep(0.1)
    finally:
        assert writer.stop() == 0, writer.output()[-3000:]
    assert victim.read_bytes() == whole, "a link is not followed"
    assert "Traceback" not in writer.output()
