"""`heliograph dead`: what was put aside, and what to do with it.

In: a bus URL. Out: a listing, one letter as JSON, letters given to the writers again, or deleted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heliograph.bus import DeadLetter, DeadLetters, open_dead_letters
from heliograph.messages import BadMessage, Batch, decode_batch, decode_records, record_ids, to_builtins
from heliograph_server.errors import SetupError
from heliograph_server.given import needed, settings_of

ALL = 1_000_000


def list_dead(args: argparse.Namespace) -> int:
    with _letters(args) as letters:
        count = 0
        for letter in letters.list(getattr(args, "limit", 100)):
            print(
                f"{letter.id}  {_time(letter.at)}  {letter.size:>9} B  {letter.route or '-':<30} ",
                _line(letter.reason),
            )
            count += 1
        total = letters.count()
    if not count:
        print("no dead letters")
    elif total > count:
        print(f"{total - count} more; --limit shows them")
    return 0


def show_dead(args: argparse.Namespace) -> int:
    with _letters(args) as letters:
        found = next((letter for letter in letters.list(ALL) if letter.id == args.id), None)
    if found is None:
        raise SetupError(f"there is no dead letter {args.id}; `heliograph dead list` shows those there are")
    print(json.dumps(described(found), indent=2, ensure_ascii=False, default=_plain))
    return 0


def replay_dead(args: argparse.Namespace) -> int:
    with _letters(args) as letters:
        ids = _chosen(args, letters)
        done = letters.replay(ids)
    return _report("given to the writers again", done, ids)


def drop_dead(args: argparse.Namespace) -> int:
    with _letters(args) as letters:
        ids = _chosen(args, letters)
        done = letters.drop(ids)
    return _report("deleted", done, ids)


def described(letter: DeadLetter) -> dict[str, Any]:
    """A letter for people: its records where it can be read, its bytes where not."""
    head = {
        "id": letter.id,
        "reason": letter.reason,
        "route": letter.route,
        "at": _time(letter.at),
        "size": letter.size,
    }
    try:
        batch = decode_batch(letter.body)
    except BadMessage as error:
        return {**head, "unreadable": str(error), "hex": letter.body[:4096].hex()}
    return {**head, "batch": _batch(batch)}


def _batch(batch: Batch) -> dict[str, Any]:
    good, aside = decode_records(batch)
    return {
        "run": batch.run,
        "class": batch.cls,
        "agent": batch.agent,
        "host": batch.host,
        "record_ids": list(record_ids(batch)),
        "records": [to_builtins(record) for record in good],
        "aside": [{"record_id": a.record_id, "reason": a.reason, "hex": a.raw[:1024].hex()} for a in aside],
    }


@contextmanager
def _letters(args: argparse.Namespace) -> Iterator[DeadLetters]:
    bus = needed(settings_of(args), "bus")
    if bus.startswith("spool:") and not Path(bus.removeprefix("spool:")).is_dir():
        raise SetupError(f"there is no spool at {bus.removeprefix('spool:')}")
    with closing(open_dead_letters(bus)) as letters:
        yield letters


def _chosen(args: argparse.Namespace, letters: DeadLetters) -> Sequence[str]:
    if bool(args.ids) == args.everything:
        raise SetupError("name the letters by their ids, or give --all")
    return [letter.id for letter in letters.list(ALL)] if args.everything else args.ids


def _report(what: str, done: int, asked: Sequence[str]) -> int:
    missing = len(asked) - done
    print(f"{done} {what}" + (f"; {missing} not found" if missing else ""))
    return 1 if missing else 0


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="seconds") if at else "-"


def _line(text: str) -> str:
    return " ".join(text.split())


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
