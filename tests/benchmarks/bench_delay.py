"""How long a record takes from the event to its committed row, and to a browser, at 5,000 records a second.

In: `python -m tests.benchmarks.bench_delay [--quick] [--json FILE]`. Out: figures. The whole real way: this process
appends to its journal, a real agent ships to a real RabbitMQ, a writer writes SQLite, `heliograph view` tells browsers.
'To the browser' is when its socket hears of the row; what a page then asks for and draws is measured by `bench_pages`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from websockets.asyncio.client import connect as websocket

from heliograph.bus.amqp.topology import declare
from heliograph.journal import Journal, now
from heliograph.messages import RunStarted, TaskDescribed, TaskState
from heliograph.route import Route, RouteFile, write_route
from tests.benchmarks.frame import Figure, at_most, report
from tests.benchmarks.probes import Probe, Prober, percentile
from tests.benchmarks.services import Stored, rabbitmq, until, writers
from tests.dashboard.conftest import viewing
from tests.fixtures.broker import Broker

RATE = 5000
STEP = 0.05
RUN = "delay"
WARM = 2.0
"""Seconds at the beginning that do not count: connections are made, pages loaded."""
STATES = ("pending", "launched", "running", "exec_done")
PROBE_EVERY = 40
"""Tasks between two that are looked for."""


@contextmanager
def agent(folder: Path, bus: str) -> Iterator[Journal]:
    """A journal of this process, and an agent that ships it to the bus."""
    os.environ["HELIOGRAPH_STATE_DIR"] = str(folder / "state")
    run_dir = folder / "run"
    run_dir.mkdir()
    write_route(run_dir, RouteFile(bus=bus))
    environment = dict(os.environ)
    os.environ["HELIOGRAPH_AGENT"] = "off"  # this one is started here, and no other
    with closing(Journal.open(Route(run=RUN, run_dir=str(run_dir), sample_interval=0))) as journal:
        environment.pop("HELIOGRAPH_AGENT", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "heliograph.agent"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            yield journal
        finally:
            process.terminate()
            process.wait(30)


def record(journal: Journal, prober: Prober, seconds: float) -> tuple[int, int]:
    """Append at the rate: five records a task. Returns how many tasks, and how many records were dropped."""
    tasks, dropped, began = 0, 0, time.monotonic()
    while (since := time.monotonic() - began) < seconds:
        due = int((since + STEP) * RATE / 5) - tasks
        for number in range(tasks, tasks + due):
            at, mono = now()
            head = {"at": at, "mono": mono, "origin": "parsl", "number": number}
            dropped += not journal.append(TaskDescribed(app=f"app_{number % 4}", **head))
            for state in STATES:
                dropped += not journal.append(TaskState(try_=0, state=state, **head))
            if number % PROBE_EVERY == 0:
                prober.add(Probe(run=RUN, task=number, state=STATES[-1], at=at / 1e6))
        tasks += due
        time.sleep(STEP)
    return tasks, dropped


class Browser:
    """A browser's socket: when it heard of something new."""

    def __init__(self, url: str) -> None:
        self.heard: list[float] = []
        self._end = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen(url)), daemon=True)
        self._thread.start()

    async def _listen(self, url: str) -> None:
        async with websocket(url.replace("http", "ws", 1) + "/live", additional_headers={"Origin": url}) as socket:
            await socket.send(json.dumps({"run": RUN}))
            while not self._end:
                try:
                    news = json.loads(await asyncio.wait_for(socket.recv(), 1))
                except TimeoutError:
                    continue
                if "version" in news:
                    self.heard.append(time.time())

    def close(self) -> None:
        self._end = True
        self._thread.join(10)


def run(broker: Broker, folder: Path, seconds: float) -> list[Figure]:
    bus, database = broker.new_url(), folder / "delay.db"
    declare(bus)
    url = f"sqlite:///{database}"
    with writers(folder, bus, url, [0]), agent(folder, bus) as journal:
        at, mono = now()
        journal.append(RunStarted(at=at, mono=mono, name="delay", owner="ada", host="login1"))
        with closing(Stored(url)) as stored:
            until(lambda: stored.ended() == 0 and stored.runs() == 1, 60)
            with viewing(database, log=folder / "view.log") as page, closing(Browser(page)) as browser:
                prober = Prober(url)
                tasks, dropped = record(journal, prober, seconds + WARM)
                missing = prober.finish()
                until(lambda: stored.times(*STATES) == tasks * len(STATES), 60)
                time.sleep(2)
                heard = sorted(browser.heard)
            kept = stored.times(*STATES)
    first = min(probe.at for probe, _ in prober.found) + WARM
    timed = [(probe, seen) for probe, seen in prober.found if probe.at >= first]
    rows = [seen - probe.at for probe, seen in timed]
    told_at = [heard[i] - probe.at for probe, seen in timed if (i := bisect_left(heard, seen - 0.02)) < len(heard)]
    lost = missing + dropped + tasks * len(STATES) - kept
    return [
        at_most(4, f"event to committed row at {RATE:,} records/s, p99", percentile(rows, 99), "s", 1,
                f"p50 {percentile(rows, 50):.2f} s, {len(rows)} probes"),
        at_most(4, "event to the browser's socket, p99", percentile(told_at, 99), "s", 2,
                f"p50 {percentile(told_at, 50):.2f} s"),
        at_most(4, "records lost on the way", lost, "records", 0, f"of {tasks * 5:,}"),
    ]  # fmt: skip


def figures(quick: bool) -> list[Figure]:
    with rabbitmq() as broker, tempfile.TemporaryDirectory(prefix="bench-delay-", ignore_cleanup_errors=True) as name:
        return run(broker, Path(name), 8 if quick else 30)


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
