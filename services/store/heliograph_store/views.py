"""Parsl's names for what the store holds: views with the columns of Parsl's `monitoring.db`.

In: a dialect's name. Out: the statements that create (or drop) the views `workflow`, `task`, `try`, `status`,
`resource`, `node` and `block`, so that SQL, pandas scripts and `parsl-visualize` read a Heliograph database.

Times are naive local time of the submitting host, as Parsl writes them. SQLite knows no zones, so there it is the
offset at which the run began; PostgreSQL follows the run's zone over a change of clocks when it knows that zone. What
Parsl declares NOT NULL never is NULL. Differences that remain: `task_depends` is ordered by number and names a
dependency once; `node` has one row for each pool of workers, not several for each task; on PostgreSQL ids and
other numbers that a sender chooses are BIGINT.
Every view is a join that begins at `runs`, so `run_id = …` and `task_id = …` reach the primary keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from heliograph.messages import FINAL, State
from heliograph_store.schema import DEPENDENCY, STATES

_FINAL: Final = ", ".join(str(rank) for rank in sorted(state.rank for state in FINAL))
VIEWS: Final = ("workflow", "task", "try", "status", "resource", "node", "block")


@dataclass(frozen=True, kw_only=True)
class _Dialect:
    """How one database writes what the two write differently. `{0}` is a column of microseconds or seconds."""

    time: str
    """Naive local time; `r` is the run and, on PostgreSQL, `z` its zone when that is known."""
    zones: str
    numbers: str
    """Comma-separated numbers of the edges chosen by the condition {0}, NULL when there are none."""
    flag: str
    boolean_text: str
    """How Parsl's Boolean in a Text column looks."""
    statuses: str


_SQLITE = _Dialect(
    time=(
        "strftime('%Y-%m-%d %H:%M:%S', {0} / 1000000 + COALESCE(r.utc_offset, 0), 'unixepoch')"
        " || printf('.%06d', {0} % 1000000)"
    ),
    zones="",
    numbers=(
        "(SELECT group_concat(d.depends_on, ',') FROM"
        " (SELECT e.depends_on FROM edges e WHERE {0} ORDER BY e.depends_on) d)"
    ),
    flag="COALESCE({0}, 1) <> 0",
    boolean_text="CASE {0} WHEN 1 THEN '1' ELSE '0' END",
    statuses=(
        "CROSS JOIN ("
        + " UNION ALL ".join(f"SELECT {rank} AS rank, '{name}' AS name" for rank, name in enumerate(STATES))
        + ") s"
    ),
)
_SQLITE_STATUS_TIME = "CASE s.rank " + " ".join(f"WHEN {i} THEN y.{name}" for i, name in enumerate(STATES)) + " END"

_POSTGRESQL = _Dialect(
    # Exact: the factor is a whole number below 2^53. The zone is applied only when PostgreSQL knows its name.
    time=(
        "CASE WHEN z.name IS NULL"
        " THEN TIMESTAMP 'epoch' + ({0} + COALESCE(r.utc_offset, 0) * 1000000) * INTERVAL '1 microsecond'"
        " ELSE (TIMESTAMPTZ 'epoch' + {0} * INTERVAL '1 microsecond') AT TIME ZONE z.name END"
    ),
    zones="LEFT JOIN known_zones z ON z.name = r.zone",
    numbers="(SELECT string_agg(CAST(e.depends_on AS TEXT), ',' ORDER BY e.depends_on) FROM edges e WHERE {0})",
    flag="COALESCE({0}, 1) <> 0",
    boolean_text="CASE {0} WHEN 1 THEN 'true' ELSE 'false' END",
    statuses=("CROSS JOIN LATERAL (VALUES " + ", ".join(f"('{name}', y.{name})" for name in STATES) + ") s(name, at)"),
)
_ZONES = (
    # Reading PostgreSQL's own list takes tens of milliseconds, too long for every query.
    "CREATE MATERIALIZED VIEW known_zones AS SELECT name FROM pg_timezone_names",
    "CREATE UNIQUE INDEX ix_known_zones_name ON known_zones (name)",
)


def create_views(dialect: str) -> list[str]:
    """The statements, in order, for 'sqlite' or 'postgresql'."""
    d = _dialect(dialect)
    status_time = _SQLITE_STATUS_TIME if d is _SQLITE else "s.at"
    views = [_workflow(d), _task(d), _try(d), _status(d, status_time), _resource(d), _node(d), _block(d)]
    return [*(_ZONES if d is _POSTGRESQL else ()), *views]


def renew_views(dialect: str) -> list[str]:
    """The statements that make all views anew, whether they are there or not. On PostgreSQL in place: views of users'
    own that read them stay."""
    if _dialect(dialect) is _SQLITE:
        return [*(f'DROP VIEW IF EXISTS "{name}"' for name in VIEWS), *create_views(dialect)]
    return [
        statement.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
        .replace("CREATE MATERIALIZED VIEW", "CREATE MATERIALIZED VIEW IF NOT EXISTS", 1)
        .replace("CREATE UNIQUE INDEX", "CREATE UNIQUE INDEX IF NOT EXISTS", 1)
        for statement in create_views(dialect)
    ]


def drop_views(dialect: str) -> list[str]:
    """The statements that remove what `create_views` created."""
    views = [f'DROP VIEW "{name}"' for name in VIEWS]
    return [*views, "DROP MATERIALIZED VIEW known_zones"] if _dialect(dialect) is _POSTGRESQL else views


def _dialect(name: str) -> _Dialect:
    return {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}[name]


def _view(name: str, columns: dict[str, str], source: str) -> str:
    listed = ",\n  ".join(f'{expression} AS "{column}"' for column, expression in columns.items())
    return f'CREATE VIEW "{name}" AS SELECT\n  {listed}\nFROM {source}'


def _real(expression: str) -> str:
    return f"CAST({expression} AS DOUBLE PRECISION)"


def _count(state: State) -> str:
    counted = f"FROM run_states c WHERE c.run = r.id AND c.state = {state.rank}"
    return f"CAST(COALESCE((SELECT SUM(c.tasks) {counted}), 0) AS INTEGER)"


def _workflow(d: _Dialect) -> str:
    columns = {
        "run_id": "r.run",
        "workflow_name": "r.name",
        "workflow_version": "r.version",
        "time_began": d.time.format("COALESCE(r.started, r.first_seen, 0)"),
        "time_completed": d.time.format("r.ended"),
        "host": "COALESCE(r.host, '')",
        "user": "COALESCE(r.owner, '')",
        "rundir": "COALESCE(r.run_dir, '')",
        # Parsl counts neither failed dependencies nor memoized results here.
        "tasks_failed_count": _count(State.FAILED),
        "tasks_completed_count": _count(State.EXEC_DONE),
    }
    return _view("workflow", columns, f"runs r {d.zones}")


def _task(d: _Dialect) -> str:
    depends = d.numbers.format(f"e.run = t.run AND e.task = t.task AND e.join_try = {DEPENDENCY}")
    columns = {
        "task_id": "t.task",
        "run_id": "r.run",
        "task_depends": f"COALESCE({depends}, '')",
        "task_func_name": "COALESCE(a.name, '')",
        "task_memoize": d.boolean_text.format("t.memoize"),
        "task_hashsum": "t.hashsum",
        "task_inputs": "t.inputs",
        "task_outputs": "t.outputs",
        "task_stdin": "t.stdin",
        "task_stdout": "COALESCE(t.stdout, '')",
        "task_stderr": "COALESCE(t.stderr, '')",
        "task_time_invoked": d.time.format("t.invoked"),
        # Until the task is done, the store has here when its latest try came back.
        "task_time_returned": d.time.format(f"(CASE WHEN t.progress & 15 IN ({_FINAL}) THEN t.returned END)"),
        "task_fail_count": "CAST(COALESCE(t.fail_count, 0) AS BIGINT)",
        "task_fail_cost": _real("COALESCE(t.fail_cost, 0)"),
    }
    return _view("task", columns, f"runs r {d.zones} JOIN tasks t ON t.run = r.id LEFT JOIN apps a ON a.id = t.app")


def _try(d: _Dialect) -> str:
    columns = {
        "try_id": "CAST(y.try_ AS INTEGER)",
        "task_id": "y.task",
        "run_id": "r.run",
        "block_id": "b.name",
        "hostname": "h.name",
        "task_executor": "COALESCE(x.name, '')",
        "task_try_time_launched": d.time.format("y.launched_at"),
        "task_try_time_running": d.time.format("y.running"),
        "task_try_time_returned": d.time.format("y.returned_at"),
        "task_fail_history": "COALESCE(f.history, '')",
        "task_joins": d.numbers.format("e.run = y.run AND e.task = y.task AND e.join_try = y.try_"),
    }
    source = f"""runs r {d.zones} JOIN tries y ON y.run = r.id
  LEFT JOIN tasks t ON t.run = y.run AND t.task = y.task
  LEFT JOIN names x ON x.id = COALESCE(y.executor, t.executor)
  LEFT JOIN names b ON b.id = y.block
  LEFT JOIN hosts h ON h.id = y.host
  LEFT JOIN failures f ON f.run = y.run AND f.task = y.task AND f.try_ = y.try_"""
    return _view("try", columns, source)


def _status(d: _Dialect, at: str) -> str:
    columns = {
        "task_id": "y.task",
        "task_status_name": "s.name",
        "timestamp": d.time.format(f"({at})"),
        "run_id": "r.run",
        "try_id": "CAST(y.try_ AS INTEGER)",
    }
    return _view(
        "status", columns, f"runs r {d.zones} JOIN tries y ON y.run = r.id {d.statuses} WHERE {at} IS NOT NULL"
    )


def _resource(d: _Dialect) -> str:
    columns = {
        "try_id": "CAST(m.try_ AS INTEGER)",
        "task_id": "m.task",
        "run_id": "r.run",
        "timestamp": d.time.format("m.at"),
        "resource_monitoring_interval": _real("COALESCE(NULLIF(m.interval, 0), r.sample_interval)"),
        "psutil_process_pid": "CAST(m.pid AS BIGINT)",
        "psutil_process_memory_percent": "m.memory_milli / 1000",
        "psutil_process_children_count": _real("m.children"),
        "psutil_process_time_user": _real("m.cpu_user") + " / 1000000",
        "psutil_process_time_system": _real("m.cpu_system") + " / 1000000",
        "psutil_process_memory_virtual": _real("m.vms"),
        "psutil_process_memory_resident": _real("m.rss"),
        "psutil_process_disk_read": _real("m.read_bytes"),
        "psutil_process_disk_write": _real("m.write_bytes"),
        "psutil_process_status": "n.name",
        "psutil_cpu_num": "CAST(m.cpu_num AS TEXT)",
        "psutil_process_num_ctx_switches_voluntary": _real("m.ctx_voluntary"),
        "psutil_process_num_ctx_switches_involuntary": _real("m.ctx_involuntary"),
    }
    sampled = f"runs r {d.zones} JOIN samples m ON m.run = r.id LEFT JOIN names n ON n.id = m.status"
    return f"{_view('resource', columns, sampled)}\nUNION ALL\n{_never_sampled(d, columns)}"


def _never_sampled(d: _Dialect, columns: dict[str, str]) -> str:
    """One row for a try that ended before a sample was due: what its own end tells, as Parsl samples at the end."""
    known = {
        "try_id": "CAST(y.try_ AS INTEGER)",
        "task_id": "y.task",
        "run_id": "r.run",
        "timestamp": d.time.format("y.ended"),
        "resource_monitoring_interval": _real("r.sample_interval"),
        "psutil_process_pid": "CAST(y.pid AS BIGINT)",
        "psutil_process_time_user": _real("y.cpu_user") + " / 1000000",
        "psutil_process_time_system": _real("y.cpu_system") + " / 1000000",
        "psutil_process_memory_resident": _real("CASE WHEN y.peak_exact <> 0 THEN y.peak_rss END"),
    }
    texts = {"psutil_process_status", "psutil_cpu_num"}
    unknown = {name: f"CAST(NULL AS {'TEXT' if name in texts else 'DOUBLE PRECISION'})" for name in columns}
    listed = ",\n  ".join(f'{known.get(name, unknown[name])} AS "{name}"' for name in columns)
    return (  # constants of this module only
        f"SELECT\n  {listed}\nFROM runs r {d.zones} JOIN tries y ON y.run = r.id"  # noqa: S608
        "\nWHERE y.ended IS NOT NULL AND COALESCE(y.shared, 0) = 0 AND r.sample_interval > 0 AND NOT EXISTS"
        " (SELECT 1 FROM samples m WHERE m.run = y.run AND m.task = y.task AND m.try_ = y.try_)"
    )


def _node(d: _Dialect) -> str:
    columns = {
        # The three ids side by side: 19, 20 and 24 bits. A number that stays, without a count over all runs.
        "id": "((CAST(m.run AS BIGINT) * 1048576 + m.host) * 16777216 + m.pool)",
        "run_id": "r.run",
        "hostname": "COALESCE(h.name, '')",
        "uid": "COALESCE(p.name, '')",
        "block_id": "COALESCE(b.name, '')",
        "cpu_count": "CAST(COALESCE(m.cpu_count, 0) AS BIGINT)",
        "total_memory": "CAST(COALESCE(m.memory_total, 0) AS BIGINT)",
        "active": d.flag.format("m.active"),
        # A pool that does not say how many workers it has is at least the one process that was seen.
        "worker_count": "CAST(COALESCE(m.workers, 1) AS BIGINT)",
        "python_v": "COALESCE(m.python, '')",
        "timestamp": d.time.format("COALESCE(m.first_seen, r.started, r.first_seen, 0)"),
        "last_heartbeat": d.time.format("COALESCE(m.last_seen, r.started, r.first_seen, 0)"),
    }
    source = f"""runs r {d.zones} JOIN nodes m ON m.run = r.id
  LEFT JOIN hosts h ON h.id = m.host
  LEFT JOIN names p ON p.id = m.pool
  LEFT JOIN names b ON b.id = m.block"""
    return _view("node", columns, source)


def _block(d: _Dialect) -> str:
    columns = {
        "run_id": "r.run",
        "executor_label": "COALESCE(x.name, '')",
        "block_id": "COALESCE(b.name, '')",
        "job_id": "m.job_id",
        "timestamp": d.time.format("m.at"),
        "status": "COALESCE(s.name, '')",
    }
    source = f"""runs r {d.zones} JOIN block_states m ON m.run = r.id
  LEFT JOIN names x ON x.id = m.executor
  LEFT JOIN names b ON b.id = m.block
  LEFT JOIN names s ON s.id = m.status"""
    return _view("block", columns, source)
