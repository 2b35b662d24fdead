"""The schema, declared once for SQLite and PostgreSQL.

In: nothing. Out: SQLAlchemy Core tables. Migrations create them, `write` fills them, `read` queries them.

How to read it:
* Every time is microseconds since the epoch in UTC, every duration microseconds, every size bytes. NULL is 'unknown'.
* A task's key is one integer, `task_key(origin index, number)`: the first origin of a run has index 0, so a Parsl
  task's key is its number. `run`, `app` and `host` are ids of the tables of that name; `executor`, `worker`, `pool`,
  `block`, `watch` and `exc_type` are ids in `names`.
* `tasks.progress` is `try * 16 + rank of the state` (`progress_of`), merged by maximum: the state of the highest try.
  A task that is described and has no state yet has progress -1, whose state is `UNKNOWN_STATE` (-1 & 15 = 15).
* `tries` has one column a state, the first time it was seen; there are no status rows.
* Derived columns (`tasks.state` to `tasks.took`, `tries.failure` to `tries.octave`) and rollups follow from the other
  columns (`derive.py`, `rollup.py`): they exist to be searched, change with them in one transaction, and can be made
  anew (`rebuild.py`). The columns stand last, where a migration can add them.
* Primary keys begin with the run. On SQLite the tables are clustered on them (WITHOUT ROWID), without a second copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, Text
from sqlalchemy.schema import SchemaItem

from heliograph.messages import State

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

NUMBER_BITS: Final = 36
NUMBER_MASK: Final = (1 << NUMBER_BITS) - 1
RANK_BITS: Final = 4
UNKNOWN_STATE: Final = 15
"""State in the rollups of a task that was described and has no state yet."""
NO_APP: Final = 0
"""App in `tasks` and the rollups of a task that was not described yet (no row of `apps` has this id)."""
DEPENDENCY: Final = -1
"""`edges.join_try` of a dependency; joins have the number of the try that joined."""
MINUTE: Final = 60_000_000
RAW, PER_MINUTE, SUMMARY = 0, 1, 2
"""A sample's level: as measured, thinned to one a minute, thinned to one a try."""
IS_LAST, IS_SHARED, LEVEL_SHIFT = 1, 2, 2
"""`samples.flags`: the try's last one, of a process that ran others too, and above these bits its level."""
OPEN: Final = 64
"""`tries.octave` of a try that began and has not ended."""
NOBODY: Final = 0
"""In derived columns and rollups: no executor, no host (no row of the dictionaries has this id)."""
WIDTHS: Final = (1, 60)
"""Minutes in a row of `app_busy` and `host_busy`."""

STATES: Final[tuple[str, ...]] = tuple(s.value for s in State)
"""States in the order of their ranks: also the names of the time columns of `tries`."""


def task_key(origin: int, number: int) -> int:
    return origin << NUMBER_BITS | number


def split_task(task: int) -> tuple[int, int]:
    """(origin index, number) of a task's key."""
    return task >> NUMBER_BITS, task & NUMBER_MASK


def progress_of(try_: int, rank: int) -> int:
    return try_ << RANK_BITS | rank


def split_progress(progress: int) -> tuple[int, int]:
    """(try, rank) of a progress; (-1, UNKNOWN_STATE) when the task has no state."""
    return progress >> RANK_BITS, progress & UNKNOWN_STATE


def _key(name: str) -> Column[int]:
    return Column(name, BigInteger, primary_key=True, nullable=False, autoincrement=False)


def _int(name: str) -> Column[int]:
    return Column(name, BigInteger)


def _flag(name: str) -> Column[int]:
    return Column(name, SmallInteger)


def _real(name: str) -> Column[float]:
    return Column(name, Double)


def _text(name: str) -> Column[str]:
    return Column(name, Text)


def _text_key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _table(name: str, *columns: SchemaItem) -> Table:
    return Table(name, metadata, *columns, sqlite_with_rowid=False)


def _dictionary(name: str) -> Table:
    """Texts that repeat, each stored once; ids are never used again."""
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", Text, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )


meta = _table("meta", _text_key("key"), Column("value", Text, nullable=False))
"""'application' is 'heliograph', 'created_by' the version that made the database."""

apps = _dictionary("apps")
hosts = _dictionary("hosts")
names = _dictionary("names")
"""Executors, workers, pools, blocks, block and process statuses, exception types, watches."""
failure_kinds = _dictionary("failure_kinds")
"""What went wrong, without what differs from one time to the next: a JSON list of exception type, place, message."""

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Text, nullable=False, unique=True),
    _text("name"),
    _text("version"),
    _text("owner"),
    _text("host"),
    _text("run_dir"),
    _text("program"),
    _text("program_version"),
    _text("python"),
    _text("zone"),  # IANA name
    _int("utc_offset"),  # seconds east of UTC, of the submitting host when the run began
    _text("tags"),  # JSON object, from run.started; an operator's tags stand in run_tags
    _int("pid"),
    _real("sample_interval"),  # seconds
    _int("started"),  # NULL: only a stub, made by the first record of any kind
    _int("ended"),  # the run said so itself
    _int("completed"),
    _int("failed"),
    _text("exit"),
    _int("first_seen"),
    _int("last_seen"),  # the latest time of any record: a sign of life of something in the run
    _int("lease_until"),  # the submitting process counts as alive until then (started or heartbeat, plus its lease)
    _int("horizon"),  # samples older than this were thinned; later arrivals are put aside
    sqlite_autoincrement=True,
)
"""A run; `id` is what every other table calls `run`. A run that is known only through other records has no name."""

run_tags = _table("run_tags", _key("run"), _text_key("key"), Column("value", Text, nullable=False))

origins = _table("origins", _key("run"), _key("idx"), Column("name", Text, nullable=False))

tasks = _table(
    "tasks",
    _key("run"),
    _key("task"),
    Column("app", Integer, nullable=False, server_default=str(NO_APP)),
    Column("progress", BigInteger, nullable=False, server_default="-1"),
    _int("described"),  # time of the latest task.described
    _text("stamps"),  # JSON: times of the described fields that come from an older record than `described`
    _int("executor"),  # the label that was asked for
    _flag("is_join"),
    _flag("memoize"),
    _flag("from_memo"),
    _int("parent"),  # a task's key
    _int("invoked"),
    _int("returned"),
    _int("fail_count"),
    _real("fail_cost"),
    _text("hashsum"),
    _text("inputs"),
    _text("outputs"),
    _text("stdin"),
    _text("stdout"),
    _text("stderr"),
    _text("resources"),  # the resource specification as JSON
    Column("state", SmallInteger, nullable=False, server_default=str(UNKNOWN_STATE)),  # rank in `progress`
    Column("runs_on", Integer, nullable=False, server_default=str(NOBODY)),  # executor of the latest try, or `executor`
    _int("began"),  # of the latest try
    _int("took"),  # run time of the latest try
)

edges = _table("edges", _key("run"), _key("task"), _key("join_try"), _key("depends_on"))
"""`task` waits for the task `depends_on`: as a dependency (`join_try` -1), or because that try of it joined it."""

tries = _table(
    "tries",
    _key("run"),
    _key("task"),
    _key("try_"),
    Column("state", SmallInteger, nullable=False, server_default=str(UNKNOWN_STATE)),  # highest rank seen
    *[_int(state) for state in STATES],
    _int("launched_at"),  # when the submitting process says that it launched the try
    _int("returned_at"),  # when the result was back in the submitting process
    _int("executor"),
    _int("began"),  # at the worker; the next eight columns come from the same record
    _int("host"),
    _int("pid"),
    _int("create_time"),
    _int("thread"),
    _int("worker"),
    _int("pool"),
    _int("block"),
    _flag("shared"),
    _int("ended"),  # at the worker; the next seven columns come from the same record
    _flag("ok"),
    _int("elapsed"),
    _int("exit"),
    _int("cpu_user"),
    _int("cpu_system"),
    _int("peak_rss"),
    _flag("peak_exact"),
    Column("failure", Integer),  # id in `failure_kinds`, NULL for a try of which nothing went wrong
    _int("wrong"),  # when that was
    _int("since"),  # when it began, by whatever says so
    _flag("octave"),  # bit length of the microseconds from begin to end, OPEN until it ended, NULL until it began
)

failures = _table(
    "failures",
    _key("run"),
    _key("task"),
    _key("try_"),
    _int("at"),  # when the exception left the function, NULL when only the submitting process saw the failure
    _int("exc_type"),
    _text("exc_message"),
    _text("exc_place"),
    _text("traceback"),
    _text("history"),  # what the submitting process wrote down about failures so far
)
"""Tries of which something went wrong is known, apart from `tries` because the texts are long and rare."""

samples = _table(
    "samples",
    _key("run"),
    _key("task"),
    _key("try_"),
    _key("at"),
    _key("host"),
    _key("pid"),
    Column("flags", SmallInteger, nullable=False),
    _int("cpu_user"),
    _int("cpu_system"),
    _int("rss"),
    _int("peak_rss"),
    _int("vms"),
    _int("threads"),
    _int("children"),
    _int("read_bytes"),
    _int("write_bytes"),
    _int("ctx_voluntary"),
    _int("ctx_involuntary"),
    _real("memory_milli"),  # thousandths of a percent of the node's memory
    _int("status"),
    _int("cpu_num"),
    _real("interval"),  # seconds
)
"""The largest table. A column costs a byte in every row, so three small ones are one, `flags`; and SQLite keeps a real
number without a fraction in as few bytes as an integer, so `memory_milli` has the unit in which agents measure."""

node_samples = _table(
    "node_samples",
    _key("run"),
    _key("host"),
    _key("at"),
    _flag("level"),
    _int("cpu_count"),
    _real("cpu_percent"),
    _int("cpu_user"),
    _int("cpu_system"),
    _int("cpu_idle"),
    _int("cpu_iowait"),
    _real("load1"),
    _real("load5"),
    _real("load15"),
    _int("memory_total"),
    _int("memory_available"),
    _int("memory_used"),
    _int("swap_used"),
    _int("disk_read"),
    _int("disk_write"),
    _int("disk_total"),
    _int("disk_free"),
    _int("net_received"),
    _int("net_sent"),
    _int("cgroup_memory_limit"),
    _int("cgroup_memory_used"),
    _real("cgroup_cpu_limit"),
    _real("cpu_pressure"),
    _real("memory_pressure"),
    _real("io_pressure"),
    _text("gpus"),  # JSON list of objects with the fields of messages.Gpu, NULL when there is none
    _int("processes"),
)

nodes = _table(
    "nodes",
    _key("run"),
    _key("host"),
    _key("pool"),
    _int("first_seen"),
    _int("last_seen"),  # the columns below come from the record of this time
    _int("executor"),
    _int("block"),
    _int("workers"),
    _int("cpu_count"),
    _int("memory_total"),
    _text("python"),
    _text("platform"),
    _flag("active"),
    _int("pid"),
)

block_states = _table(
    "block_states", _key("run"), _key("executor"), _key("block"), _key("at"), _key("status"), _text("job_id")
)
"""Every status that a block (batch job) had, with its time."""

agents = _table(
    "agents",
    _key("run"),
    _text_key("agent"),
    _int("first_seen"),
    _int("last_seen"),  # host to clock_offset come from the record of this time
    _int("host"),
    _int("pid"),
    _text("version"),
    _int("depth"),
    _int("clock_offset"),
    _flag("ended"),
    _int("shipped"),
    _int("dropped_samples"),
    _int("dropped_states"),
    _int("torn"),
)

journals = _table(
    "journals",
    _key("run"),
    _text_key("journal"),
    _int("host"),
    _int("dropped_at"),  # of the latest report of drops, to which the reason belongs
    _text("reason"),
    _count("samples"),
    _count("states"),
    _count("control"),
    _int("closed"),  # NULL while it is open
    _flag("clean"),
    _int("pid"),
    _int("records"),
)
"""A journal's dropped records (counters never fall) and its end; `clean` 0 means 'tail unknown'."""

watches = _table(
    "watches",
    _key("run"),
    _key("watch"),
    _int("opened"),
    _text("root"),
    _int("host"),
    _text("patterns"),  # JSON list
    _int("task"),
    _int("closed"),
    _int("files"),
    _int("unfinished"),
    _text("reason"),
)

files = _table(
    "files",
    _key("run"),
    _key("watch"),
    _text_key("path"),
    _key("mtime"),
    _key("size"),
    _int("at"),  # first found
    _int("inode"),
    _text("pattern"),
    _flag("repeat"),
)
"""Settled files; one that changed and settled again is a row of its own."""

file_callbacks = _table(
    "file_callbacks",
    _key("run"),
    _key("watch"),
    _text_key("callback"),
    _key("sequence"),
    _int("at"),
    _text("outcome"),
    _text("paths"),  # JSON list
    _text("result"),
    _int("elapsed"),
    _flag("repeat"),
)

aside = _table(
    "aside",
    _key("run"),
    _text_key("record_id"),
    Column("reason", Text, nullable=False),
    _int("size"),
    Column("raw", LargeBinary),
)
"""Records that could not be used (unknown kind, broken, too late), with the reason; `raw` holds at most 4 KiB."""

run_states = _table("run_states", _key("run"), _key("app"), _key("state"), _count("tasks"))
"""How many tasks are in a state now: GROUP BY over `tasks`, kept up to date in the same transaction."""

run_buckets = _table("run_buckets", _key("run"), _key("app"), _key("state"), _key("minute"), _count("entered"))
"""How many tries entered a state in a minute (time // MINUTE): GROUP BY over the time columns of `tries`."""

run_kinds = _table("run_kinds", _key("run"), _key("app"), _key("executor"), _key("state"), _count("tasks"))
"""`run_states` by executor, too: GROUP BY over `tasks` (app, runs_on, state), the stretches of `ix_tasks_kind`."""

run_apps = _table("run_apps", _key("run"), _key("app"), _count("tries"), _count("retries"), _count("joins"))
"""Tries, tries after a task's first, and tasks that join others: GROUP BY over `tasks` and `tries`."""

run_measures = _table(
    "run_measures", _key("run"), _key("app"), _key("measure"), _key("bucket"), _count("tries"), _count("total")
)
"""Histograms of what tries took and used (`measures.py`): how many fall between two bounds, and their sum."""

run_failures = _table("run_failures", _key("run"), _key("failure"), _key("app"), _key("host"), _count("tries"))
"""Tries that went wrong: GROUP BY over `tries`."""


def _busy(name: str, column: str) -> Table:
    return _table(
        name,
        _key("run"),
        _key("width"),
        _key("at"),
        _key(column),
        *(_count(counter) for counter in ("begins", "ends", "begin_offsets", "end_offsets")),
    )


app_busy, host_busy = _busy("app_busy", "app"), _busy("host_busy", "host")
"""How many tries began and ended in a span of `width` minutes, and the sums of the microseconds from the span's
beginning (`at` times `width` minutes) to each: from these, busy time between any two minutes is exact."""

Index("ix_failures_type", failures.c.run, failures.c.exc_type)
Index("ix_edges_reverse", edges.c.run, edges.c.depends_on)
_t, _y = tasks.c, tries.c
Index("ix_tasks_kind", _t.run, _t.app, _t.runs_on, _t.state, _t.task)
for _name, _column in (("began", _t.began), ("took", _t.took)):
    _known = _column.is_not(None)
    # Executor and state stand behind the order, so that what does not match is passed over within the index.
    _columns = (_t.run, _t.app, _column, _t.task, _t.runs_on, _t.state)
    Index(f"ix_tasks_{_name}", *_columns, sqlite_where=_known, postgresql_where=_known)
_known = _y.host.is_not(None)
Index("ix_tries_host", _y.run, _y.host, _y.task, _y.try_, sqlite_where=_known, postgresql_where=_known)
_known = _y.octave.is_not(None)
Index("ix_tries_octave", _y.run, _y.octave, _y.since, sqlite_where=_known, postgresql_where=_known)
_known = _y.failure.is_not(None)
Index("ix_tries_failure", _y.run, _y.failure, _y.wrong, sqlite_where=_known, postgresql_where=_known)

ROLLUPS: Final = (run_states, run_buckets, run_kinds, run_apps, run_measures, run_failures, app_busy, host_busy)
OF_A_RUN: Final[Sequence[Table]] = tuple(t for t in metadata.sorted_tables if "run" in t.c and t is not runs)
"""Tables whose rows belong to a run, for its deletion."""
