"""How long a record takes from the event to its committed row, and to a browser, at 5,000 records a second.

In: `python -m tests.benchmarks.bench_delay [--quick] [--json FILE]`. Out: figures. The whole real way: this process
appends to its journal, a real agent ships to a real RabbitMQ, a writer writes SQLite, `heliograph view` tells browsers.
'To the browser's socket' is when it hears of the row. 'To the pixels' is when a run's summary in a real Chromium has
drawn it: in a second stretch, since on two cores the browser takes from what it measures.
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
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import connect as websocket

from heliograph.bus.amqp.topology import declare
from heliograph.journal import Journal, now
from heliograph.messages import RunStarted, TaskDescribed, TaskState
from heliograph.route import Route, RouteFile, write_route
from tests.benchmarks.frame import Figure, at_most, progress, report, told
from tests.benchmarks.pixels import browser, delays, screen
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


def record(journal: Journal, prober: Prober, seconds: float, first: int) -> tuple[int, int]:
    """Append at the rate: five records a task, from number `first` on. Returns how many tasks, and how many records
    were dropped."""
    tasks, dropped, began = 0, 0, time.monotonic()
    while (since := time.monotonic() - began) < seconds:
        due = int((since + STEP) * RATE / 5) - tasks
        for number in range(first + tasks, first + tasks + due):
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


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a stretch of recording left: tasks up to now, probes with the times of their rows."""

    tasks: int
    dropped: int
    missing: int
    found: list[tuple[Probe, float]]


def stretch(journal: Journal, url: str, seconds: float, first: int = 0) -> Recorded:
    """Record for some seconds and those of warming up, and wait for the rows."""
    prober = Prober(url)
    tasks, dropped = record(journal, prober, seconds + WARM, first)
    missing = prober.finish()
    began = min((probe.at for probe, _ in prober.found), default=0) + WARM
    return Recorded(
        tasks=tasks, dropped=dropped, missing=missing, found=[one for one in prober.found if one[0].at >= began]
    )


def run(broker: Broker, folder: Path, seconds: float) -> list[Figure]:
    bus, database = broker.new_url(), folder / "delay.db"
    declare(bus)
    url = f"sqlite:///{database}"
    with writers(folder, bus, url, [0]), agent(folder, bus) as journal, closing(Stored(url)) as stored:
        at, mono = now()
        journal.append(RunStarted(at=at, mono=mono, name="delay", owner="ada", host="login1"))
        until(lambda: stored.ended() == 0 and stored.runs() == 1, 60)
        with viewing(database, log=folder / "view.log") as page:
            with closing(Browser(page)) as socket:
                stretches = [stretch(journal, url, seconds)]
                time.sleep(2)
                found = to_socket(stretches[0], sorted(socket.heard))
            if browser() is None:
                progress("there is no Chromium here, so the delay to its pixels is left out")
            else:
                with screen(f"{page}/runs/{RUN}") as shown:
                    stretches.append(stretch(journal, url, seconds, stretches[0].tasks))
                    time.sleep(5)
                    found += to_pixels(stretches[1], shown.shown())
        tasks = sum(one.tasks for one in stretches)
        until(lambda: stored.times(*STATES) == tasks * len(STATES), 60)
        lost = sum(one.missing + one.dropped for one in stretches) + tasks * len(STATES) - stored.times(*STATES)
    return [*found, at_most(4, "records lost on the way", lost, "records", 0, f"of {tasks * 5:,}")]


def to_socket(recorded: Recorded, heard: Sequence[float]) -> list[Figure]:
    rows = [seen - probe.at for probe, seen in recorded.found]
    sockets = [
        heard[place] - probe.at
        for probe, seen in recorded.found
        if (place := bisect_left(heard, seen - 0.02)) < len(heard)
    ]
    return [
        at_most(4, f"event to committed row at {RATE:,} records/s, p99", percentile(rows, 99), "s", 1,
                f"p50 {percentile(rows, 50):.2f} s, {len(rows)} probes"),
        at_most(4, "event to the browser's socket, p99", percentile(sockets, 99), "s", 2,
                f"p50 {percentile(sockets, 50):.2f} s"),
    ]  # fmt: skip


def to_pixels(recorded: Recorded, shown: Sequence[tuple[float, int]]) -> list[Figure]:
    rows = [seen - probe.at for probe, seen in recorded.found]
    pixels = delays(shown, [probe for probe, _ in recorded.found])
    return [
        at_most(4, "event to the pixels of a Chromium, p99", percentile(pixels, 99), "s", 2,
                f"p50 {percentile(pixels, 50):.2f} s, {len(pixels)} probes, {len(shown)} times drawn"),
        told(4, "the row with that Chromium on the same cores, p99", percentile(rows, 99), "s",
             f"p50 {percentile(rows, 50):.2f} s"),
        at_most(4, "probes that never came to the screen", len(recorded.found) - len(pixels), "probes", 0),
    ]  # fmt: skip


def figures(quick: bool) -> list[Figure]:
    with rabbitmq() as broker, tempfile.TemporaryDirectory(prefix="bench-delay-", ignore_cleanup_errors=True) as name:
        return run(broker, Path(name), 8 if quick else 30)


def main(argv: Sequence[str] | None = None) -> int:
    return report(figures, __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
