"""Old databases of Parsl's: what comes back through the views is what Parsl wrote, field by field."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas
import pytest

from heliograph.messages import decode_records
from heliograph_store.migrate import migrate
from heliograph_store.parsl_import import NotParslDatabase, import_batches, old_runs
from heliograph_store.store import Store, connect
from heliograph_store.write import Writer
from tests.store.parsl_run import recorded_by_parsl
from tests.store.stream import content

pytestmark = pytest.mark.slow  # a real workflow on HTEX is recorded first

TABLES = {
    "workflow": ["run_id"],
    "task": ["run_id", "task_id"],
    "try": ["run_id", "task_id", "try_id"],
    "status": ["run_id", "task_id", "try_id", "timestamp", "task_status_name"],
    "resource": ["run_id", "task_id", "try_id", "timestamp"],
    "block": ["run_id", "executor_label", "block_id", "timestamp"],
}
"""Tables that come back row by row, and what orders them. Of `node` one row a pool comes back."""


@pytest.fixture
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_by_parsl(tmp_path_factory)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    migrate(database_url)
    opened = connect(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'ours.db'}"
    migrate(url)
    opened = connect(url)
    yield opened
    opened.close()


def run_import(store: Store, path: Path, **options: Any) -> int:
    writer = Writer(store)
    records = 0
    for batch in import_batches(f"sqlite:///{path}", **options):
        result = writer.write([batch])
        assert not result.aside
        records += result.records
    return records


def frame(path: Path, table: str) -> pandas.DataFrame:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return pandas.read_sql_query(f'SELECT * FROM "{table}"', connection)


def tables_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        names = [*TABLES, "node"]
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in names}


def views_of(store: Store) -> dict[str, list[dict[str, Any]]]:
    with store.connection() as connection:
        return {
            name: [dict(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"').mappings()]
            for name in [*TABLES, "node"]
        }


@pytest.mark.parametrize("table", TABLES)
def test_the_rows_come_back_as_parsl_wrote_them(old: Path, sqlite_store: Store, table: str) -> None:
    run_import(sqlite_store, old)
    assert sqlite_store.path is not None
    theirs, ours = (
        frame(path, table).sort_values(TABLES[table], ignore_index=True) for path in (old, sqlite_store.path)
    )
    assert len(theirs) > 0
    # The tolerance is for CPU times alone: Parsl stores sums of floats, the store whole microseconds.
    pandas.testing.assert_frame_equal(ours, theirs, check_exact=False, rtol=0, atol=1e-6)


def test_nodes_come_back_as_one_row_a_pool(old: Path, sqlite_store: Store) -> None:
    run_import(sqlite_store, old)
    assert sqlite_store.path is not None
    theirs, ours = frame(old, "node"), frame(sqlite_store.path, "node")
    assert list(ours.columns) == list(theirs.columns)
    assert dict(ours.dtypes) == dict(theirs.dtypes)
    assert len(ours) == theirs["uid"].nunique() == 1
    first, last = theirs.sort_values("timestamp").iloc[[0, -1]].to_dict("records")
    (found,) = ours.to_dict("records")
    for name in ("run_id", "hostname", "uid", "block_id", "cpu_count", "total_memory", "worker_count", "python_v"):
        assert found[name] == first[name], name
    assert (found["timestamp"], found["active"]) == (first["timestamp"], last["active"])


def test_importing_twice_changes_nothing(old: Path, store: Store) -> None:
    records = run_import(store, old)
    before = content(store)
    assert run_import(store, old) == records
    assert content(store) == before


def test_record_ids_are_unique_and_stable(old: Path) -> None:
    def ids() -> list[tuple[str, int]]:
        batches = import_batches(f"sqlite:///{old}")
        return [(s.journal, offset) for batch in batches for s in batch.sources for offset in s.offsets]

    first = ids()
    assert len(first) == len(set(first)) > 100
    assert ids() == first


def test_the_old_database_is_not_touched(old: Path, sqlite_store: Store) -> None:
    before = (hashlib.sha256(old.read_bytes()).hexdigest(), old.stat().st_mtime_ns, sorted(old.parent.iterdir()))
    run_import(sqlite_store, old)
    assert (
        hashlib.sha256(old.read_bytes()).hexdigest(),
        old.stat().st_mtime_ns,
        sorted(old.parent.iterdir()),
    ) == before


def test_the_zone_moves_the_times_and_the_views_move_them_back(old: Path, store: Store) -> None:
    (here,) = old_runs(f"sqlite:///{old}", zone=ZoneInfo("UTC"))
    (there,) = old_runs(f"sqlite:///{old}", zone=ZoneInfo("Asia/Kolkata"))
    assert here.began - there.began == 19_800_000_000
    run_import(store, old, zone=ZoneInfo("Asia/Kolkata"))
    expected = sorted(frame(old, "status")["timestamp"])
    assert sorted(_text(row["timestamp"]) for row in views_of(store)["status"]) == expected


def test_only_the_runs_asked_for(old: Path) -> None:
    (run,) = old_runs(f"sqlite:///{old}")
    assert run.name == "small"
    assert run.ended is not None
    assert run.ended > run.began
    assert list(import_batches(f"sqlite:///{old}", runs=[])) == []
    assert {batch.run for batch in import_batches(f"sqlite:///{old}", runs=[run.run])} == {run.run}


def test_samples_name_the_host_and_failures_the_reason(old: Path) -> None:
    records = [record for batch in import_batches(f"sqlite:///{old}") for record in decode_records(batch)[0]]
    kinds: dict[str, list[Any]] = {}
    for record in records:
        kinds.setdefault(type(record).__name__, []).append(record)
    assert all(sample.host and sample.pid for sample in kinds["TaskSample"])
    failed = [ended for ended in kinds["TaskEnded"] if not ended.ok]
    assert any("the first try, with a comma" in ended.exc_message for ended in failed)
    assert all(ended.elapsed >= 0 for ended in kinds["TaskEnded"])


def _older(path: Path) -> None:
    """As Parsl wrote some years ago: no tries, no blocks, fewer columns; and one row that is damaged."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript("""
            CREATE TABLE workflow (run_id TEXT, workflow_name TEXT, time_began TIMESTAMP, time_completed TIMESTAMP,
                host TEXT, user TEXT, rundir TEXT, tasks_failed_count INTEGER, tasks_completed_count INTEGER);
            CREATE TABLE task (task_id INTEGER, run_id TEXT, task_func_name TEXT, task_depends TEXT, task_executor TEXT,
                hostname TEXT, task_time_submitted TIMESTAMP, task_time_returned TIMESTAMP);
            CREATE TABLE status (task_id INTEGER, task_status_name TEXT, timestamp TIMESTAMP, run_id TEXT);
            CREATE TABLE resource (task_id INTEGER, run_id TEXT, timestamp TIMESTAMP, psutil_process_pid INTEGER,
                psutil_process_time_user FLOAT);
            INSERT INTO workflow VALUES ('old', NULL, '2019-05-01 10:00:00', NULL, 'h', 'u', '/r', 0, 1);
            INSERT INTO workflow VALUES ('broken', NULL, 'yesterday', NULL, 'h', 'u', '/r', 0, 1);
            INSERT INTO task VALUES (0, 'old', 'first', 'None', 'threads', 'n1', NULL, '2019-05-01 10:00:09');
            INSERT INTO task VALUES (1, 'old', 'second', '0', 'threads', NULL, NULL, NULL);
            INSERT INTO status VALUES (0, 'unsched', '2019-05-01 10:00:01.5', 'old');
            INSERT INTO status VALUES (0, 'running', '2019-05-01 10:00:03', 'old');
            INSERT INTO status VALUES (0, 'done', '2019-05-01 10:00:09', 'old');
            INSERT INTO status VALUES (1, 'pending', 'never', 'old');
            INSERT INTO status VALUES (1, 'confused', '2019-05-01 10:00:09', 'old');
            INSERT INTO resource VALUES (0, 'old', '2019-05-01 10:00:04', 17, 0.25);
            INSERT INTO resource VALUES (0, 'old', NULL, 17, 0.25);
        """)
        db.commit()


def test_an_older_schema_gives_what_it_has(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "odd name #1 100%.db"
    _older(path)
    run_import(store, path, zone=ZoneInfo("UTC"))
    views = views_of(store)
    assert [(r["run_id"], _text(r["time_began"]), r["time_completed"]) for r in views["workflow"]] == [
        ("old", "2019-05-01 10:00:00.000000", None)
    ]
    found = [(r["task_id"], r["task_func_name"], r["task_depends"]) for r in views["task"]]
    assert sorted(found) == [(0, "first", ""), (1, "second", "0")]
    assert sorted((_text(r["timestamp"]), r["task_status_name"], r["try_id"]) for r in views["status"]) == [
        ("2019-05-01 10:00:01.500000", "pending", 0),
        ("2019-05-01 10:00:03.000000", "running", 0),
        ("2019-05-01 10:00:09.000000", "exec_done", 0),
    ]
    (sample,) = views["resource"]
    assert (sample["psutil_process_pid"], sample["psutil_process_time_user"]) == (17, 0.25)
    assert "3 rows could not be understood" in caplog.text
    assert "run broken has no time of its beginning" in caplog.text


def test_from_postgresql(old: Path, store: Store, postgres_server: Any) -> None:
    """The same run in a database that Parsl's own schema made on PostgreSQL."""
    from parsl.monitoring.db_manager import Database
    from sqlalchemy import create_engine

    url = postgres_server.create()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        Database.Base.metadata.create_all(engine)
        for table in ("workflow", *(name for name in TABLES if name != "workflow"), "node"):
            rows = frame(old, table)
            for column in Database.Base.metadata.tables[table].c:
                if str(column.type) == "DATETIME":
                    rows[column.name] = pandas.to_datetime(rows[column.name], format="ISO8601")
                elif str(column.type) == "BOOLEAN":
                    rows[column.name] = rows[column.name].astype(bool)
            rows.to_sql(table, engine, if_exists="append", index=False)
        writer = Writer(store)
        for batch in import_batches(url):
            assert not writer.write([batch]).aside
    finally:
        engine.dispose()
        postgres_server.drop(url)
    found = views_of(store)
    for table in ("workflow", "task", "try", "status", "block", "resource"):
        theirs = frame(old, table).sort_values(TABLES[table]).to_dict("records")
        ours = sorted(found[table], key=lambda row: [_text(row[name]) for name in TABLES[table]])
        by_text = sorted(theirs, key=lambda row: [_text(row[name]) for name in TABLES[table]])
        for a, b in zip(ours, by_text, strict=True):
            for name in a.keys() - {"task_memoize"}:  # 'true' on PostgreSQL, '1' on SQLite, in Parsl's as well
                assert _same(a[name], b[name]), (table, name, a, b)


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, float):
        return ours is None if math.isnan(theirs) else math.isclose(ours, theirs, abs_tol=1e-6)
    return _text(ours) == _text(theirs)


def _text(value: Any) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%S.%f") if hasattr(value, "strftime") else str(value)


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite:////no/such/file.db"])
def test_what_cannot_be_imported_says_why(url: str) -> None:
    with pytest.raises(NotParslDatabase):
        list(import_batches(url))


def test_other_databases_are_refused(tmp_path: Path, sqlite_store: Store) -> None:
    with pytest.raises(NotParslDatabase, match="Heliograph"):
        old_runs(f"sqlite:///{sqlite_store.path}")
    (tmp_path / "text.db").write_text("no database" * 1000)
    with pytest.raises(NotParslDatabase, match="cannot read"):
        old_runs(f"sqlite:///{tmp_path / 'text.db'}")
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE t (x)")
    with pytest.raises(NotParslDatabase, match="no table `workflow`"):
        old_runs(f"sqlite:///{tmp_path / 'empty.db'}")
