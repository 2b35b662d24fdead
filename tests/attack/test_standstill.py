"""Parts that stand still instead of dying: stopped processes, a broker in alarm, addresses that swallow everything.
The program does not wait for any of them, and what it recorded arrives when they go on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from heliograph_store.migrate import migrate
from tests.e2e.test_no_loss import Node, wait_for
from tests.fixtures.broker import Broker
from tests.server.ingest import Counting, WriterProcess, stored

SECONDS = 4.0


def stop_agent(node: Node, _writer: WriterProcess, _broker: Broker) -> Callable[[], None]:
    agents = node.agents()
    for agent in agents:
        os.kill(agent, signal.SIGSTOP)

    def go_on() -> None:
        for agent in agents:
            os.kill(agent, signal.SIGCONT)

    return go_on


def stop_writer(_node: Node, writer: WriterProcess, _broker: Broker) -> Callable[[], None]:
    assert writer.process is not None
    writer.process.send_signal(signal.SIGSTOP)
    return lambda: writer.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]


def freeze_broker(_node: Node, _writer: WriterProcess, broker: Broker) -> Callable[[], None]:
    broker.freeze()
    return broker.thaw


def alarm(_node: Node, _writer: WriterProcess, broker: Broker) -> Callable[[], None]:
    """Connections that publish are blocked."""
    broker.control("set_vm_memory_high_watermark", "absolute", "1MB")
    return lambda: broker.control("set_vm_memory_high_watermark", "absolute", "1GB") and None


@pytest.mark.slow
@pytest.mark.parametrize("still", [stop_agent, stop_writer, freeze_broker, alarm])
def test_everything_arrives_after_a_standstill(
    tmp_path: Path, broker: Broker, still: Callable[[Node, WriterProcess, Broker], Callable[[], None]]
) -> None:
    bus, database = broker.new_url(), f"sqlite:///{tmp_path}/store.db"
    migrate(database)
    node, writer = Node(tmp_path, bus), WriterProcess(bus=bus, database=database, folder=tmp_path)
    with closing(Counting(database)) as count:
        try:
            writer.start()
            node.start()
            wait_for(lambda: count() > 1000, 30, lambda: writer.output()[-2000:])
            go_on = still(node, writer, broker)
            try:
                before = node.recorded()
                time.sleep(SECONDS)
                assert node.recorded() - before > 1000, "nobody waited for it"
            finally:
                go_on()
            node.end()
            wait_for(lambda: count() >= node.recorded(), 60, lambda: f"{count()} of {node.recorded()} stored")
            wait_for(lambda: not node.left(), 30, lambda: str(node.left()))
        finally:
            node.stop()
            assert writer.stop() == 0
    assert stored(database) == set(node.ledger())


PROGRAM = """
import time
import heliograph
@heliograph.task
def square(x):
    return x * x
began = time.monotonic()
with heliograph.run("squares"):
    assert [square(n) for n in range(100)] == [n * n for n in range(100)]
print(time.monotonic() - began)
"""


@pytest.mark.parametrize("scheme", ["amqp", "http"])
def test_an_address_that_swallows_everything(tmp_path: Path, scheme: str) -> None:
    """As behind a firewall: connections are taken, or not even refused, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        for bus in (f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", f"{scheme}://192.0.2.1:5672"):
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM],
                env={**os.environ, "HELIOGRAPH_STATE_DIR": str(tmp_path / "state"), "HELIOGRAPH_BUS": bus},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert float(done.stdout) < 2.0
            assert not done.stderr
    node = Node(tmp_path, "")
    try:
        wait_for(lambda: bool(node.agents()), 15, lambda: "no agent was started")
        time.sleep(1.0)
        assert node.left(), "nothing was delivered, and nothing is deleted"
    finally:
        node.stop()
