"""Smaller samples: `level`, `shared` and `last` in one column, `flags`, and memory in thousandths of a percent.

Every sample is written again. SQLite gets a new table, since its pages would otherwise stay as full as they are; it is
filled by parts, each deleted from the old one at once, so that the file does not grow by a second copy. PostgreSQL
writes the table anew where it is, with its partitions, and keeps the views that read it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
DERIVES = False

PART = 2_000
"""Tasks whose samples are moved at a time."""
KEY = ("run", "task", "try_", "at", "host", "pid")
COUNTERS = (
    "cpu_user", "cpu_system", "rss", "peak_rss", "vms", "threads", "children", "read_bytes", "write_bytes",
    "ctx_voluntary", "ctx_involuntary",
)  # fmt: skip
FLAGS = "(CASE WHEN last <> 0 THEN 1 ELSE 0 END | CASE WHEN shared <> 0 THEN 2 ELSE 0 END | (COALESCE({level}, 0) * 4))"
# As the writer does it: whole where dividing by 1000 gives the same number again. Too large a number was no share.
MILLI = (
    "CASE WHEN abs({percent}) < 1e300 THEN CASE WHEN round({percent} * 1000) / 1000 = {percent}"
    " THEN round({percent} * 1000) ELSE {percent} * 1000 END END"
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        _moved(connection)
    else:
        _changed(connection)


def _moved(connection: sa.Connection) -> None:
    op.create_table(
        "samples_small",
        *(sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False) for name in KEY),
        sa.Column("flags", sa.SmallInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in COUNTERS),
        sa.Column("memory_milli", sa.Double),
        sa.Column("status", sa.BigInteger),
        sa.Column("cpu_num", sa.BigInteger),
        sa.Column("interval", sa.Double),
        sa.PrimaryKeyConstraint(*KEY, name="pk_samples"),
        sqlite_with_rowid=False,
    )
    milli, flags = MILLI.format(percent="memory_percent"), FLAGS.format(level="level")
    listed = ", ".join([*KEY, flags, *COUNTERS, milli, "status", "cpu_num", "interval"])
    part = "WHERE run = :run AND task BETWEEN :first AND :last"
    move = f"INSERT INTO samples_small SELECT {listed} FROM samples {part} ORDER BY task, try_, at, host, pid"  # noqa: S608
    while (first := connection.execute(sa.text("SELECT run, task FROM samples LIMIT 1")).first()) is not None:
        values = {"run": first.run, "first": first.task, "last": first.task + PART}
        for statement in (move, f"DELETE FROM samples {part}"):  # noqa: S608 — constants of this module only
            connection.execute(sa.text(statement), values)
    op.drop_table("samples")
    # Views are made anew after all revisions; one of a user's own must not keep the table from its name.
    connection.execute(sa.text("PRAGMA legacy_alter_table = ON"))
    op.rename_table("samples_small", "samples")
    connection.execute(sa.text("PRAGMA legacy_alter_table = OFF"))


def _changed(connection: sa.Connection) -> None:
    resource = connection.scalar(sa.text("SELECT pg_get_viewdef(to_regclass('resource'))"))
    if resource is not None:
        # A column that a view reads cannot be written anew; the view itself has to stay for those that read it.
        without = resource.replace("m.memory_percent", "CAST(NULL AS double precision)").replace(":", "\\:")
        op.execute(sa.text(f"CREATE OR REPLACE VIEW resource AS {without}"))
    op.alter_column("samples", "level", new_column_name="flags")
    op.alter_column("samples", "memory_percent", new_column_name="memory_milli")
    flags, milli = FLAGS.format(level="flags"), MILLI.format(percent="memory_milli")
    # Not UPDATE: that would take three times as long, and leave every row's old version in the table.
    op.execute(
        sa.text(
            f"ALTER TABLE samples ALTER COLUMN flags TYPE smallint USING {flags}, ALTER COLUMN flags SET NOT NULL,"
            f" ALTER COLUMN memory_milli TYPE double precision USING {milli}"
        )
    )
    op.drop_column("samples", "shared")
    op.drop_column("samples", "last")
