"""Many viewers of one live run: do all hear of it, does the writer suffer, does the database feel how many they are?

In: `python -m tests.benchmarks.bench_viewers [--viewers 200] [--rate 5000] [--seconds 30] [--bus]`. Out: for none, one,
many: news heard, how late, queries a tick, and how old the newest record in the database was, from its making on (p50,
p99). A viewer does what a browser does: it holds a socket, and after each news it asks for what a real page asked for
in Chromium. Records are written straight into the database; with `--bus` they go the whole way, by RabbitMQ and a
writer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import connect

from heliograph_store.migrate import migrate
from heliograph_store.read.runs import find_run
from heliograph_store.store import connect as open_store
from tests.dashboard.conftest import FLAGS, running, viewing
from tests.fixtures.broker import Broker

RUN = "steady"
TICK = re.compile(r'\{"run": ?"[^"]*", ?"version": ?\d+\}')


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


class Client:
    """One kept connection. An HTTP library would take more of the machine than what is measured."""

    def __init__(self, url: str) -> None:
        self._host, self._port = url.removeprefix("http://").split(":")

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, int(self._port))

    async def post(self, body: bytes) -> int:
        here = f"{self._host}:{self._port}"
        head = f"POST /_dash-update-component HTTP/1.1\r\nHost: {here}\r\nOrigin: http://{here}\r\n"
        head += f"Content-Type: application/json\r\nAccept-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if found := re.search(rb"content-length: (\d+)", answer):
            await self._reader.readexactly(int(found[1]))
        return int(answer.split()[1])


async def viewer(url: str, bodies: list[str], until: float, heard: list[float], failed: list[int]) -> None:
    origin = {"Origin": url}
    client = Client(url)
    await client.open()
    async with (
        connect(url.replace("http", "ws", 1) + "/live", additional_headers=origin, open_timeout=120) as socket,
    ):
        await socket.send(json.dumps({"run": RUN}))
        count = 0
        while time.monotonic() < until:
            try:
                news = json.loads(await asyncio.wait_for(socket.recv(), 10))
            except TimeoutError:
                break
            if "version" not in news:
                continue
            began = time.monotonic()
            await asyncio.sleep(random.random() * news["spread"] / 1000)
            tick = json.dumps({"run": RUN, "version": news["version"]})
            for body in bodies:
                status = await client.post(TICK.sub(tick, body).encode())
                if status not in {200, 204}:
                    failed.append(status)
            heard.append(time.monotonic() - began)
            count += 1
        assert count, "a viewer heard nothing"


def counters(url: str) -> dict[str, float]:
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    return {m[1]: float(m[2]) for m in re.finditer(r"^(heliograph\S+) (\S+)$", text, re.MULTILINE)}


async def watch(url: str, bodies: list[str], viewers: int, seconds: float) -> dict[str, Any]:
    heard: list[float] = []
    failed: list[int] = []
    before, began = await asyncio.to_thread(counters, url), time.monotonic()
    tasks = [viewer(url, bodies, began + seconds, heard, failed) for _ in range(viewers)]
    await asyncio.gather(*tasks)
    after = await asyncio.to_thread(counters, url)
    looks = after["heliograph_dashboard_looks_total"] - before["heliograph_dashboard_looks_total"]
    name = 'heliograph_dashboard_reads_total{from="database"}'
    return {
        "viewers": viewers,
        "news heard by each": len(heard) / viewers,
        "seconds until shown p50": quantiles(heard, n=100)[49],
        "seconds until shown p99": quantiles(heard, n=100)[98],
        "errors": len(failed),
        "queries a tick": (after[name] - before[name]) / looks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--bus", action="store_true", help="through RabbitMQ and a writer")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # or what was started would stay
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        stack.enter_context(writing(folder, options.rate, bus=options.bus))
        url = stack.enter_context(viewing(folder / "run.db", log=folder / "view.log"))
        bodies = bodies_of(url)
        print(f"{len(bodies)} callbacks a tick", flush=True)
        for viewers in (0, 1, options.viewers):
            time.sleep(3)  # what those before left behind
            age = Age(folder / "run.db")
            before = written(folder / "run.db")
            age.start()
            began = time.monotonic()
            if viewers:
                result = asyncio.run(watch(url, bodies, viewers, options.seconds))
            else:
                time.sleep(options.seconds)
                result = {"viewers": 0}
            took, old = time.monotonic() - began, age.stop()
            records = (written(folder / "run.db") - before) / took
            result |= {"records/s": records, "newest is old p50": old[49], "newest is old p99": old[98]}
            print(json.dumps({key: round(value, 3) for key, value in result.items()}), flush=True)


def written(database: Path) -> int:
    """Records in the database, near enough: four a task."""
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as connection:
        (tasks,) = connection.execute("SELECT sum(tasks) FROM run_states").fetchone()
    return 4 * int(tasks or 0)


if __name__ == "__main__":
    main()
