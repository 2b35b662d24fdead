"""`heliograph import`: old runs that Parsl's own monitoring recorded, taken over.

In: a monitoring.db or its URL. Out: the same as messages, published to the bus or written straight into a database.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from heliograph.bus import BusFull, Outgoing, hidden, open_publisher
from heliograph.messages import Batch, Class, encode
from heliograph_server import storage
from heliograph_server.errors import SetupError
from heliograph_server.given import make_folder, needed, settings_of
from heliograph_server.lock import WriterLock
from heliograph_server.placement import SCHEME, sqlite_path
from heliograph_server.settings import Settings
from heliograph_writer.pipeline import backoff
from heliograph_writer.stop import Stop

AT_ONCE = 20


def import_old(args: argparse.Namespace) -> int:
    from heliograph_store.parsl_import import NotParslDatabase, import_batches, old_runs

    source, zone = source_url(args.source), _zone(args.zone)
    try:
        runs = old_runs(source, zone=zone)
        print(f"{len(runs)} runs in {hidden(source)}")
        count = _take_over(args, import_batches(source, zone=zone))
    except NotParslDatabase as error:
        raise SetupError(str(error)) from None
    print(f"{count} records taken over")
    return 0


def source_url(named: str) -> str:
    """A file's path as a URL; a URL as it is. Raises SetupError for a file that is not there."""
    if "://" in named:
        return named
    path = Path(named).absolute()
    if not path.is_file():
        raise SetupError(f"{named}: there is no such file")
    return f"{SCHEME}{path}"


def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):
        raise SetupError(f"{name!r} is not a time zone; write for example Europe/Berlin") from None


def _take_over(args: argparse.Namespace, batches: Iterator[Batch]) -> int:
    settings = settings_of(args)
    # A database that stands on the command line is meant; one from the settings has a writer of its own.
    if args.database or not settings.bus:
        return write(settings, batches)
    return publish(needed(settings, "bus"), batches)


def publish(bus: str, batches: Iterator[Batch], stop: Stop | None = None) -> int:
    """Publish with the patience of an agent: a full bus is waited for. Returns the number of records."""
    stop = stop or Stop()
    count = 0
    with closing(open_publisher(bus, name=f"import-{os.getpid()}")) as publisher:
        for some in _portions(batches):
            outgoing = [Outgoing(run=b.run, cls=Class(b.cls), body=encode(b)) for b in some]
            attempt = 0
            while True:
                try:
                    publisher.publish(outgoing)
                    break
                except BusFull:
                    stop.wait(backoff(attempt, first=0.1, last=5.0))
                    attempt += 1
            count += sum(len(b.records) for b in some)
    return count


def write(settings: Settings, batches: Iterator[Batch]) -> int:
    """Write with the writer's own means; a SQLite file that has a writer already takes what it gets through its bus."""
    database = needed(settings, "database")
    make_folder(database)
    lock = WriterLock(sqlite_path(database)) if database.startswith(SCHEME) else None
    if lock is not None and not lock.acquire():
        raise SetupError(f"{database} has a writer at work; import through its bus with --bus, or stop it first")
    try:
        storage.migrate(database)
        count = 0
        with storage.opened(database) as writer:
            for some in _portions(batches):
                writer.write(some)
                count += sum(len(b.records) for b in some)
        return count
    finally:
        if lock is not None:
            lock.release()


def _portions(batches: Iterable[Batch]) -> Iterator[list[Batch]]:
    iterator = iter(batches)
    while some := list(islice(iterator, AT_ONCE)):
        yield some
