"""What the dashboard searches and sorts by: derived columns, their indexes, kinds of failures, rollups.

Only the shape: `migrate` fills derived columns and rollups by `rebuild` once all revisions are applied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
DERIVES = True
"""Whether what is derived has to be made anew after it."""


def upgrade() -> None:
    _columns()
    op.create_table(
        "failure_kinds",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    _rollup("run_kinds", ("app", "executor", "state"), ("tasks",))
    _rollup("run_apps", ("app",), ("tries", "retries", "joins"))
    _rollup("run_measures", ("app", "measure", "bucket"), ("tries", "total"))
    _rollup("run_failures", ("failure", "app", "host"), ("tries",))
    for name in ("app", "host"):
        _rollup(f"{name}_busy", ("width", "at", name), ("begins", "ends", "begin_offsets", "end_offsets"))
    op.create_index("ix_edges_reverse", "edges", ["run", "depends_on"])
    op.create_index("ix_tasks_kind", "tasks", ["run", "app", "runs_on", "state", "task"])
    _partial("ix_tasks_began", "tasks", ["run", "app", "began", "task", "runs_on", "state"], "began")
    _partial("ix_tasks_took", "tasks", ["run", "app", "took", "task", "runs_on", "state"], "took")
    _partial("ix_tries_host", "tries", ["run", "host", "task", "try_"], "host")
    _partial("ix_tries_octave", "tries", ["run", "octave", "since"], "octave")
    _partial("ix_tries_failure", "tries", ["run", "failure", "wrong"], "failure")


def _columns() -> None:
    for column in (
        sa.Column("state", sa.SmallInteger, nullable=False, server_default="15"),
        sa.Column("runs_on", sa.Integer, nullable=False, server_default="0"),
        sa.Column("began", sa.BigInteger),
        sa.Column("took", sa.BigInteger),
    ):
        op.add_column("tasks", column)
    for column in (
        sa.Column("failure", sa.Integer),
        sa.Column("wrong", sa.BigInteger),
        sa.Column("since", sa.BigInteger),
        sa.Column("octave", sa.SmallInteger),
    ):
        op.add_column("tries", column)


def _rollup(name: str, keys: tuple[str, ...], counters: tuple[str, ...]) -> None:
    all_keys = ("run", *keys)
    op.create_table(
        name,
        *(sa.Column(key, sa.BigInteger, nullable=False, autoincrement=False) for key in all_keys),
        *(sa.Column(counter, sa.BigInteger, nullable=False, server_default="0") for counter in counters),
        sa.PrimaryKeyConstraint(*all_keys, name=f"pk_{name}"),
        sqlite_with_rowid=False,
    )


def _partial(name: str, table: str, columns: list[str], known: str) -> None:
    where = sa.text(f"{known} IS NOT NULL")
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
