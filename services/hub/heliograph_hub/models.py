"""What the API answers: one model a kind of row, built from the store's frozen rows.

In: rows of `heliograph_store.read`. Out: pydantic models, which are also the OpenAPI schema. Times are RFC 3339 in UTC,
durations microseconds, sizes bytes; null is 'unknown'.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from heliograph_hub.timestamps import rfc3339

Moment = Annotated[
    str | None,
    BeforeValidator(lambda at: rfc3339(at) if isinstance(at, int) else at),
    Field(json_schema_extra={"format": "date-time"}),
]
Item = TypeVar("Item", bound=BaseModel)


class Row(BaseModel):
    """Built from a row's attributes; what the row has and the model has not is left out."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Page(BaseModel, Generic[Item]):
    """Some rows of a list, in the order of their keys."""

    items: list[Item]
    next: str | None = Field(description="Pass it as `after` to get the rows that follow; null at the end")


class RunItem(Row):
    """A run. `liveness` is derived now; `completed` and `failed` are the run's own counts of tasks at its end."""

    run: str
    name: str | None
    liveness: str
    version: str | None
    owner: str | None
    host: str | None
    run_dir: str | None
    program: str | None
    program_version: str | None
    python: str | None
    zone: str | None
    utc_offset: int | None = Field(description="Seconds east of UTC on the submitting host")
    tags: dict[str, str]
    sample_interval: float | None = Field(description="Seconds")
    started: Moment
    ended: Moment
    last_seen: Moment
    lease_until: Moment
    completed: int | None
    failed: int | None
    exit: str | None


class AppItem(Row):
    """Tasks of one app by state; 'unknown' stands for a state or an app that is not known yet."""

    app: str | None
    total: int
    states: dict[str, int]


class FailureItem(Row):
    """Tries that went wrong with one type of exception."""

    exc_type: str | None
    tries: int


class RunDetail(RunItem):
    """A run with the counts of its tasks."""

    tasks: int
    states: dict[str, int]
    apps: list[AppItem]
    failures: list[FailureItem]


class TaskItem(Row):
    """A task and where its latest try is. `task` is its key in this API, `number` what its program calls it."""

    task: int
    number: int
    app: str | None
    state: str | None
    try_: int | None = Field(serialization_alias="try")
    executor: str | None
    host: str | None
    block: str | None
    is_join: bool | None
    memoize: bool | None
    from_memo: bool | None
    fail_count: int | None
    invoked: Moment
    returned: Moment
    began: Moment
    ended: Moment
    elapsed: int | None
    peak_rss: int | None


class NeighbourItem(Row):
    """A task at the other end of a dependency or a join."""

    task: int
    number: int
    app: str | None
    state: str | None


class TryItem(Row):
    """One try. `states` has the first time of each state; `peak_exact` false: `peak_rss` is an upper bound."""

    task: int
    try_: int = Field(serialization_alias="try")
    app: str | None
    state: str | None
    states: dict[str, Moment]
    launched_at: Moment
    returned_at: Moment
    began: Moment
    ended: Moment
    waited: int | None = Field(description="From launch to the function's beginning; negative when two clocks differ")
    executor: str | None
    host: str | None
    pid: int | None
    worker: str | None
    pool: str | None
    block: str | None
    shared: bool | None
    ok: bool | None
    elapsed: int | None
    exit: int | None
    cpu_user: int | None
    cpu_system: int | None
    peak_rss: int | None
    peak_exact: bool | None
    exc_type: str | None
    exc_message: str | None
    exc_place: str | None
    traceback: str | None
    history: str | None


class TaskDetail(Row):
    """One task whole. `joined` are the tasks that it joined, by try; `joined_by` those that joined it."""

    task: TaskItem
    origin: str
    parent: int | None
    fail_cost: float | None
    hashsum: str | None
    inputs: str | None
    outputs: str | None
    stdin: str | None
    stdout: str | None
    stderr: str | None
    resources: str | None
    tries: list[TryItem]
    depends_on: list[NeighbourItem]
    needed_by: list[NeighbourItem]
    joined: dict[int, list[NeighbourItem]]
    joined_by: list[NeighbourItem]


class NodeItem(Row):
    """A pool of workers (or one process) on a host, as last heard of."""

    host: str | None
    pool: str | None
    executor: str | None
    block: str | None
    workers: int | None
    cpu_count: int | None
    memory_total: int | None
    python: str | None
    platform: str | None
    active: bool | None
    pid: int | None
    first_seen: Moment
    last_seen: Moment


class BlockChange(Row):
    """A block came into this status, in Parsl's words."""

    at: Moment
    status: str
    job_id: str | None


class BlockItem(Row):
    """A batch job of an executor with its history, oldest first."""

    executor: str
    block: str
    status: str
    job_id: str | None
    history: list[BlockChange]


class FileItem(Row):
    """A file that a watch found, settled."""

    watch: str | None
    path: str
    size: int
    mtime: Moment
    at: Moment
    inode: int | None
    pattern: str | None
    repeat: bool | None


class SampleItem(Row):
    """What a try used at one moment. Counters are totals since the try began; `shared`: its process ran others too."""

    task: int
    try_: int = Field(serialization_alias="try")
    at: Moment
    host: str | None
    pid: int | None
    cpu_user: int | None
    cpu_system: int | None
    rss: int | None
    peak_rss: int | None
    vms: int | None
    threads: int | None
    children: int | None
    read_bytes: int | None
    write_bytes: int | None
    ctx_voluntary: int | None
    ctx_involuntary: int | None
    memory_percent: float | None
    status: str | None
    cpu_num: int | None
    shared: bool | None
    last: bool | None
    interval: float | None = Field(description="Seconds")


class NodeSampleItem(Row):
    """What a node used at one moment. `cpu_*` and totals of disk and network count since boot."""

    host: str | None
    at: Moment
    cpu_count: int | None
    cpu_percent: float | None
    cpu_user: int | None
    cpu_system: int | None
    cpu_idle: int | None
    cpu_iowait: int | None
    load1: float | None
    load5: float | None
    load15: float | None
    memory_total: int | None
    memory_available: int | None
    memory_used: int | None
    swap_used: int | None
    disk_read: int | None
    disk_write: int | None
    disk_total: int | None
    disk_free: int | None
    net_received: int | None
    net_sent: int | None
    cgroup_memory_limit: int | None
    cgroup_memory_used: int | None
    cgroup_cpu_limit: float | None
    cpu_pressure: float | None
    memory_pressure: float | None
    io_pressure: float | None
    processes: int | None
    gpus: list[dict[str, Any]]
