"""`heliograph runs`: the runs of a database, for people.

In: a database URL, a run's id or its beginning. Out: tables on stdout; tags set, runs removed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from heliograph_server.errors import SetupError
from heliograph_server.given import needed, settings_of

if TYPE_CHECKING:
    from heliograph_store.read.runs import Run
    from heliograph_store.store import Store

DATA = "heliograph.db"


def list_runs(args: argparse.Namespace) -> int:
    from heliograph_store.read.liveness import liveness
    from heliograph_store.read.runs import list_runs as query

    now = time.time_ns() // 1000
    with _store(args) as store:
        after: tuple[int, int] | None = None
        count = 0
        while page := query(store, after=after, limit=50):
            for run in page:
                tags = " ".join(f"{key}={value}" for key, value in sorted(run.tags.items()))
                state = liveness(run, now)
                _say(f"{run.run:<36}  {state:<9}  {_time(run.began):<20}  {run.name or '-':<24} {tags}".rstrip())
            count += len(page)
            after = page[-1].key
    if not count:
        print("no runs")
    return 0


def show_run(args: argparse.Namespace) -> int:
    from heliograph_store.read.liveness import liveness
    from heliograph_store.read.runs import app_counts, failure_counts

    with _store(args) as store:
        run = _find(store, args.run)
        apps, failures = app_counts(store, run.id), failure_counts(store, run.id)
    facts = {
        "run": run.run,
        "name": run.name,
        "state": liveness(run, time.time_ns() // 1000),
        "started": _time(run.began),
        "ended": _time(run.ended),
        "owner": f"{run.owner or '-'} on {run.host or '-'}",
        "folder": run.run_dir,
        "program": f"{run.program or '-'} {run.program_version or ''}, Python {run.python or '-'}",
        "tags": " ".join(f"{key}={value}" for key, value in sorted(run.tags.items())),
    }
    for name, value in facts.items():
        _say(f"{name:<9} {value or '-'}")
    for app in apps:
        states = ", ".join(f"{count} {state or 'unknown'}" for state, count in sorted(app.states.items(), key=str))
        _say(f"  {app.app or '(not described)':<24} {states}")
    for failure in failures:
        _say(f"  failed with {failure.exc_type or 'an unknown exception'}: {failure.tries} tries")
    return 0


def tag_run(args: argparse.Namespace) -> int:
    from heliograph_store.maintenance import tag_run as tag

    changes = dict(_pair(text) for text in args.tags)
    with _store(args, read_only=False) as store:
        run = _find(store, args.run)
        tag(store, run.run, changes)
    print(f"{run.run}: " + ", ".join(f"{k}={v}" if v is not None else f"{k} removed" for k, v in changes.items()))
    return 0


def delete_run(args: argparse.Namespace) -> int:
    from heliograph_store.maintenance import delete_run as delete

    with _store(args, read_only=False) as store:
        run = _find(store, args.run)
        if not args.yes and not _agreed(f"Delete run {run.run} ({run.name or 'unnamed'}) with all that belongs to it?"):
            print("nothing was deleted")
            return 1
        delete(store, run.run)
    print(f"{run.run} deleted")
    return 0


@contextmanager
def _store(args: argparse.Namespace, *, read_only: bool = True) -> Iterator[Store]:
    from heliograph_store.migrate import check
    from heliograph_store.store import connect

    settings = settings_of(args)
    there = settings.data / DATA
    if not settings.database and there.is_file():
        settings = settings.model_copy(update={"database": f"sqlite:///{there.absolute()}"})
    with closing(connect(needed(settings, "database"), read_only=read_only)) as store:
        check(store)
        yield store


def _find(store: Store, given: str) -> Run:
    """The run with this id, or the only one whose id begins so."""
    from heliograph_store.read.runs import find_run, list_runs

    exact = find_run(store, given)
    if exact is not None:
        return exact
    begins = [run for run in list_runs(store, search=given, limit=50) if run.run.startswith(given)]
    if len(begins) == 1:
        return begins[0]
    if begins:
        raise SetupError(f"several runs begin with {given}: {', '.join(run.run for run in begins[:5])}")
    raise SetupError(f"there is no run {given}; `heliograph runs list` shows those there are")


def _pair(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise SetupError(f"{text!r} is no tag; write KEY=VALUE, or KEY= to remove it")
    return key, value or None


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise SetupError("say --yes to delete without being asked")
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _say(line: str) -> None:
    """One line, whatever the texts of a workflow hold: a terminal obeys control characters."""
    print("".join(c if c.isprintable() else "\ufffd" for c in line))


def _time(at: int | None) -> str:
    """Local time, for people at this screen."""
    return datetime.fromtimestamp(at / 1e6, UTC).astimezone().isoformat(sep=" ", timespec="seconds") if at else "-"
