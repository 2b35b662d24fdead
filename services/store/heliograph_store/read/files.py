"""Files: the watches of a run, what they found, and what the callbacks made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from heliograph_store.read.query import beyond, fetch, flag, page_size
from heliograph_store.schema import file_callbacks, files, hosts, names, watches
from heliograph_store.store import Store


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A watch; `closed` None while it is open (or its end was never told). `task` is the key of the task it is of."""

    watch: str | None
    root: str | None
    host: str | None
    patterns: list[str]
    task: int | None
    opened: int | None
    closed: int | None
    files: int | None
    unfinished: int | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """A settled file; times in microseconds UTC. `key` is its place in `file_page`."""

    watch: str | None
    path: str
    size: int
    mtime: int
    at: int | None
    inode: int | None
    pattern: str | None
    repeat: bool | None
    key: tuple[int, str, int, int]


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A callback that ended. `key` is its place in `callback_page`."""

    watch: str | None
    callback: str
    sequence: int
    at: int | None
    outcome: str | None
    paths: list[str]
    result: str | None
    elapsed: int | None
    repeat: bool | None
    key: tuple[int, str, int]


def watch_list(store: Store, run_id: int) -> list[Watch]:
    """The run's watches; by the run's part of the primary key of `watches`."""
    w = watches.c
    plain = ("root", "patterns", "task", "opened", "closed", "files", "unfinished", "reason")
    query = (
        select(*(w[name] for name in plain), names.c.name.label("watch"), hosts.c.name.label("host"))
        .select_from(watches.outerjoin(names, names.c.id == w.watch).outerjoin(hosts, hosts.c.id == w.host))
        .where(w.run == run_id)
        .order_by(w.watch)
    )
    return [Watch(**{**row, "patterns": _texts(row["patterns"])}) for row in fetch(store, query)]


def file_page(
    store: Store,
    run_id: int,
    *,
    watch: str | None = None,
    after: tuple[int, str, int, int] | None = None,
    limit: int = 1000,
) -> list[FoundFile]:
    """Files found, by watch and path; `after` is the `key` of the last one read. By the primary key of `files`."""
    f = files.c
    key = (f.watch, f.path, f.mtime, f.size)
    plain = ("path", "size", "mtime", "at", "inode", "pattern", "repeat")
    query = (
        select(*(f[name] for name in plain), f.watch.label("watch_id"), names.c.name.label("watch"))
        .select_from(files.outerjoin(names, names.c.id == f.watch))
        .where(f.run == run_id)
        .order_by(*key)
        .limit(page_size(limit))
    )
    if watch is not None:
        query = query.where(f.watch == select(names.c.id).where(names.c.name == watch).scalar_subquery())
    if after is not None:
        query = query.where(beyond(key, after))
    return [_file(row) for row in fetch(store, query)]


def callback_page(
    store: Store, run_id: int, *, after: tuple[int, str, int] | None = None, limit: int = 1000
) -> list[Callback]:
    """Callbacks that ended, by watch and name; `after` is the `key` of the last one.

    By the run's part of the primary key of `file_callbacks`.
    """
    c = file_callbacks.c
    key = (c.watch, c.callback, c.sequence)
    plain = ("callback", "sequence", "at", "outcome", "paths", "result", "elapsed", "repeat")
    query = (
        select(*(c[name] for name in plain), c.watch.label("watch_id"), names.c.name.label("watch"))
        .select_from(file_callbacks.outerjoin(names, names.c.id == c.watch))
        .where(c.run == run_id)
        .order_by(*key)
        .limit(page_size(limit))
    )
    if after is not None:
        query = query.where(beyond(key, after))
    return [_callback(row) for row in fetch(store, query)]


def _file(row: dict[str, Any]) -> FoundFile:
    key = (row.pop("watch_id"), row["path"], row["mtime"], row["size"])
    return FoundFile(**{**row, "repeat": flag(row["repeat"]), "key": key})


def _callback(row: dict[str, Any]) -> Callback:
    key = (row.pop("watch_id"), row["callback"], row["sequence"])
    return Callback(**{**row, "repeat": flag(row["repeat"]), "paths": _texts(row["paths"]), "key": key})


def _texts(text: str | None) -> list[str]:
    return [str(item) for item in json.loads(text)] if text else []
