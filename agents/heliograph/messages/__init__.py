"""The contract: every kind of record that crosses Heliograph, and the batches that carry them.

In: frozen structs made by recorders and agents. Out: MessagePack bytes, and back.

A record is a msgpack array `[kind, field, …]` (msgspec tagged, array-like structs): compact, and evolved only by
*appending* fields with defaults, so that a reader ignores what it does not know and fills in what an older writer did
not send. A batch carries records of one run and one class; its records stay raw until the writer decodes them one by
one when, and only when, one of them is bad. Golden files of every version stand in `tests/messages/golden/`.

Times: `at` is wall time in UTC as integer microseconds since the epoch; `mono` is CLOCK_MONOTONIC of the recording host
in microseconds (comparable only under one boot id, which the batch carries). Sizes are bytes, durations microseconds
unless the name says otherwise. A field that is unknown is None, never 0 and never NaN.
"""

from __future__ import annotations

from heliograph.messages.base import (
    CONTENT_TYPE,
    FINAL,
    MAX_RECORD,
    RANK,
    RECORDS,
    SCHEMA_VERSION,
    BadMessage,
    Class,
    Record,
    State,
    TaskRecord,
)
from heliograph.messages.batch import Aside, Batch, Source, decode_batch, decode_commands, decode_records, record_ids
from heliograph.messages.commands import COMMANDS, Command, WatchStart, WatchStop, decode_command
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
from heliograph.messages.records import (
    CLASS_OF,
    KINDS,
    AnyRecord,
    Control,
    Samples,
    States,
    decode,
    encode,
    kind_of,
    to_builtins,
)
from heliograph.messages.samples import Gpu, NodeSample, TaskSample
from heliograph.messages.states import FileCallback, FileFound, TaskDescribed, TaskEnded, TaskRunning, TaskState

__all__ = [
    "CLASS_OF",
    "COMMANDS",
    "CONTENT_TYPE",
    "FINAL",
    "KINDS",
    "MAX_RECORD",
    "RANK",
    "RECORDS",
    "SCHEMA_VERSION",
    "AgentStatus",
    "AnyRecord",
    "Aside",
    "BadMessage",
    "Batch",
    "BlockState",
    "Class",
    "Command",
    "Control",
    "Dropped",
    "FileCallback",
    "FileFound",
    "Gpu",
    "JournalClosed",
    "NodeSample",
    "NodeSeen",
    "Record",
    "RunEnded",
    "RunHeartbeat",
    "RunStarted",
    "Samples",
    "Source",
    "State",
    "States",
    "TaskDescribed",
    "TaskEnded",
    "TaskRecord",
    "TaskRunning",
    "TaskSample",
    "TaskState",
    "WatchClosed",
    "WatchOpened",
    "WatchStart",
    "WatchStop",
    "decode",
    "decode_batch",
    "decode_command",
    "decode_commands",
    "decode_records",
    "encode",
    "kind_of",
    "record_ids",
    "to_builtins",
]
