"""The first tables. Frozen: what changed since stands in later revisions, never here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, Text
from sqlalchemy.schema import SchemaItem

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

STATES: Final = (
    "pending",
    "launched",
    "running",
    "running_ended",
    "joining",
    "fail_retryable",
    "memo_done",
    "exec_done",
    "dep_fail",
    "failed",
)


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
    return Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", Text, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )


meta = _table("meta", _text_key("key"), Column("value", Text, nullable=False))

apps = _dictionary("apps")
hosts = _dictionary("hosts")
names = _dictionary("names")

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
    _text("zone"),
    _int("utc_offset"),
    _text("tags"),
    _int("pid"),
    _real("sample_interval"),
    _int("started"),
    _int("ended"),
    _int("completed"),
    _int("failed"),
    _text("exit"),
    _int("first_seen"),
    _int("last_seen"),
    _int("lease_until"),
    _int("horizon"),
    sqlite_autoincrement=True,
)

run_tags = _table("run_tags", _key("run"), _text_key("key"), Column("value", Text, nullable=False))

origins = _table("origins", _key("run"), _key("idx"), Column("name", Text, nullable=False))

tasks = _table(
    "tasks",
    _key("run"),
    _key("task"),
    Column("app", Integer, nullable=False, server_default="0"),
    Column("progress", BigInteger, nullable=False, server_default="-1"),
    _int("described"),
    _text("stamps"),
    _int("executor"),
    _flag("is_join"),
    _flag("memoize"),
    _flag("from_memo"),
    _int("parent"),
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
    _text("resources"),
)

edges = _table("edges", _key("run"), _key("task"), _key("join_try"), _key("depends_on"))

tries = _table(
    "tries",
    _key("run"),
    _key("task"),
    _key("try_"),
    Column("state", SmallInteger, nullable=False, server_default="15"),
    *[_int(state) for state in STATES],
    _int("launched_at"),
    _int("returned_at"),
    _int("executor"),
    _int("began"),
    _int("host"),
    _int("pid"),
    _int("create_time"),
    _int("thread"),
    _int("worker"),
    _int("pool"),
    _int("block"),
    _flag("shared"),
    _int("ended"),
    _flag("ok"),
    _int("elapsed"),
    _int("exit"),
    _int("cpu_user"),
    _int("cpu_system"),
    _int("peak_rss"),
    _flag("peak_exact"),
)

failures = _table(
    "failures",
    _key("run"),
    _key("task"),
    _key("try_"),
    _int("at"),
    _int("exc_type"),
    _text("exc_message"),
    _text("exc_place"),
    _text("traceback"),
    _text("history"),
)

samples = _table(
    "samples",
    _key("run"),
    _key("task"),
    _key("try_"),
    _key("at"),
    _key("host"),
    _key("pid"),
    _flag("level"),
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
    _real("memory_percent"),
    _int("status"),
    _int("cpu_num"),
    _flag("shared"),
    _flag("last"),
    _real("interval"),
)

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
    _text("gpus"),
    _int("processes"),
)

nodes = _table(
    "nodes",
    _key("run"),
    _key("host"),
    _key("pool"),
    _int("first_seen"),
    _int("last_seen"),
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

agents = _table(
    "agents",
    _key("run"),
    _text_key("agent"),
    _int("first_seen"),
    _int("last_seen"),
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
    _int("dropped_at"),
    _text("reason"),
    _count("samples"),
    _count("states"),
    _count("control"),
    _int("closed"),
    _flag("clean"),
    _int("pid"),
    _int("records"),
)

watches = _table(
    "watches",
    _key("run"),
    _key("watch"),
    _int("opened"),
    _text("root"),
    _int("host"),
    _text("patterns"),
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
    _int("at"),
    _int("inode"),
    _text("pattern"),
    _flag("repeat"),
)

file_callbacks = _table(
    "file_callbacks",
    _key("run"),
    _key("watch"),
    _text_key("callback"),
    _key("sequence"),
    _int("at"),
    _text("outcome"),
    _text("paths"),
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

run_states = _table("run_states", _key("run"), _key("app"), _key("state"), _count("tasks"))

run_buckets = _table("run_buckets", _key("run"), _key("app"), _key("state"), _key("minute"), _count("entered"))

Index("ix_failures_type", failures.c.run, failures.c.exc_type)

revision = "0001"
down_revision = None
DERIVES = False


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
    op.bulk_insert(
        meta,
        [
            {"key": "application", "value": "heliograph"},
            {"key": "created_by", "value": f"heliograph-server {version('heliograph-server')}"},
        ],
    )
