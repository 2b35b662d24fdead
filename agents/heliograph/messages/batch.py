"""Batches: many records of one class of one run, as one message of the bus.

In: bytes from a bus. Out: the head of a batch, its records decoded, and those that had to be put aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec

from heliograph.messages.base import MAX_RECORD, SCHEMA_VERSION, BadMessage, Class
from heliograph.messages.commands import Command, decode_command
from heliograph.messages.records import AnyRecord, decode

MAX_RECORDS: Final = 20_000
"""Most records of a batch, ten times what agents put into one. A record can be a single byte: without a bound, one
message within the bus's limit would take a reader gigabytes, and come again whenever it had ended one."""
_AtMost = msgspec.Meta(max_length=MAX_RECORDS)


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Where consecutive records of a batch come from: a journal and the byte offset of each. Together: record ids."""

    journal: str
    offsets: Annotated[list[int], _AtMost]


class Batch(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="batch"):
    """Many records of one class of one run. `records[i]` has the i-th offset over all `sources` in order."""

    version: int
    run: str
    cls: str
    agent: str
    host: str
    boot: str
    sources: Annotated[list[Source], _AtMost]
    records: Annotated[list[msgspec.Raw], _AtMost]


_batch: msgspec.msgpack.Decoder[Batch] = msgspec.msgpack.Decoder(Batch)
_many: msgspec.msgpack.Decoder[list[AnyRecord]] = msgspec.msgpack.Decoder(list[AnyRecord])


class Aside(msgspec.Struct, frozen=True):
    """A record that this version cannot use: an unknown kind, or a broken record. Kept with the reason."""

    raw: bytes
    reason: str
    record_id: str


def decode_batch(body: bytes) -> Batch:
    """Decode a batch's head; its records stay raw. Raises BadMessage for anything that is not a batch we know."""
    try:
        batch = _batch.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise BadMessage(f"not a batch: {error}") from error
    if batch.version > SCHEMA_VERSION:
        # Appended fields and new kinds need no new version; only a change that cannot be read does.
        raise BadMessage(f"batch of schema version {batch.version}; this reader knows up to {SCHEMA_VERSION}")
    if not batch.run or batch.cls not in {c.value for c in Class}:
        raise BadMessage(f"batch without a run or of unknown class {batch.cls!r}")
    if sum(len(s.offsets) for s in batch.sources) != len(batch.records):
        raise BadMessage("batch whose offsets do not match its records")
    if len(body) > MAX_RECORD and any(memoryview(record).nbytes > MAX_RECORD for record in batch.records):
        raise BadMessage(f"batch with a record of more than {MAX_RECORD} bytes")
    return batch


def record_ids(batch: Batch) -> Iterable[str]:
    """Ids of the records in order, as 'journal:offset'."""
    for source in batch.sources:
        for offset in source.offsets:
            yield f"{source.journal}:{offset}"


def decode_records(batch: Batch) -> tuple[list[AnyRecord], list[Aside]]:
    """All records of a batch, and those that had to be put aside. One bad record costs no other."""
    try:
        return _many.decode(_array(batch.records)), []
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError):
        pass  # one of them is bad or of a newer kind: find out which
    good: list[AnyRecord] = []
    aside: list[Aside] = []
    for raw, record_id in zip(batch.records, record_ids(batch), strict=True):
        try:
            good.append(decode(raw))
        except BadMessage as error:
            aside.append(Aside(raw=bytes(raw), reason=str(error), record_id=record_id))
    return good, aside


def decode_commands(batch: Batch) -> tuple[list[Command], list[Aside]]:
    """All commands of a batch, and what is none. Raises BadMessage for a batch of another class."""
    if batch.cls != Class.COMMANDS.value:
        raise BadMessage(f"a batch of {batch.cls}, not of {Class.COMMANDS.value}")
    good: list[Command] = []
    aside: list[Aside] = []
    for raw, record_id in zip(batch.records, record_ids(batch), strict=True):
        try:
            good.append(decode_command(raw))
        except BadMessage as error:
            aside.append(Aside(raw=bytes(raw), reason=str(error), record_id=record_id))
    return good, aside


def _array(records: Sequence[msgspec.Raw]) -> bytes:
    """The raw records as one msgpack array (array 32 head, msgpack specification), to decode them in one call."""
    return b"\xdd" + len(records).to_bytes(4, "big") + b"".join(records)
