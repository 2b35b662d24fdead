"""`heliograph up`: a process tree of roles that starts, answers, looks after itself, and drains."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from heliograph.bus import open_publisher
from heliograph.handshake import connect
from tests.server.ingest import batches, stored


class Tree:
    """A running `heliograph up`."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self.data = folder / "data"
        self.log = folder / "up.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")}
        environment |= {f"HELIOGRAPH_{name.upper()}": value for name, value in variables.items()}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "heliograph.cli", "up", "--data", str(self.data), "--port", "0", *arguments],
                env=environment,
                stdout=output,
                stderr=output,
            )

    def wait(self, reached: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)

    @property
    def address(self) -> Path:
        return self.data / "address.json"

    def hub(self) -> str:
        self.wait(self.address.exists)
        return str(json.loads(self.address.read_text())["hub"])

    def health(self) -> str:
        """The writer's own port stands in its log."""
        found: list[str] = []
        self.wait(lambda: found.extend(re.findall(r"metrics and health on (\S+)", self.log.read_text())) or found)
        return found[-1]

    def children(self) -> dict[str, int]:
        return {name: int(pid) for name, pid in re.findall(r"(\w+) started \(pid (\d+)\)", self.log.read_text())}


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    one = Tree(tmp_path)
    yield one
    if one.process.poll() is None:
        one.process.terminate()
        try:
            one.process.wait(45)
        except subprocess.TimeoutExpired:
            one.process.kill()


@pytest.fixture
def tree_on_nfs(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "mounts").write_text(f"/dev/vda1 / ext4 rw 0 0\nserver:/x {tmp_path}/data nfs rw 0 0\n")
    (tmp_path / "state").mkdir(mode=0o700)
    one = Tree(tmp_path, "--mounts", f"{tmp_path}/mounts", state_dir=f"{tmp_path}/state")
    yield one
    if one.process.poll() is None:
        one.process.terminate()
        one.process.wait(45)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and ") Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_it_takes_records_through_its_hub_answers_and_drains(tree: Tree) -> None:
    hub, health = tree.hub(), tree.health()
    for url in (f"{hub}/readyz", f"{health}/readyz", f"{hub}/healthz", f"{health}/healthz"):
        tree.wait(lambda url=url: get(url)[0] == 200)
    assert get(f"{health}/nothing")[0] == 404
    dashboard = json.loads(tree.address.read_text())["dashboard"]
    tree.wait(lambda: get(f"{dashboard}readyz")[0] == 200)

    route = connect(hub, run="run", run_dir="/runs/run")  # as an agent finds its bus
    made = list(batches("run", 40))
    with closing(open_publisher(route.bus, name="agent", token=route.token)) as publisher:
        publisher.publish([outgoing for _, outgoing in made])
    facts = {fact for some, _ in made for fact in some}
    database = f"sqlite:///{tree.data}/heliograph.db"
    tree.wait(lambda: stored(database) == facts)

    metrics = get(f"{health}/metrics")[1]
    assert 'heliograph_writer_records_total{kind="task.state"} 160.0' in metrics
    assert "heliograph_writer_store_up 1.0" in metrics
    assert "heliograph_writer_bus_up 1.0" in metrics

    roles = tree.children()
    tree.process.terminate()
    assert tree.process.wait(45) == 0, tree.log.read_text()
    assert not any(alive(pid) for pid in roles.values())
    assert not tree.address.exists()
    log = tree.log.read_text()
    assert log.index("Shutting down") < log.index("heliograph.writer stopped"), "sinks stop last"


def test_a_role_that_dies_is_started_again(tree: Tree) -> None:
    tree.health()
    first = tree.children()["writer"]
    os.kill(first, signal.SIGKILL)
    tree.wait(lambda: tree.children()["writer"] != first)
    tree.wait(lambda: tree.log.read_text().count("the bus answers") >= 1)
    tree.wait(lambda: get(f"{tree.health()}/readyz")[0] == 200)


def test_nothing_outlives_a_killed_parent(tree: Tree) -> None:
    tree.hub()
    tree.health()
    roles = tree.children()
    tree.process.kill()
    tree.process.wait()
    end = time.monotonic() + 30
    while any(alive(pid) for pid in roles.values()):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_on_a_network_file_system_it_publishes_copies(tree_on_nfs: Tree, tmp_path: Path) -> None:
    tree = tree_on_nfs
    hub = tree.hub()
    tree.wait(lambda: get(f"{hub}/readyz")[0] == 200)
    route = connect(hub, run="run", run_dir="/runs/run")
    made = list(batches("run", 40))
    with closing(open_publisher(route.bus, name="agent", token=route.token)) as publisher:
        publisher.publish([outgoing for _, outgoing in made])
    facts = {fact for some, _ in made for fact in some}
    published = tree.data / "heliograph.db"
    tree.wait(lambda: published.exists() and stored(f"sqlite:///{published}") == facts)
    assert not (tree.data / "heliograph.db-wal").exists()
    assert list((tmp_path / "state").glob("databases/*/heliograph.db"))
    tree.process.terminate()
    assert tree.process.wait(45) == 0, tree.log.read_text()
    assert stored(f"sqlite:///{published}") == facts
    assert not list((tmp_path / "state").glob("databases/*/heliograph.db"))
