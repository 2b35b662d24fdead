"""What an operator or a retention policy does to a store: delete and tag runs, thin samples, checkpoint.

In: a store, and a run's id (its text) or a policy. Out: what was done. Only the process that writes the store calls
these; like a write, each locks the run that it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, or_, select, text, update

from heliograph_store import schema
from heliograph_store.postgres_session import run_lock_key
from heliograph_store.schema import IS_LAST, IS_SHARED, LEVEL_SHIFT, MINUTE, PER_MINUTE, SUMMARY
from heliograph_store.store import Store


@dataclass(frozen=True, kw_only=True)
class SamplePolicy:
    """Ages in microseconds from which samples are thinned; None keeps them as they are."""

    minute_after: int | None = None
    """Older samples: the last one of each minute stays."""
    summary_after: int | None = None
    """Older samples: the last one of each try stays (of a node: one a minute)."""


@dataclass(frozen=True, kw_only=True)
class Thinned:
    """How many samples were removed."""

    samples: int
    node_samples: int


def delete_run(store: Store, run: str) -> bool:
    """Delete a run with everything of it; False when there is no such run.

    Records that arrive afterwards make it come back as a stub: end its agents first.
    """
    with _run(store, run) as (connection, run_id):
        if run_id is None:
            return False
        for table in schema.OF_A_RUN:
            connection.execute(delete(table).where(table.c.run == run_id))
        connection.execute(delete(schema.runs).where(schema.runs.c.id == run_id))
        return True


def tag_run(store: Store, run: str, tags: Mapping[str, str | None]) -> bool:
    """Set an operator's tags of a run (None removes one); False when there is no such run."""
    table = schema.run_tags
    with _run(store, run) as (connection, run_id):
        if run_id is None:
            return False
        for key, value in tags.items():
            connection.execute(delete(table).where(table.c.run == run_id, table.c.key == key))
            if value is not None:
                connection.execute(insert(table).values(run=run_id, key=key, value=value))
        return True


def thin_samples(store: Store, policy: SamplePolicy, *, now: int) -> Thinned:
    """Apply a policy to all runs, one transaction a run. Counters are totals, so the last sample of a span says all
    of them; of memory the span's peak is kept. Sets the runs' horizon: older samples that come later are put aside.
    """
    ages = [age for age in (policy.minute_after, policy.summary_after) if age is not None]
    if not ages:
        return Thinned(samples=0, node_samples=0)
    horizon = _cut(now, min(ages))
    runs = schema.runs
    with store.connection() as connection:
        old = connection.scalars(select(runs.c.run).where(runs.c.first_seen < horizon)).all()
    samples = node_samples = 0
    for run in old:
        with _run(store, run) as (connection, run_id):
            if run_id is None:
                continue  # deleted meanwhile
            node_samples += _thin_nodes(connection, run_id, horizon)
            if policy.minute_after is not None:
                samples += _thin(connection, run_id, _cut(now, policy.minute_after), PER_MINUTE)
            if policy.summary_after is not None:
                samples += _thin(connection, run_id, _cut(now, policy.summary_after), SUMMARY)
            lower = or_(runs.c.horizon.is_(None), runs.c.horizon < horizon)
            connection.execute(update(runs).where(runs.c.id == run_id, lower).values(horizon=horizon))
    return Thinned(samples=samples, node_samples=node_samples)


def checkpoint(store: Store) -> int | None:
    """Move SQLite's write-ahead log into the file; returns the bytes left in the log, None on PostgreSQL."""
    if store.path is None:
        return None
    with store.engine.connect() as connection:
        # No transaction: the log cannot be reset from within one.
        raw = connection.connection.driver_connection
        assert raw is not None  # noqa: S101
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    log = store.path.with_name(store.path.name + "-wal")
    return log.stat().st_size if log.exists() else 0


@contextmanager
def _run(store: Store, run: str) -> Iterator[tuple[Connection, int | None]]:
    """A transaction that holds a run, and the run's id (None when there is no such run)."""
    with store.transaction() as connection:
        if not store.sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": run_lock_key(run)})
        yield connection, connection.scalar(select(schema.runs.c.id).where(schema.runs.c.run == run))


def _cut(now: int, age: int) -> int:
    """The end of the last whole minute that is older than `age`."""
    return (now - age) // MINUTE * MINUTE


_OF_SPAN = {
    PER_MINUTE: "o.task = s.task AND o.try_ = s.try_ AND o.host = s.host AND o.pid = s.pid "
    f"AND o.at / {MINUTE} = s.at / {MINUTE} AND o.at >= s.at - {MINUTE} AND o.at <= s.at + {MINUTE}",
    SUMMARY: "o.task = s.task AND o.try_ = s.try_ AND o.host = s.host AND o.pid = s.pid",
}
"""Which other sample `o` stands in the same span as the sample `s`; both are of one run and before the cut."""


def _thin(connection: Connection, run: int, cut: int, level: int) -> int:
    span = f"o.run = :run AND o.at < :cut AND {_OF_SPAN[level]}"
    values = {"run": run, "cut": cut, "level": level << LEVEL_SHIFT}
    of_run = "s.run = :run AND s.at < :cut AND s.flags < :level"
    # The last of each span takes over the peak, then all others go.
    connection.execute(
        text(
            f"UPDATE samples AS s SET flags = (s.flags & {IS_LAST | IS_SHARED}) | :level, peak_rss = "  # noqa: S608
            f"(SELECT max(coalesce(o.peak_rss, o.rss)) FROM samples AS o WHERE {span}) "
            f"WHERE {of_run} AND NOT EXISTS (SELECT 1 FROM samples AS o WHERE {span} AND o.at > s.at)"
        ),
        values,
    )
    removed = connection.execute(
        text(
            "DELETE FROM samples AS s WHERE s.run = :run AND s.at < :cut AND EXISTS "  # noqa: S608
            f"(SELECT 1 FROM samples AS o WHERE {span} AND o.at > s.at)"
        ),
        {"run": run, "cut": cut},
    )
    return removed.rowcount


def _thin_nodes(connection: Connection, run: int, cut: int) -> int:
    later = (
        f"SELECT 1 FROM node_samples AS o WHERE o.run = s.run AND o.host = s.host AND o.at > s.at AND o.at < :cut "  # noqa: S608
        f"AND o.at <= s.at + {MINUTE} AND o.at / {MINUTE} = s.at / {MINUTE}"
    )
    removed = connection.execute(
        text(f"DELETE FROM node_samples AS s WHERE s.run = :run AND s.at < :cut AND EXISTS ({later})"),  # noqa: S608
        {"run": run, "cut": cut},
    )
    connection.execute(
        text("UPDATE node_samples SET level = :level WHERE run = :run AND at < :cut AND level < :level"),
        {"run": run, "cut": cut, "level": PER_MINUTE},
    )
    return removed.rowcount
