"""Writer and API beside a workflow: one writes, others stand by, each ends by itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from heliograph.bus import Outgoing, open_publisher
from heliograph.messages import Batch, Class, RunEnded, RunStarted, Source, encode
from tests.server.ingest import Counting, Fact, batches, stored


class Embedded:
    """`heliograph embedded` as a workflow starts it, and the workflow that it belongs to."""

    def __init__(self, folder: Path, *, run: str, mounts: Path | None = None) -> None:
        self.folder = folder
        self.run = run
        self.database = folder / "db" / "monitoring.db"
        self.run_dir = folder / run
        self.owner = subprocess.Popen(["sleep", "1000"])
        command = ["embedded", "--database", self.url, "--run", run, "--run-dir", str(self.run_dir)]
        command += ["--owner-pid", str(self.owner.pid)]
        command += ["--mounts", str(mounts)] if mounts else []
        self.log = folder / f"{run}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "heliograph_server", *command],
                env={**os.environ, "HELIOGRAPH_STATE_DIR": str(folder / "state")},
                stdout=output,
                stderr=output,
            )

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    @property
    def address(self) -> Path:
        return self.run_dir / ".heliograph" / "address.json"

    def publish(self, outgoing: list[Outgoing]) -> None:
        with closing(open_publisher(f"spool:{self.database}.spool", name=f"agent-{self.run}")) as publisher:
            publisher.publish(outgoing)

    def publish_tasks(self, tasks: int) -> set[Fact]:
        made = list(batches(self.run, tasks))
        self.publish([outgoing for _, outgoing in made])
        return {fact for facts, _ in made for fact in facts}

    def end_owner(self) -> None:
        self.owner.kill()
        self.owner.wait()

    def close(self) -> None:
        for process in (self.owner, self.process):
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Embedded]]:
    started: list[Embedded] = []

    def start_one(run: str, mounts: Path | None = None) -> Embedded:
        started.append(Embedded(tmp_path, run=run, mounts=mounts))
        return started[-1]

    yield start_one
    for one in started:
        one.close()


def wait_for(reached: Callable[[], bool], one: Embedded, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, one.log.read_text()
        time.sleep(0.05)


def control(run: str, *records: RunStarted | RunEnded) -> Outgoing:
    batch = Batch(
        version=1,
        run=run,
        cls="control",
        agent="a",
        host="h",
        boot="b",
        sources=[Source(journal="control", offsets=list(range(len(records))))],
        records=[msgspec.Raw(encode(record)) for record in records],
    )
    return Outgoing(run=run, cls=Class.CONTROL, body=encode(batch))


def facts_of(url: str) -> set[Fact]:
    try:
        return stored(url)
    except Exception:  # not there yet
        return set()


def test_it_writes_answers_and_ends_with_its_owner(start: Callable[..., Embedded]) -> None:
    one = start("r1")
    wait_for(one.address.exists, one)
    told = json.loads(one.address.read_text())
    api = told["api"]
    assert api.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{api}/healthz", timeout=30) as answer:
        assert json.load(answer)["status"] == "ok"
    assert one.address.stat().st_mode & 0o077 == 0, "it holds what opens the API, which others on this machine reach"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{api}/v1/runs", timeout=30)
    mine = urllib.request.Request(f"{api}/v1/runs", headers={"Authorization": f"Bearer {told['token']}"})
    with urllib.request.urlopen(mine, timeout=30) as answer:
        assert "items" in json.load(answer)
    facts = one.publish_tasks(100)
    wait_for(lambda: facts_of(one.url) == facts, one)
    assert one.process.poll() is None
    one.end_owner()
    late = one.publish_tasks(150)  # an agent ships what the killed workflow left behind
    assert one.process.wait(40) == 0, one.log.read_text()
    left = {p.name for p in one.database.parent.iterdir()}
    assert not {"monitoring.db-wal", "monitoring.db-journal"} & left, "a copy of the one file must be whole"
    assert not one.address.exists()
    assert stored(one.url) == facts | late


def test_it_ends_after_the_run_ended_though_the_process_lives_on(start: Callable[..., Embedded]) -> None:
    one = start("r1")
    now = time.time_ns() // 1000
    wait_for(one.address.exists, one)
    one.publish([control("r1", RunStarted(at=now, name="n"), RunEnded(at=now + 1, completed=1, failed=0))])
    assert one.process.wait(40) == 0, one.log.read_text()
    assert one.owner.poll() is None


@pytest.mark.slow
def test_another_stands_by_and_takes_over_after_a_kill(start: Callable[..., Embedded]) -> None:
    first = start("r1")
    wait_for(first.address.exists, first)
    second = start("r2")
    wait_for(lambda: "standing by" in second.log.read_text(), second)
    # The holder writes for all.
    facts = first.publish_tasks(50) | second.publish_tasks(50)
    wait_for(lambda: facts_of(first.url) == facts, first)
    with closing(Counting(first.url)) as count:
        before = count()
        more = second.publish_tasks(20_000)
        wait_for(lambda: count() > before, first)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert count() < 20_000 * 5, "the kill came too late to mean anything"
    wait_for(lambda: "taking over" in second.log.read_text(), second)
    wait_for(lambda: len(facts_of(first.url)) == 100_000 + 250, second, 60)
    assert stored(first.url) == facts | more
    second.end_owner()
    assert second.process.wait(40) == 0, second.log.read_text()


def test_one_that_stands_by_leaves_when_its_run_is_over(start: Callable[..., Embedded]) -> None:
    first = start("r1")
    wait_for(first.address.exists, first)
    second = start("r2")
    wait_for(lambda: "standing by" in second.log.read_text(), second)
    wait_for(second.address.exists, second)
    second.end_owner()
    assert second.process.wait(40) == 0
    assert first.process.poll() is None


@pytest.mark.slow
def test_on_a_network_file_system_the_live_file_is_here_and_snapshots_are_there(
    start: Callable[..., Embedded], tmp_path: Path
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda1 / ext4 rw 0 0\nserver:/home {tmp_path}/db nfs4 rw,vers=4.2 0 0\n")
    one = start("r1", mounts)
    wait_for(one.address.exists, one)
    assert "network file system (nfs4)" in one.log.read_text()
    facts = one.publish_tasks(200)
    wait_for(lambda: facts_of(one.url) == facts, one)
    names = {p.name for p in one.database.parent.iterdir()}
    assert not {"monitoring.db-wal", "monitoring.db-shm"} & names, "nothing there needs shared memory"
    [live] = (tmp_path / "state").glob("databases/*/monitoring.db")

    # Killed between two snapshots: what was not published was not acknowledged, so nothing is missing later.
    facts |= one.publish_tasks(400)
    wait_for(lambda: facts_of(f"sqlite:///{live}") == facts, one)
    one.process.send_signal(signal.SIGKILL)
    one.process.wait()
    live.unlink()  # as when another host takes over: this file is out of reach
    two = start("r2", mounts)
    wait_for(two.address.exists, two)
    two.end_owner()
    assert two.process.wait(40) == 0, two.log.read_text()
    assert stored(one.url) == facts
    assert not live.exists(), "after a clean end the published file is the only one"


@pytest.mark.parametrize("url", ["postgresql://h/db", "sqlite://", "sqlite:///:memory:", "monitoring.db"])
def test_it_wants_a_database_file(url: str, tmp_path: Path) -> None:
    command = ["embedded", "--database", url, "--run", "r", "--run-dir", str(tmp_path), "--owner-pid", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "heliograph_server", *command], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("heliograph: the database must be a file")
    assert done.stderr.count("\n") == 1


def test_nothing_but_loopback_is_listened_on(start: Callable[..., Embedded]) -> None:
    one = start("r1")
    wait_for(one.address.exists, one)
    port = int(json.loads(one.address.read_text())["api"].rpartition(":")[2])
    other = socket.gethostbyname(socket.gethostname())
    if not other.startswith("127."):
        with pytest.raises(OSError, match="refused"), socket.create_connection((other, port), 1):
            pass
