"""Many viewers of one live run: do all hear of it, does the writer suffer, does the database feel how many they are?

In: `python -m tests.benchmarks.bench_viewers [--viewers 200] [--rate 5000] [--seconds 30] [--bus] [--json FILE]`. Out:
for none, one, many: news heard, how late, queries a tick, and how old the newest record in the database was, from its
making on (p50, p99); then the figures. A viewer does what a browser does: it holds a socket, and after each news it
asks for what a real page asked for in Chromium. News are the versions of the run that anybody was told of once all were
there; a viewer heard every one when at most one is missing, since the last comes when some are done already. Records
are written straight into the database; with `--bus` they go the whole way, by RabbitMQ and a writer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import quantiles
from urllib.parse import quote

from heliograph_store.migrate import migrate
from heliograph_store.read.runs import find_run
from heliograph_store.store import connect as open_store
from tests.benchmarks.frame import Figure, at_least, at_most, progress, show
from tests.benchmarks.viewers import RUN, watch
from tests.dashboard.conftest import FLAGS, running, viewing
from tests.fixtures.broker import Broker


@contextmanager
def writing(folder: Path, rate: int, *, bus: bool) -> Iterator[None]:
    """Processes that bring so many records a second into the database."""
    database = f"sqlite:///{folder / 'run.db'}"
    migrate(database)
    with ExitStack() as stack:
        url = database
        if bus:
            home = folder / "broker"
            home.mkdir()
            home.chmod(0o777)
            broker = Broker(home)
            stack.callback(broker.close)
            broker.start()
            url = broker.new_url()
            where = {"bus": url, "database": database, "health_port": "0"}
            stack.enter_context(running("writer", log=folder / "writer.log", **where))
        command = [sys.executable, "-m", "tests.dashboard.steady", url, str(rate)]
        while True:  # until the writer has made the queues, nothing can be sent
            with (folder / "steady.log").open("ab") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(_kill, process)
            if _arrived(database, process):
                break
        yield


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _arrived(database: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the run came into the database before the process gave up."""
    store = open_store(database, read_only=True)
    try:
        while process.poll() is None:
            if find_run(store, RUN) is not None:
                return True
            time.sleep(0.2)
    finally:
        store.close()
    return False


class Age(threading.Thread):
    """Asks again and again how old the newest record in the database is."""

    def __init__(self, database: Path) -> None:
        super().__init__(daemon=True)
        self._database, self._over = database, threading.Event()
        self.seconds: list[float] = []

    def run(self) -> None:
        with closing(sqlite3.connect(f"file:{quote(str(self._database))}?mode=ro", uri=True)) as connection:
            while not self._over.wait(0.05):
                (newest,) = connection.execute("SELECT max(last_seen) FROM runs").fetchone()
                self.seconds.append(time.time() - newest / 1e6)

    def stop(self) -> list[float]:
        self._over.set()
        self.join()
        return quantiles(self.seconds, n=100)


def bodies_of(url: str) -> list[str]:
    """What a real page asks for after a tick, with the tick's own data left open."""
    from playwright.sync_api import sync_playwright

    found: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page()
        page.goto(f"{url}/runs/{RUN}")
        page.locator("#live[data-state=live]").wait_for(timeout=60_000)
        page.wait_for_timeout(3000)
        page.on("request", lambda r: found.append(r.post_data) if "_dash-update-component" in r.url else None)
        for _ in range(20):  # on a busy machine news come late
            page.wait_for_timeout(6000)
            if any('"tick"' in body for body in found):
                break
        browser.close()
    assert found, "the page asked for nothing: is the machine too busy?"
    by_output = {json.loads(body)["output"]: body for body in found if '"tick"' in body}
    return list(by_output.values())


def figures(found: Sequence[Mapping[str, float]], rate: float) -> list[Figure]:
    """`found`: of none, of one, of many viewers."""
    none, one, many = found
    viewers, pace = f"{many['viewers']:,.0f} viewers", f"{many['records/s']:,.0f} records/s"
    ratio = many["queries a tick"] / one["queries a tick"]
    return [
        at_least(
            6, "viewers of a live run who heard every news", many["heard every one"], "viewers", many["viewers"],
            f"{many['news']:.0f} news; answered after {many['seconds until shown p50']:.2f} s, "
            f"p99 {many['seconds until shown p99']:.2f} s",
        ),
        at_most(6, f"wrong answers to {viewers}", many["errors"], "answers", 0),
        at_least(6, f"written for {viewers}", many["records/s"], "records/s", 0.95 * rate, f"of {rate:,.0f} made"),
        at_most(
            6, f"age of the newest row, {viewers}, p99", many["newest is old p99"], "s", 1,
            f"at {pace}; p50 {many['newest is old p50']:.2f} s; none look: p99 {none['newest is old p99']:.2f} s",
        ),
        at_most(
            6, f"queries a tick, {viewers} by one", ratio, "times", 1.2,
            f"{many['queries a tick']:.1f} and {one['queries a tick']:.1f}",
        ),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--bus", action="store_true", help="through RabbitMQ and a writer")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or what was started would stay
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        stack.enter_context(writing(folder, options.rate, bus=options.bus))
        url = stack.enter_context(viewing(folder / "run.db", log=folder / "view.log"))
        bodies = bodies_of(url)
        progress(f"{len(bodies)} callbacks a tick")
        found = []
        for viewers in (0, 1, options.viewers):
            found.append(looked_at(folder / "run.db", url, bodies, viewers, options.seconds))
            progress(json.dumps({key: round(value, 3) for key, value in found[-1].items()}))
    show(figures(found, options.rate), options.json)


def looked_at(database: Path, url: str, bodies: list[str], viewers: int, seconds: float) -> dict[str, float]:
    """What so many viewers met, and what the writer did meanwhile."""
    time.sleep(3)  # what those before left behind
    age = Age(database)
    before, began = written(database), time.monotonic()
    age.start()
    if viewers:
        result = asyncio.run(watch(url, bodies, viewers, seconds))
    else:
        time.sleep(seconds)
        result = {"viewers": 0}
    took, old = time.monotonic() - began, age.stop()
    records = (written(database) - before) / took
    return result | {"records/s": records, "newest is old p50": old[49], "newest is old p99": old[98]}


def written(database: Path) -> int:
    """Records in the database, near enough: four a task."""
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
        (tasks,) = connection.execute("SELECT sum(tasks) FROM run_states").fetchone()
    return 4 * int(tasks or 0)


if __name__ == "__main__":
    main()
