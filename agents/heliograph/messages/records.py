"""All kinds of records, their classes, and each of them to MessagePack and back.

In: records. Out: bytes, and back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from heliograph.messages.base import SCHEMA_VERSION, BadMessage, Class, Record
from heliograph.messages.commands import COMMANDS
from heliograph.messages.control import (
    AgentStatus,
    BlockState,
    Dropped,
    JournalClosed,
    NodeSeen,
    RunEnded,
    RunHeartbeat,
    RunStarted,
    WatchClosed,
    WatchOpened,
)
from heliograph.messages.samples import NodeSample, TaskSample
from heliograph.messages.states import FileCallback, FileFound, TaskDescribed, TaskEnded, TaskRunning, TaskState

Control = (
    RunStarted
    | RunEnded
    | RunHeartbeat
    | NodeSeen
    | BlockState
    | AgentStatus
    | Dropped
    | JournalClosed
    | WatchOpened
    | WatchClosed
)
States = TaskDescribed | TaskState | TaskRunning | TaskEnded | FileFound | FileCallback
Samples = TaskSample | NodeSample
AnyRecord = Control | States | Samples

_MEMBERS: dict[Class, tuple[type[Record], ...]] = {
    Class.CONTROL: Control.__args__,
    Class.STATES: States.__args__,
    Class.SAMPLES: Samples.__args__,
}
CLASS_OF: dict[type[Record], Class] = {
    **{member: cls for cls, members in _MEMBERS.items() for member in members},
    **dict.fromkeys(COMMANDS.values(), Class.COMMANDS),
}
KINDS: dict[str, type[Record]] = {
    str(m.__struct_config__.tag): m for m, cls in CLASS_OF.items() if cls is not Class.COMMANDS
}

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""Encode one record (or batch) to msgpack. `encode_into` style buffers are not worth their trouble at this size."""
_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)


def kind_of(record: Record) -> str:
    """The kind as it stands on the wire, such as 'task.state'."""
    return str(record.__struct_config__.tag)


def decode(raw: bytes | memoryview | msgspec.Raw) -> AnyRecord:
    """Decode one record. Raises BadMessage that says what is wrong with it."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise BadMessage(f"not a record of schema version {SCHEMA_VERSION}: {error}") from error


def to_builtins(record: Record) -> dict[str, Any]:
    """A record as a dict with its kind, for people (logs, the dead-letter listing)."""
    return {"kind": kind_of(record), **{name: getattr(record, name) for name in record.__struct_fields__}}
