"""Records of the class `states`: what tasks are and go through, and files that were found.

In: what recorders know. Out: frozen structs.
"""

from __future__ import annotations

from heliograph.messages.base import Record, TaskRecord


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
    children; `peak_exact` is False when the peak is an upper bound (the process's life, not the try's). A peak that is
    hardly above the process itself may be told up to 4 MiB too high."""

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
