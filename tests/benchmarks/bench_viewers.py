"""Many viewers of one live run: do all hear of it, does the writer suffer, does the database feel how many they are?

In: `python -m tests.benchmarks.bench_viewers [--viewers 200] [--rate 5000] [--seconds 30]`. Out: for none, one, many:
news heard, how late, queries a tick, and how far the process that writes was behind (p50, p99). A viewer does what a
browser does: it holds a socket, and after each news it asks for what a real page asked for in Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

from websockets.asyncio.client import connect

from tests.dashboard.conftest import FLAGS, viewing
from tests.dashboard.steady import Steady

RUN = "steady"
TICK = re.compile(r'\{"run": ?"[^"]*", ?"version": ?\d+\}')


@contextmanager
def writing(folder: Path, rate: int) -> Iterator[Path]:
    """A process that writes so many records a second; gives the file in which it says how late it was."""
    late = folder / "late.txt"
    late.touch()
    command = [sys.executable, "-m", "tests.dashboard.steady", f"sqlite:///{folder / 'run.db'}", str(rate), str(late)]
    process = subprocess.Popen(command)
    try:
        yield late
    finally:
        process.kill()
        process.wait()


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
        page.wait_for_timeout(6000)
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = Steady(f"sqlite:///{folder / 'run.db'}")
        first.start()
        first.close()
        with writing(folder, options.rate) as late, viewing(folder / "run.db", log=folder / "view.log") as url:
            bodies = bodies_of(url)
            print(f"{len(bodies)} callbacks a tick")
            for viewers in (0, 1, options.viewers):
                seen = late.stat().st_size
                if viewers:
                    result = asyncio.run(watch(url, bodies, viewers, options.seconds))
                else:
                    time.sleep(options.seconds)
                    result = {"viewers": 0}
                delays = [float(line) for line in late.read_text()[seen:].splitlines()[1:]]
                behind = quantiles(delays, n=100)
                result |= {"writer behind p50": behind[49], "writer behind p99": behind[98]}
                print(json.dumps({key: round(value, 3) for key, value in result.items()}), flush=True)


if __name__ == "__main__":
    main()
