"""The server's access to the store: opening it for writing, and the questions that decide when embedded mode ends.

In: database URLs. Out: a writer, whether a run ended, whether its agents and file watches are still at work.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import cache
from urllib.parse import quote

from heliograph.messages import Batch
from heliograph_store.errors import NeedsMigration, StoreError, StoreUnavailable
from heliograph_store.read.files import watch_list
from heliograph_store.read.pipeline import agent_list
from heliograph_store.read.runs import Run, find_run
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer, WriteResult
from heliograph_writer.metrics import WriterMetrics
from heliograph_writer.pipeline import backoff
from heliograph_writer.stop import Stop

log = logging.getLogger("heliograph.writer")
SCHEME = "sqlite:///"
AGENT_SILENT = 50_000_000
"""Microseconds after which an agent that did not say that it ended is taken for gone."""


class StoreWriter:
    """An open store with its writer; the connection pool finds a restarted server by itself."""

    def __init__(self, url: str) -> None:
        self.store = connect(url)
        self._writer = Writer(self.store)

    def write(self, batches: Sequence[Batch], /) -> WriteResult:
        return self._writer.write(batches)

    def close(self) -> None:
        self.store.close()


@contextmanager
def opened(url: str) -> Iterator[StoreWriter]:
    with closing(StoreWriter(url)) as writer:
        yield writer


def migrate(url: str) -> str:
    """Bring the database to this version's schema; returns the revision."""
    from heliograph_store.migrate import migrate as bring

    return bring(url)


def make_portable(url: str) -> None:
    """Leave a file that is complete in itself: one with a log beside it cannot be read from a folder that the reader
    may not write to. Somebody who has it open keeps it as it is."""
    if not url.startswith(SCHEME):
        return
    path = quote(url.removeprefix(SCHEME))
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=0)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def run_ended(url: str, run: str) -> bool:
    """Whether the run said that it ended. False when nobody can tell now."""
    return _ask(url, run, lambda _, found: found.ended is not None)


def agents_alive(url: str, run: str) -> bool:
    """Whether an agent of the run reported lately and did not say that it ended."""
    since = time.time_ns() // 1000 - AGENT_SILENT

    def at_work(store: Store, found: Run) -> bool:
        agents = agent_list(store, run_id=found.id)
        return any(not agent.ended and (agent.last_seen or 0) > since for agent in agents)

    return _ask(url, run, at_work)


def watches_open(url: str, run: str) -> bool:
    """Whether a file watch of the run has not said that it ended."""
    return _ask(url, run, lambda store, found: any(watch.closed is None for watch in watch_list(store, found.id)))


@cache
def _server(url: str) -> Store:
    return connect(url, read_only=True)


def _ask(url: str, run: str, question: Callable[[Store, Run], bool]) -> bool:
    """Asked every second or two: of a server through connections that are kept, of a file through a new one, because
    a file that somebody holds open cannot be left in one piece."""
    try:
        with closing(connect(url, read_only=True)) if url.startswith(SCHEME) else nullcontext(_server(url)) as store:
            found = find_run(store, run)
            return found is not None and question(store, found)
    except StoreError:
        return False


def wait_until_usable(url: str, stop: Stop, metrics: WriterMetrics) -> None:
    """Wait for a server that is not there yet, or not migrated yet: in compose and Kubernetes all roles start at once.

    Returns early when a stop is asked for. Raises what waiting cannot mend (wrong URL, foreign or newer database).
    """
    from heliograph_store.migrate import check

    attempt = 0
    while not stop.asked:
        try:
            with closing(connect(url)) as store:
                check(store)
        except (StoreUnavailable, NeedsMigration) as error:
            delay = backoff(attempt, first=0.2, last=5.0)
            log.warning("the database cannot be used yet, next try in %.1f s: %s", delay, error)
            attempt += 1
            stop.wait(delay)
            continue
        metrics.store_up.set(1)
        return


def refuse_unusable(url: str) -> None:
    """Raise what waiting cannot mend: a wrong URL, a foreign or newer database. One that is away is waited for."""
    from heliograph_store.migrate import check

    with suppress(StoreUnavailable, NeedsMigration), closing(connect(url, read_only=True)) as store:
        check(store)
