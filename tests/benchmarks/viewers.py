"""A viewer of a live run without a browser: it holds a socket and asks after each news, as a page does.

In: the dashboard's URL, and what a real page asks for. Out: of how many viewers at once, what they met.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import urllib.request
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from statistics import quantiles

from websockets.asyncio.client import connect

RUN = "steady"
TICK = re.compile(r'\{"run": ?"[^"]*", ?"version": ?\d+\}')


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


@dataclass
class Heard:
    """What one viewer met: the versions of the run in news, the seconds from each until all was answered, errors."""

    versions: set[int] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


async def viewer(
    url: str, bodies: list[str], seconds: float, there: asyncio.Barrier, since: asyncio.Future[int]
) -> Heard:
    """One viewer, for so many seconds from when all are there, of what is newer than `since`."""
    heard = Heard()
    client = Client(url)
    await client.open()
    where = url.replace("http", "ws", 1) + "/live"
    async with connect(where, additional_headers={"Origin": url}, open_timeout=120) as socket:
        await socket.send(json.dumps({"run": RUN}))
        await asyncio.wait_for(socket.recv(), 60)
        await there.wait()
        known, until = await since, time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                news = json.loads(await asyncio.wait_for(socket.recv(), left))
            except TimeoutError:
                break
            if news.get("version", 0) <= known:
                continue  # a sign of life, or what some heard before others were there
            began = time.monotonic()
            await asyncio.sleep(random.random() * news["spread"] / 1000)
            tick = json.dumps({"run": RUN, "version": news["version"]})
            for body in bodies:
                status = await client.post(TICK.sub(tick, body).encode())
                if status not in {200, 204}:
                    heard.failed.append(status)
            heard.seconds.append(time.monotonic() - began)
            heard.versions.add(news["version"])
    return heard


def version(url: str) -> int:
    """Of the run as it is now."""
    with urllib.request.urlopen(f"{url}/live?run={RUN}") as answer:
        return int(json.load(answer)["version"])


def counters(url: str) -> dict[str, float]:
    text = urllib.request.urlopen(f"{url}/metrics").read().decode()
    return {m[1]: float(m[2]) for m in re.finditer(r"^(heliograph\S+) (\S+)$", text, re.MULTILINE)}


async def watch(url: str, bodies: list[str], viewers: int, seconds: float) -> dict[str, float]:
    """So many viewers at once. Raises RuntimeError when one heard nothing at all."""
    there, since = asyncio.Barrier(viewers + 1), asyncio.get_running_loop().create_future()
    tasks = [asyncio.create_task(viewer(url, bodies, seconds, there, since)) for _ in range(viewers)]
    await there.wait()
    since.set_result(await asyncio.to_thread(version, url))
    before = await asyncio.to_thread(counters, url)
    heard = await asyncio.gather(*tasks)
    after = await asyncio.to_thread(counters, url)
    looks = after["heliograph_dashboard_looks_total"] - before["heliograph_dashboard_looks_total"]
    name = 'heliograph_dashboard_reads_total{from="database"}'
    answered = quantiles([took for one in heard for took in one.seconds], n=100)
    return {
        **reached([one.versions for one in heard]),
        "seconds until shown p50": answered[49],
        "seconds until shown p99": answered[98],
        "errors": sum(len(one.failed) for one in heard),
        "queries a tick": (after[name] - before[name]) / looks,
    }


def reached(heard: Sequence[Set[int]]) -> dict[str, float]:
    """How many viewers there are, of how many news anybody heard, and how many viewers heard every one but the last.

    Raises RuntimeError when a viewer heard nothing: then it measures something else.
    """
    news: set[int] = set().union(*heard)
    if not all(heard):
        raise RuntimeError(f"{sum(not one for one in heard)} of {len(heard)} viewers heard nothing")
    every = sum(len(one) >= len(news) - 1 for one in heard)
    return {"viewers": len(heard), "news": len(news), "heard every one": every}
