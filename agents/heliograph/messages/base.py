"""What all records have in common: classes, states, the head of every record.

In: nothing. Out: the names that everything else is written in.
"""

from __future__ import annotations

from enum import Enum

import msgspec

SCHEMA_VERSION = 1
CONTENT_TYPE = "application/vnd.heliograph.batch.v1+msgpack"
MAX_RECORD = 1 << 20
"""Largest encoded record in bytes (1 MiB). `clip` keeps long texts far below; what still exceeds it is refused."""


class BadMessage(ValueError):
    """A message that can never be accepted: put it aside with this reason, and go on."""


class Class(str, Enum):
    """What a batch holds: decides the queue, and what is dropped first (samples) when space runs out."""

    CONTROL = "control"
    STATES = "states"
    SAMPLES = "samples"
    COMMANDS = "commands"
    """Not records: what a run asks of a service. Takes a way of its own past the writer."""


RECORDS = frozenset({Class.CONTROL, Class.STATES, Class.SAMPLES})
"""The classes that the writer stores."""


class State(str, Enum):
    """States of a try, with Parsl's names. The rank (position here) decides which state a try is in, never a clock."""

    PENDING = "pending"
    LAUNCHED = "launched"
    RUNNING = "running"
    RUNNING_ENDED = "running_ended"
    JOINING = "joining"
    FAIL_RETRYABLE = "fail_retryable"
    MEMO_DONE = "memo_done"
    EXEC_DONE = "exec_done"
    DEP_FAIL = "dep_fail"
    FAILED = "failed"

    @property
    def rank(self) -> int:
        return RANK[self.value]


RANK: dict[str, int] = {s.value: i for i, s in enumerate(State)}
"""Rank of a state within one try; a try's state is the highest rank seen. Stored: append only, never renumber."""
FINAL = frozenset({State.MEMO_DONE, State.EXEC_DONE, State.DEP_FAIL, State.FAILED})


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Common head of every record. Subclasses append fields after these two."""

    at: int
    mono: int = 0


class TaskRecord(Record, frozen=True, kw_only=True, array_like=True):
    """Head of what concerns a task: a task is (run, origin, number), where origin names who allocates the numbers."""

    origin: str
    number: int
