"""Records of the class `control`: runs, nodes, blocks, agents, journals, watches. Few, and never thinned.

In: what recorders and agents know. Out: frozen structs.
"""

from __future__ import annotations

from heliograph.messages.base import Record


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
