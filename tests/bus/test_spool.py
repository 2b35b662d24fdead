"""The spool carrier: whole files or none, one consumer a file, and nothing foreign or torn stops it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.bus import MAX_BODY, BadMessage, BadUrl, BusUnavailable, Delivery, Outgoing
from heliograph.bus.spool import RESCUED, SpoolConsumer, SpoolDeadLetters, SpoolPublisher
from heliograph.bus.spool_file import MAGIC, pack, unpack
from heliograph.messages import Class


def out(body: bytes, run: str = "r1", cls: Class = Class.STATES) -> Outgoing:
    return Outgoing(run=run, cls=cls, body=body)


def drain(consumer: SpoolConsumer, count: int, timeout: float = 10) -> list[Delivery]:
    got: list[Delivery] = []
    end = time.monotonic() + timeout
    while len(got) < count and time.monotonic() < end:
        got += consumer.receive(count - len(got), 0.2)
    return got


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"spool:{tmp_path}/spool"


def waiting(tmp_path: Path) -> list[Path]:
    return sorted(p for p in (tmp_path / "spool" / "new").glob("*/*") if not p.name.startswith("."))


def test_one_publish_is_one_private_file(url: str, tmp_path: Path) -> None:
    SpoolPublisher(url, name="agent/1").publish([out(b"a"), out(b"b", "r.2", Class.SAMPLES)])
    (path,) = waiting(tmp_path)
    assert path.parent.name == "agent_1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    consumer = SpoolConsumer(url, name="writer")
    assert [(d.route, d.body) for d in drain(consumer, 2)] == [("states.r1", b"a"), ("samples.r.2", b"b")]
    consumer.close()


def test_older_files_come_first_whoever_sent_them(url: str) -> None:
    publishers = [SpoolPublisher(url, name=name) for name in "cab"]
    for index in range(9):
        publishers[index % 3].publish([out(b"%d" % index)])
    consumer = SpoolConsumer(url, name="writer")
    assert [d.body for d in drain(consumer, 9)] == [b"%d" % index for index in range(9)]
    consumer.close()


def test_a_file_goes_when_its_last_batch_is_acknowledged(url: str, tmp_path: Path) -> None:
    SpoolPublisher(url, name="a").publish([out(b"1"), out(b"2"), out(b"3")])
    consumer = SpoolConsumer(url, name="writer")
    first, second, third = drain(consumer, 1) + drain(consumer, 2)
    consumer.ack([third, first])
    assert len(list((tmp_path / "spool" / "claims").glob("*/*.batch"))) == 1
    consumer.ack([second])
    assert not list((tmp_path / "spool" / "claims").glob("*/*.batch"))
    consumer.ack([second])  # again: nothing to do
    consumer.close()
    assert not waiting(tmp_path)
    assert not list((tmp_path / "spool" / "claims").iterdir())


def test_closing_lets_unacknowledged_files_wait_again(url: str, tmp_path: Path) -> None:
    publisher = SpoolPublisher(url, name="a")
    publisher.publish([out(b"1"), out(b"2")])
    publisher.publish([out(b"3")])
    consumer = SpoolConsumer(url, name="writer")
    one, _two, _three = drain(consumer, 3)
    consumer.ack([one])
    assert consumer.depth() == 0
    consumer.close()
    again = SpoolConsumer(url, name="writer")
    assert again.depth() == 2
    got = drain(again, 3)
    assert sorted(d.body for d in got) == [b"1", b"2", b"3"]
    assert all(d.redelivered for d in got)
    again.close()


KILLED = """
import sys, time
from heliograph.bus.spool import SpoolConsumer
consumer = SpoolConsumer(sys.argv[1], name="writer")
print(len(consumer.receive(10, 10)), flush=True)
time.sleep(60)
"""


def test_claims_of_a_killed_consumer_come_back_and_those_of_a_living_one_do_not(url: str) -> None:
    publisher = SpoolPublisher(url, name="a")
    publisher.publish([out(b"held")])
    living = SpoolConsumer(url, name="living")
    (held,) = drain(living, 1)
    publisher.publish([out(b"lost")])
    with subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        other = SpoolConsumer(url, name="other")
        assert other.receive(10, 0.2) == []
        process.send_signal(signal.SIGKILL)
    assert [(d.body, d.redelivered) for d in drain(other, 1)] == [(b"lost", True)]
    assert other.receive(10, 4) == []  # long enough to have looked again
    living.ack([held])
    living.close()
    other.close()


def test_two_consumers_share_and_never_get_the_same_file(url: str) -> None:
    publisher = SpoolPublisher(url, name="a")
    for index in range(300):
        publisher.publish([out(b"%d" % index)])
    got: dict[str, list[bytes]] = {"x": [], "y": []}

    def consume(name: str) -> None:
        consumer = SpoolConsumer(url, name="writer")
        while deliveries := consumer.receive(7, 0.3):
            got[name] += [d.body for d in deliveries]
            consumer.ack(deliveries)
        consumer.close()

    threads = [threading.Thread(target=consume, args=(name,)) for name in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert Counter(got["x"] + got["y"]) == Counter(b"%d" % index for index in range(300))


def test_without_flock_only_old_claims_are_taken_back(url: str, tmp_path: Path) -> None:
    def no_flock(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "no flock here")

    SpoolPublisher(url, name="a").publish([out(b"1")])
    first = SpoolConsumer(url, name="first", flock=no_flock)
    assert len(drain(first, 1)) == 1
    assert SpoolConsumer(url, name="second", flock=no_flock).receive(1, 0.2) == []
    (lock,) = (tmp_path / "spool" / "claims").glob("first-*/lock")
    os.utime(lock, (0, 0))
    third = SpoolConsumer(url, name="third", flock=no_flock)
    assert [d.body for d in third.receive(1, 0.2)] == [b"1"]


# -- torn, foreign, refused ------------------------------------------------------------------------------------------

bodies = st.lists(st.binary(max_size=30), max_size=5)


@given(bodies=bodies, data=st.data())
def test_a_file_cut_anywhere_gives_its_whole_batches_and_says_what_is_wrong(
    bodies: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(pack([out(body) for body in bodies]))
    assert unpack(whole).problem is None
    assert [b.body for b in unpack(whole).batches] == bodies
    cut = unpack(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert cut.problem
    assert [b.body for b in cut.batches] == bodies[: len(cut.batches)]


@given(bodies=bodies, position=st.integers(0, 10_000), flip=st.integers(1, 255), more=st.binary(max_size=3))
def test_a_flipped_byte_never_gives_a_wrong_batch(bodies: list[bytes], position: int, flip: int, more: bytes) -> None:
    broken = bytearray(b"".join(pack([out(body) for body in bodies])) + more)
    broken[position % len(broken)] ^= flip
    found = unpack(bytes(broken))
    assert found.problem
    assert [b.body for b in found.batches] == bodies[: len(found.batches)]


def test_foreign_and_torn_files_are_put_aside_with_a_reason_and_the_next_goes_on(url: str, tmp_path: Path) -> None:
    publisher = SpoolPublisher(url, name="a")
    publisher.publish([out(b"whole"), out(b"torn")])
    (torn,) = waiting(tmp_path)
    torn.write_bytes(torn.read_bytes()[:-1])
    folder = torn.parent
    (folder / "notes.txt").write_text("not ours")
    (folder / "empty").touch()
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / ".nfs0001").touch()
    (folder / ("x" * 250)).touch()
    publisher.publish([out(b"good")])
    consumer = SpoolConsumer(url, name="writer")
    got = drain(consumer, 2)
    assert sorted(d.body for d in got) == [b"good", b"whole"]
    assert consumer.receive(5, 0.2) == []
    consumer.ack(got)
    consumer.close()
    letters = list(SpoolDeadLetters(url).list())
    reasons = sorted(letter.reason for letter in letters)
    assert reasons == [
        "empty file",
        "empty file",
        "not a regular file",
        "not a regular file",
        "not a spool file (no magic)",
        "torn at batch 2 of 2 (byte 38); its first 1 batches were delivered",
    ]
    assert {letter.body for letter in letters if letter.reason.startswith("not a spool")} == {b"not ours"}
    assert all(b"root" not in letter.body for letter in letters)


def test_rejected_batches_are_listed_replayed_and_dropped(url: str) -> None:
    SpoolPublisher(url, name="a").publish([out(b"bad", "r.1"), out(b"good"), out(b"worse")])
    consumer = SpoolConsumer(url, name="writer")
    bad, good, worse = drain(consumer, 3)
    before = time.time_ns() // 1000
    consumer.reject(bad, "no such kind \udcff")
    consumer.reject(bad, "a second time")
    consumer.reject(worse, "worse")
    consumer.ack([good])
    dead = SpoolDeadLetters(url)
    assert dead.count() == 2
    first, second = dead.list()
    assert (first.reason, first.route, first.body, first.size) == ("no such kind \udcff", "states.r.1", b"bad", 3)
    assert before <= first.at <= time.time_ns() // 1000
    assert [letter.id for letter in dead.list(limit=1)] == [first.id]
    assert dead.replay([first.id, "../../etc/passwd", "nothing"]) == 1
    assert dead.drop([second.id, second.id]) == 1
    assert dead.count() == 0
    (back,) = drain(consumer, 1)
    assert (back.body, back.route) == (b"bad", "states.r.1")
    consumer.close()


def test_a_foreign_file_can_be_replayed_and_comes_back_when_it_is_still_bad(url: str, tmp_path: Path) -> None:
    SpoolPublisher(url, name="a").publish([out(b"x")])
    (path,) = waiting(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"!")
    consumer = SpoolConsumer(url, name="writer")
    consumer.ack(drain(consumer, 1))
    dead = SpoolDeadLetters(url)
    for _ in range(2):
        (letter,) = dead.list()
        assert letter.reason.startswith("1 bytes too many")
        assert dead.replay([letter.id]) == 1
        assert dead.count() == 0
        consumer.ack(drain(consumer, 1))
    (body,) = (tmp_path / "spool" / "dead").glob("*.body")
    body.write_bytes(whole)  # mended by hand
    assert dead.replay([letter.id for letter in dead.list()]) == 1
    assert [d.body for d in drain(consumer, 1)] == [b"x"]
    assert dead.count() == 0
    consumer.close()


def test_a_file_that_cannot_be_read_is_put_aside_in_the_end(url: str, tmp_path: Path) -> None:
    SpoolPublisher(url, name="a").publish([out(b"x")])
    consumer = SpoolConsumer(url, name="writer")
    (path,) = waiting(tmp_path)
    for attempt in range(1, 6):
        consumer._later(path, attempt, OSError(errno.EIO, "Input/output error"))
    (letter,) = SpoolDeadLetters(url).list()
    assert letter.reason == "cannot be read: Input/output error"


FULL = """
import resource, sys
from heliograph.bus import BusUnavailable, Outgoing
from heliograph.bus.spool import SpoolPublisher
from heliograph.messages import Class
publisher = SpoolPublisher(sys.argv[1], name="a")
publisher.publish([Outgoing(run="r", cls=Class.STATES, body=b"x")])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    publisher.publish([Outgoing(run="r", cls=Class.STATES, body=b"x" * 2000)])
except BusUnavailable as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_means_wait_and_leaves_nothing_behind(url: str, tmp_path: Path) -> None:
    assert resource.RLIMIT_FSIZE  # the limit stands for the full disk
    done = subprocess.run([sys.executable, "-c", FULL, url], capture_output=True, text=True, check=True)
    assert done.stdout == f"spool {tmp_path}/spool: File too large\n"
    assert len(list((tmp_path / "spool" / "new").glob("a/*"))) + len(list((tmp_path / "spool/new").glob("a/.*"))) == 1


def test_a_batch_that_no_carrier_takes_is_bad_and_nothing_is_written(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadMessage, match=str(MAX_BODY)):
        SpoolPublisher(url, name="a").publish([out(b"x"), out(b"x" * (MAX_BODY + 1))])
    assert not waiting(tmp_path)


def test_very_much_at_once_becomes_several_files(url: str, tmp_path: Path) -> None:
    body = b"x" * MAX_BODY
    SpoolPublisher(url, name="a").publish([out(body) for _ in range(20)])
    assert len(waiting(tmp_path)) == 2
    consumer = SpoolConsumer(url, name="w")
    assert [len(d.body) for d in drain(consumer, 20)] == [MAX_BODY] * 20
    consumer.close()


# -- whose folder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["spool:", "spool:relative/x", "spool://host/x", "spool:/a\0b"])
def test_urls_that_cannot_work_say_so(url: str) -> None:
    for opened in (SpoolPublisher, SpoolConsumer):
        with pytest.raises(BadUrl, match="spool:/folder"):
            opened(url, name="a")
    with pytest.raises(BadUrl, match="spool:/folder"):
        SpoolDeadLetters(url)


def test_three_slashes_are_the_same_folder_and_nothing_is_decoded(tmp_path: Path) -> None:
    SpoolPublisher(f"spool://{tmp_path}/my spool%20", name="a").publish([out(b"x")])
    assert (tmp_path / "my spool%20" / "new" / "a").is_dir()


def foreign_folder(tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        return Path("/usr")
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    return tmp_path / "theirs"


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadUrl, match="belongs to user"):
        SpoolPublisher(f"spool:{foreign_folder(tmp_path)}", name="a")


def test_a_folder_where_others_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o770)
    with pytest.raises(BadUrl, match="chmod 700"):
        SpoolConsumer(f"spool:{tmp_path}/open", name="a")


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(BadUrl, match="link"):
        SpoolPublisher(f"spool:{tmp_path}/link", name="a")


def test_a_folder_that_cannot_be_made_means_wait(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    publisher = SpoolPublisher(f"spool:{tmp_path}/file/spool", name="a")
    with pytest.raises(BusUnavailable, match="Not a directory"):
        publisher.publish([out(b"x")])
    (tmp_path / "file").unlink()
    publisher.publish([out(b"x")])


def test_a_spool_that_vanishes_is_made_again(url: str, tmp_path: Path) -> None:
    publisher, consumer = SpoolPublisher(url, name="a"), SpoolConsumer(url, name="w")
    publisher.publish([out(b"1")])
    consumer.ack(drain(consumer, 1))
    (tmp_path / "spool").rename(tmp_path / "away")
    publisher.publish([out(b"2")])
    got: list[Delivery] = []
    while not got:
        try:
            got = consumer.receive(1, 1)
        except BusUnavailable as error:
            assert "No such file" in str(error)  # noqa: PT017
    assert got[0].body == b"2"
    consumer.close()


# -- cost ------------------------------------------------------------------------------------------------------------


class Counting(SpoolConsumer):
    listings = 0

    def _list(self) -> list[str]:
        self.listings += 1
        return super()._list()


def test_a_long_queue_is_listed_rarely(url: str, tmp_path: Path) -> None:
    SpoolPublisher(url, name="a").publish([out(b"x")])
    (path,) = waiting(tmp_path)
    content = path.read_bytes()
    path.unlink()
    for index in range(60_000):
        (path.parent / f"{index:020d}-{index:012x}.batch").write_bytes(content)
    consumer = Counting(url, name="w")
    for _ in range(500):
        consumer.ack(consumer.receive(10, 0))
    assert consumer.listings == 1
    assert consumer.depth() == 55_000
    consumer.close()


def test_waiting_costs_almost_nothing_and_ends_early_when_something_comes(url: str) -> None:
    publisher, consumer = SpoolPublisher(url, name="a"), Counting(url, name="w")
    began = time.thread_time()
    assert consumer.receive(1, 4) == []
    assert time.thread_time() - began < 0.04
    assert consumer.listings < 15
    timer = threading.Timer(0.3, publisher.publish, [[out(b"x")]])
    timer.start()
    start = time.monotonic()
    assert len(consumer.receive(5, 20)) == 1
    assert time.monotonic() - start < 5
    timer.join()
    consumer.close()


def test_paused_takes_nothing_and_resumed_goes_on(url: str) -> None:
    publisher, consumer = SpoolPublisher(url, name="a"), SpoolConsumer(url, name="w")
    consumer.pause()
    publisher.publish([out(b"x")])
    assert consumer.receive(5, 0.3) == []
    assert consumer.depth() == 1
    consumer.resume()
    assert len(consumer.receive(5, 0.3)) == 1
    consumer.close()


def test_what_writers_that_died_left_behind_is_tidied(url: str, tmp_path: Path) -> None:
    publisher = SpoolPublisher(url, name="a")
    publisher.publish([out(b"x")])
    new = tmp_path / "spool" / "new"
    old, young = new / "a" / ".1.tmp", new / "a" / ".2.tmp"
    for path in (old, young):
        path.write_bytes(MAGIC)
    (new / "gone").mkdir()
    os.utime(old, (0, 0))
    os.utime(new / "gone", (0, 0))
    consumer = SpoolConsumer(url, name="w")
    assert len(consumer.receive(1, 1)) == 1
    assert not old.exists()
    assert young.exists()
    assert not (new / "gone").exists()
    consumer.close()
    assert {p.name for p in new.iterdir()} == {"a", RESCUED}
