"""`heliograph backup` and `heliograph restore`: a SQLite database as one file, and back.

In: the database, a file. Out: a consistent copy, made while everything runs; or the database replaced by such a copy,
while nothing writes it. PostgreSQL has programs of its own for this.
"""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from pathlib import Path

from heliograph.bus import hidden
from heliograph_server.errors import SetupError
from heliograph_server.given import needed, placement_of, settings_of
from heliograph_server.lock import WriterLock
from heliograph_server.placement import SCHEME, Placement
from heliograph_server.snapshot import remove
from heliograph_store.migrate import current
from heliograph_store.snapshot import publish_snapshot
from heliograph_store.store import connect


def backup(args: argparse.Namespace) -> int:
    placement = _of_file(args, "pg_dump --format=custom --file=FILE URL")
    target = args.file.absolute()
    if target in {placement.live, placement.published}:
        raise SetupError(f"{target} is the database itself; name another file")
    if not Path(placement.readable_url.removeprefix(SCHEME)).exists():
        raise SetupError(f"{placement.published}: there is no database")
    size = _copy(placement.readable_url, target)
    print(f"{target}: {size} bytes, schema {current(SCHEME + str(target))}")
    return 0


def restore(args: argparse.Namespace) -> int:
    placement = _of_file(args, "pg_restore --clean --if-exists --dbname=URL FILE")
    if not args.file.is_file():
        raise SetupError(f"{args.file}: there is no such file")
    revision = current(f"{SCHEME}{args.file.absolute()}")  # refuses what is not ours, or from a newer version
    if revision is None:
        raise SetupError(f"{args.file} holds nothing")
    if placement.published.exists() and not args.replace:
        raise SetupError(f"{placement.published} is there; `--replace` puts the backup in its place")
    lock = WriterLock(placement.published)
    if not lock.acquire():
        raise SetupError(f"a writer has {placement.published} open; stop it first")
    try:
        arriving = placement.published.with_name(f".{placement.published.name}.arriving")
        remove(arriving)
        _copy(f"{SCHEME}{args.file.absolute()}", arriving)
        for file in {placement.live, placement.published}:
            remove(file)  # with what was not yet merged into it, which would be taken for the backup's
        os.replace(arriving, placement.published)
    finally:
        lock.release()
    print(
        f"{placement.published}: schema {current(SCHEME + str(placement.published))}; `heliograph migrate` upgrades it"
    )
    return 0


def _of_file(args: argparse.Namespace, otherwise: str) -> Placement:
    settings = settings_of(args)
    placement = placement_of(settings)
    if placement is None:
        shown = hidden(needed(settings, "database"))
        raise SetupError(f"{shown} is a server's: use its own programs, `{otherwise}`")
    return placement


def _copy(source_url: str, target: Path) -> int:
    """For the owner only: rows hold what tasks were given and how they failed."""
    before = os.umask(0o077)
    try:
        with closing(connect(source_url, read_only=True)) as store:
            return publish_snapshot(store, target)
    finally:
        os.umask(before)
