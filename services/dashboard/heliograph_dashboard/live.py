"""What changed, and when: one question a second to the store, whatever the number of viewers.

In: which runs somebody looks at. Out: a version for each run (None: all runs) that grows when something in it changed,
pushed to the viewers over WebSockets; those whose proxy lets none through ask `/live` for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from heliograph_store.errors import StoreError
from heliograph_store.read.changes import Watch, run_marks
from heliograph_store.read.liveness import alive_until
from heliograph_store.read.runs import Run, find_run, get_run
from heliograph_store.store import Store

log = logging.getLogger("heliograph.dashboard")
SETTLES: Final = 10.0
"""Seconds after which a change of the database counts for a run though its mark is the same, while the run goes on."""
SETTLES_LATE: Final = 60.0
"""The same for a run that has ended."""
ROUNDED: Final = 5.0
"""Seconds by which the present of a page may be rounded down: a run that dies is news only when all pages see it."""
MAX_RUN: Final = 255
SILENCE: Final = 25.0
"""Seconds after which a socket without news says that it is alive: proxies close what is silent."""
PACE: Final = 0.005
"""Seconds from news to news for each viewer there is: two hundred hear once a second, a thousand every five. What a
page asks for afterwards takes most of a millisecond of this process."""
SPREAD: Final = 0.6
"""The part of that time over which they spread what they ask."""


@dataclass
class _Known:
    """A run as it was last seen."""

    version: int
    generation: int
    mark: Hashable
    bumped: float
    ended: bool
    until: float
    """Until when its lease keeps it alive, as `time.time()`; what is shown changes then, without any record."""


class Versions:
    """Versions of runs. Safe to share between threads; asks the store once in `every` seconds at most."""

    def __init__(self, get: Callable[[], Store], *, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._get, self._every, self._clock = get, every, clock
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._watch: Watch | None = None
        self._mark: Hashable = None
        self._looked = float("-inf")
        self._all = (self._clock(), 0)
        # Versions go on growing over a restart, so that a viewer who was there before is told something newer.
        self._count = int(time.time())
        self.generation = self._count
        self._runs: dict[int, _Known] = {}
        self.trouble = ""
        self.looks = 0
        """How often the store was asked; for metrics and tests."""

    def of(self, run: int | None) -> int:
        """The version of a run, None for all of them. While the store is away it stays what it was."""
        with self._lock:
            try:
                self._look()
                version = self.generation if run is None else self._version(run)
            except StoreError as error:
                self.trouble = str(error)
                known = self._runs.get(run) if run is not None else None
                return known.version if known is not None else self.generation
            self.trouble = ""
            return version

    def fresh(self) -> bool:
        """Whether `generation` was looked up lately."""
        return self._clock() - self._looked < self._every

    def close(self) -> None:
        with self._lock:
            if self._watch is not None:
                self._watch.close()

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked < self._every * 0.9:
            return
        self._looked = now
        self.looks += 1
        store = self._get()
        if store is not self._store:
            if self._watch is not None:
                self._watch.close()
            self._store, self._watch, self._mark = store, Watch(store), None
        assert self._watch is not None  # noqa: S101
        mark = self._watch.mark()
        # Runs can also die without a record: whoever looks at all of them is told now and then.
        if mark != self._mark or now - self._all[0] >= SETTLES:
            self._mark = mark
            self._all = (now, self._next())
            self.generation = self._all[1]

    def _version(self, run: int) -> int:
        known = self._runs.get(run)
        expired = known is not None and not known.ended and time.time() > known.until
        if known is not None and known.generation == self.generation and not expired:
            return known.version
        store = self._get()
        mark = run_marks(store, [run]).get(run)
        now = self._clock()
        late = known is not None and now - known.bumped >= (SETTLES_LATE if known.ended else SETTLES)
        if known is not None and known.mark == mark and not late and not expired:
            known.generation = self.generation
            return known.version
        ended, until = _life(get_run(store, run))
        if len(self._runs) > 1000:
            self._runs.clear()
        self._runs[run] = _Known(
            version=self._next(), generation=self.generation, mark=mark, bumped=now, ended=ended, until=until
        )
        return self._runs[run].version

    def _next(self) -> int:
        self._count += 1
        return self._count


def _life(run: Run | None) -> tuple[bool, float]:
    """Whether it has ended, and until when it is alive without further signs (never again once that is over)."""
    if run is None or run.ended is not None:
        return True, float("inf")
    until = alive_until(run) / 1e6 + ROUNDED
    return False, until if until > time.time() else float("inf")


@dataclass(eq=False)
class _Viewer:
    """A connection, and what it has not been told yet."""

    socket: WebSocket
    run: str | None = None
    told: int = 0
    news: dict[str, Any] | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, news: dict[str, Any]) -> None:
        """Newer news replace those that were not sent yet: a slow viewer costs no memory."""
        self.news = news
        self.wake.set()


class Live:
    """The sockets of all viewers, and the one task that asks for news."""

    def __init__(self, versions: Versions, run_id: Callable[[str], int | None], *, every: float) -> None:
        self._versions, self._run_id, self._every = versions, run_id, every
        self._viewers: set[_Viewer] = set()
        self._someone = asyncio.Event()
        self._trouble = False

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    async def poll(self) -> None:
        """For ever: ask while somebody is there, and tell those whom it concerns. Nobody there costs nothing."""
        while True:
            await self._someone.wait()
            began = time.monotonic()
            try:
                await self._round()
            except Exception:  # the border of the task: without it nobody would be told anything any more
                log.exception("live updates")
            pause = max(self._every, PACE * len(self._viewers))
            await asyncio.sleep(max(0.05, pause - (time.monotonic() - began)))

    async def _round(self) -> None:
        viewers = list(self._viewers)
        wanted = {viewer.run for viewer in viewers}
        versions = await run_in_threadpool(self._ask, wanted)
        trouble = bool(self._versions.trouble)
        turned, self._trouble = trouble != self._trouble, trouble
        for viewer in viewers:
            version = versions.get(viewer.run, 0)
            if version > viewer.told or turned:
                viewer.told = version
                viewer.tell(self._news(viewer.run, version))

    def _ask(self, runs: set[str | None]) -> dict[str | None, int]:
        found: dict[str | None, int] = {}
        for run in runs:
            with suppress(StoreError):
                number = None if run is None else self._run_id(run)
                if run is None or number is not None:
                    found[run] = self._versions.of(number)
        return found

    def _news(self, run: str | None, version: int) -> dict[str, Any]:
        spread = int(1000 * SPREAD * PACE * len(self._viewers))
        return {"run": run, "version": version, "spread": spread, "trouble": bool(self._versions.trouble)}

    async def answer(self, request: Request) -> JSONResponse:
        """The version of `?run=`, for those who cannot hold a socket."""
        run = _run_named(request.query_params.get("run"))
        versions = await run_in_threadpool(self._ask, {run})
        news = self._news(run, versions.get(run, 0))
        return JSONResponse({**news, "spread": 0}, headers={"cache-control": "no-store"})

    async def serve(self, socket: WebSocket) -> None:
        """One viewer, from the opening to the end of its connection."""
        await socket.accept()
        viewer = _Viewer(socket=socket)
        sender = asyncio.create_task(self._send(viewer))
        self._viewers.add(viewer)
        self._someone.set()
        try:
            while True:
                asked = await socket.receive_json()
                viewer.run = _run_named(asked.get("run") if isinstance(asked, dict) else None)
                viewer.told = 0
        except (WebSocketDisconnect, ValueError, KeyError, RuntimeError):
            pass
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._someone.clear()
            sender.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await sender
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close()

    async def _send(self, viewer: _Viewer) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(viewer.wake.wait(), SILENCE)
                viewer.wake.clear()
                news, viewer.news = viewer.news, None
                await viewer.socket.send_json(news if news is not None else {"alive": True})


def _run_named(given: object) -> str | None:
    """The run that a viewer names, None for all of them. What no database can look up would end the round for all."""
    if not isinstance(given, str) or not given:
        return None
    return given[:MAX_RUN].encode(errors="replace").decode().replace("\0", "\ufffd")


def run_finder(get: Callable[[], Store]) -> Callable[[str], int | None]:
    """From a run's text id to its number, which never changes in a database: remembered."""
    known: dict[str, int] = {}
    of: list[Store] = []

    def find(run: str) -> int | None:
        store = get()
        if of != [store] or len(known) > 10_000:
            known.clear()
            of[:] = [store]
        if run not in known:
            found = find_run(store, run)
            if found is None:
                return None
            known[run] = found.id
        return known[run]

    return find
