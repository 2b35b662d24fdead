"""The contract: every kind of record that crosses Heliograph, and the batches that carry them.

In: frozen structs made by recorders and agents. Out: MessagePack bytes, and back.

A record is a msgpack array `[kind, field, …]` (msgspec tagged, array-like structs): compact, and evolved only by
*appending* fields with defaults, so that a reader ignores what it does not know and fills in what an older writer did
not send. A batch carries records of one run and one class; its records stay raw until the writer decodes them one by
one when, and only when, one of them is bad. Golden files of every version stand in `tests/golden/`.

Times: `at` is wall time in UTC as integer microseconds since the epoch; `mono` is CLOCK_MONOTONIC of the recording host
in microseconds (comparable only under one boot id, which the batch carries). Sizes are bytes, durations microseconds
unless the name says otherwise. A field that is unknown is None, never 0 and never NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

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
DONE = frozenset({State.MEMO_DONE, State.EXEC_DONE})


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Common head of every record. Subclasses append fields after these two."""

    at: int
    mono: int = 0


# -- control ---------------------------------------------------------------------------------------------------------


class RunStarted(Record, tag="run.started", frozen=True, kw_only=True, array_like=True):
    """A workflow began. `program` is 'parsl', 'python' or 'exec'; `zone` an IANA name; `utc_offset` in seconds."""

    name: str
    version: str = ""
    owner: str = ""
    host: str = ""
    run_dir: str = ""
    program: str = "parsl"
    program_version: str = ""
    python: str = ""
    zone: str = ""
    utc_offset: int = 0
    tags: dict[str, str] = {}
    pid: int | None = None
    sample_interval: float = 0.0
    lease: int = 60_000_000


class RunEnded(Record, tag="run.ended", frozen=True, kw_only=True, array_like=True):
    """The workflow said that it ended. `completed` and `failed` are its own counts of tasks, None when it has none."""

    completed: int | None = None
    failed: int | None = None
    exit: str | None = None


class RunHeartbeat(Record, tag="run.heartbeat", frozen=True, kw_only=True, array_like=True):
    """The run's process was seen alive at `at`; the run counts as alive until `at + lease`."""

    lease: int = 60_000_000


class NodeSeen(Record, tag="node.seen", frozen=True, kw_only=True, array_like=True):
    """One pool of workers (or one process) on one host, told once and on change. `pool` is unique within the run."""

    host: str
    pool: str = ""
    executor: str = ""
    block: str | None = None
    workers: int | None = None
    cpu_count: int | None = None
    memory_total: int | None = None
    python: str = ""
    platform: str = ""
    active: bool = True
    pid: int | None = None


class BlockState(Record, tag="block.state", frozen=True, kw_only=True, array_like=True):
    """A block (batch job) of an executor changed its status; `status` in Parsl's words (PENDING, RUNNING, …)."""

    executor: str
    block: str
    status: str
    job_id: str | None = None


class AgentStatus(Record, tag="agent.status", frozen=True, kw_only=True, array_like=True):
    """An agent's own account. Counters are cumulative over the agent's life, so the highest value is the latest."""

    agent: str
    host: str
    pid: int
    version: str = ""
    depth: int = 0
    """Bytes in journals not yet confirmed by the bus."""
    shipped: int = 0
    dropped_samples: int = 0
    dropped_states: int = 0
    torn: int = 0
    """Stretches of journal that could not be read."""
    clock_offset: int | None = None
    """Agent's clock minus the hub's, in microseconds."""
    ended: bool = False


class Dropped(Record, tag="journal.dropped", frozen=True, kw_only=True, array_like=True):
    """How many records a journal's owner could not write so far (disk full, cap reached, too large). Cumulative."""

    journal: str
    host: str = ""
    samples: int = 0
    states: int = 0
    control: int = 0
    reason: str = ""


class JournalClosed(Record, tag="journal.closed", frozen=True, kw_only=True, array_like=True):
    """All of a journal was read. `clean` is False when its process died without closing it: 'tail unknown'."""

    journal: str
    host: str = ""
    pid: int | None = None
    clean: bool = True
    records: int = 0


class WatchOpened(Record, tag="watch.opened", frozen=True, kw_only=True, array_like=True):
    """A file watch began. `watch` is its id within the run."""

    watch: str
    root: str
    host: str = ""
    patterns: list[str] = []
    origin: str | None = None
    number: int | None = None


class WatchClosed(Record, tag="watch.closed", frozen=True, kw_only=True, array_like=True):
    """A file watch ended; `unfinished` says what it could not finish."""

    watch: str
    files: int = 0
    unfinished: int = 0
    reason: str = ""


# -- states ----------------------------------------------------------------------------------------------------------


class TaskRecord(Record, frozen=True, kw_only=True, array_like=True):
    """Head of what concerns a task: a task is (run, origin, number), where origin names who allocates the numbers."""

    origin: str
    number: int


class TaskDescribed(TaskRecord, tag="task.described", frozen=True, kw_only=True, array_like=True):
    """What a task is. May come more than once, when more is known: known values replace None, the last known stays."""

    app: str
    executor: str = ""
    depends: list[int] = []
    """Numbers of tasks of the same origin."""
    join: bool = False
    memoize: bool = False
    hashsum: str | None = None
    inputs: str | None = None
    outputs: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    resources: str | None = None
    """The resource specification as JSON."""
    parent: int | None = None
    """Number of the task from which this one was submitted, where that is known."""
    invoked: int | None = None


class TaskState(TaskRecord, tag="task.state", frozen=True, kw_only=True, array_like=True):
    """A try entered a state. The further fields are what the recorder knows at that moment."""

    try_: int
    state: str
    executor: str | None = None
    fail_count: int | None = None
    fail_cost: float | None = None
    fail_history: str | None = None
    joins: list[int] | None = None
    from_memo: bool | None = None
    hashsum: str | None = None
    invoked: int | None = None
    launched: int | None = None
    returned: int | None = None
    """When the task's (last) try came back, for the submitting process."""


class TaskRunning(TaskRecord, tag="task.running", frozen=True, kw_only=True, array_like=True):
    """A try began in this process. (pid, create_time) names the process; `create_time` is in clock ticks since boot
    (field 22 of proc_pid_stat(5)), None where there is no /proc. `shared`: other tasks run in the same process."""

    try_: int
    host: str
    pid: int
    create_time: int | None = None
    thread: int | None = None
    worker: str | None = None
    pool: str | None = None
    block: str | None = None
    executor: str | None = None
    shared: bool = False
    cpu_user: int | None = None
    """CPU time that the process and its reaped children had used before this try: it is not the try's."""
    cpu_system: int | None = None


class TaskEnded(TaskRecord, tag="task.ended", frozen=True, kw_only=True, array_like=True):
    """A try's function ended in its process. `elapsed` is monotonic; CPU times are of the process and its reaped
    children; `peak_exact` is False when the peak is an upper bound (the process's life, not the try's)."""

    try_: int
    host: str
    pid: int
    ok: bool
    elapsed: int
    exit: int | None = None
    exc_type: str | None = None
    exc_message: str | None = None
    exc_place: str | None = None
    """'file:line in function' of the innermost frame of the user's code."""
    traceback: str | None = None
    cpu_user: int | None = None
    cpu_system: int | None = None
    peak_rss: int | None = None
    peak_exact: bool = False


class FileFound(Record, tag="file.found", frozen=True, kw_only=True, array_like=True):
    """A watch saw a settled file. `repeat` marks a delivery repeated after a crash."""

    watch: str
    path: str
    size: int
    mtime: int
    inode: int | None = None
    pattern: str = ""
    repeat: bool = False


class FileCallback(Record, tag="file.callback", frozen=True, kw_only=True, array_like=True):
    """A callback ended for some files. `outcome` is 'ok', 'error', 'timeout', 'killed' or 'unprintable'."""

    watch: str
    callback: str
    sequence: int
    outcome: str
    paths: list[str] = []
    result: str | None = None
    elapsed: int = 0
    repeat: bool = False


# -- samples ---------------------------------------------------------------------------------------------------------


class TaskSample(TaskRecord, tag="sample.task", frozen=True, kw_only=True, array_like=True):
    """Resources of a try: its process and all descendants that belong to no other task. Counters (`cpu_*`, `read_*`,
    `write_*`, `ctx_*`) are totals since the try began and never fall; `last` marks the sample taken at the end."""

    try_: int
    host: str
    pid: int
    cpu_user: int | None = None
    cpu_system: int | None = None
    rss: int | None = None
    peak_rss: int | None = None
    vms: int | None = None
    threads: int | None = None
    children: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    ctx_voluntary: int | None = None
    ctx_involuntary: int | None = None
    memory_percent: float | None = None
    status: str | None = None
    cpu_num: int | None = None
    shared: bool = False
    last: bool = False
    interval: float = 0.0


class Gpu(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One GPU: utilisation in percent, memory in bytes, power in watts, temperature in degrees Celsius."""

    index: int
    name: str = ""
    utilisation: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    power: float | None = None
    temperature: float | None = None


class NodeSample(Record, tag="sample.node", frozen=True, kw_only=True, array_like=True):
    """Resources of a node. `cpu_*` are microseconds summed over its processors since boot; disk and network are totals
    since boot; pressure is avg10 in percent (Linux PSI); cgroup limits are those of the agent's own cgroup."""

    host: str
    cpu_count: int | None = None
    cpu_percent: float | None = None
    cpu_user: int | None = None
    cpu_system: int | None = None
    cpu_idle: int | None = None
    cpu_iowait: int | None = None
    load1: float | None = None
    load5: float | None = None
    load15: float | None = None
    memory_total: int | None = None
    memory_available: int | None = None
    memory_used: int | None = None
    swap_used: int | None = None
    disk_read: int | None = None
    disk_write: int | None = None
    disk_total: int | None = None
    disk_free: int | None = None
    net_received: int | None = None
    net_sent: int | None = None
    cgroup_memory_limit: int | None = None
    cgroup_memory_used: int | None = None
    cgroup_cpu_limit: float | None = None
    cpu_pressure: float | None = None
    memory_pressure: float | None = None
    io_pressure: float | None = None
    gpus: list[Gpu] = []
    processes: int | None = None


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
CLASS_OF: dict[type[Record], Class] = {member: cls for cls, members in _MEMBERS.items() for member in members}
KINDS: dict[str, type[Record]] = {str(m.__struct_config__.tag): m for m in CLASS_OF}

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""Encode one record (or batch) to msgpack. `encode_into` style buffers are not worth their trouble at this size."""
_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)
_many: msgspec.msgpack.Decoder[list[AnyRecord]] = msgspec.msgpack.Decoder(list[AnyRecord])


def kind_of(record: Record) -> str:
    """The kind as it stands on the wire, such as 'task.state'."""
    return str(record.__struct_config__.tag)


def decode(raw: bytes | memoryview | msgspec.Raw) -> AnyRecord:
    """Decode one record. Raises BadMessage that says what is wrong with it."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError) as error:
        raise BadMessage(f"not a record of schema version {SCHEMA_VERSION}: {error}") from error


class Source(msgspec.Struct, frozen=True, array_like=True):
    """Where consecutive records of a batch come from: a journal and the byte offset of each. Together: record ids."""

    journal: str
    offsets: list[int]


class Batch(msgspec.Struct, frozen=True, kw_only=True, array_like=True, tag="batch"):
    """Many records of one class of one run. `records[i]` has the i-th offset over all `sources` in order."""

    version: int
    run: str
    cls: str
    agent: str
    host: str
    boot: str
    sources: list[Source]
    records: list[msgspec.Raw]


_batch: msgspec.msgpack.Decoder[Batch] = msgspec.msgpack.Decoder(Batch)


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


def _array(records: Sequence[msgspec.Raw]) -> bytes:
    """The raw records as one msgpack array (array 32 head, msgpack specification), to decode them in one call."""
    return b"\xdd" + len(records).to_bytes(4, "big") + b"".join(records)


def to_builtins(record: Record) -> dict[str, Any]:
    """A record as a dict with its kind, for people (logs, the dead-letter listing)."""
    return {"kind": kind_of(record), **{name: getattr(record, name) for name in record.__struct_fields__}}
