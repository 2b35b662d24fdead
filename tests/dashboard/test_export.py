"""Tables as files: all rows, the view's filters and order, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import gc
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from starlette.requests import Request
from starlette.testclient import TestClient

from heliograph_dashboard import export
from heliograph_dashboard.app import create_app
from heliograph_dashboard.config import DashboardConfig
from tests.apart import apart
from tests.dashboard.steady import Steady

RUNS = 23


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    url = f"sqlite:///{tmp_path_factory.mktemp('export') / 'runs.db'}"
    for number in range(RUNS):
        name = ["=HYPERLINK(1)", 'a,b\n"c"', "@x 🌍", "-1+1"][number % 4] + f" {number}"
        steady = Steady(url, f"run-{number}", name=name)
        steady.start()
        steady.add(number % 3, states=("pending", "exec_done"))
        if number % 2:
            steady.end()
        steady.close()
    with TestClient(create_app(DashboardConfig(database_url=url)), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages for few rows."""
    monkeypatch.setattr(export, "PAGE", 7)


def test_csv_has_all_rows_and_no_formulas(client: TestClient) -> None:
    answer = client.get("/export/workflows.csv", params={"sort": "began"})
    assert 'filename="workflows.csv"' in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["tasks"] for row in rows] == [str(n % 3) for n in range(RUNS)]
    assert [row["name"] for row in rows[:4]] == ["'=HYPERLINK(1) 0", 'a,b "c" 1', "'@x 🌍 2", "'-1+1 3"]
    assert rows[0]["began"].endswith("Z")
    assert "href" not in rows[0]


def test_json_is_one_document_with_the_views_filters(client: TestClient) -> None:
    rows = client.get("/export/workflows.json", params={"state": "completed", "sort": "-name"}).json()
    assert len(rows) == RUNS // 2
    assert {row["state"] for row in rows} == {"completed"}
    names = [row["name"].lower() for row in rows]
    assert names == sorted(names, reverse=True)
    assert client.get("/export/workflows.json", params={"search": "nothing has this"}).json() == []


def test_parquet_has_types(client: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "workflows.parquet"
    file.write_bytes(client.get("/export/workflows.parquet").content)
    table = parquet.read_table(file)
    assert table.num_rows == RUNS
    types = {field.name: str(field.type) for field in table.schema}
    assert types["began"] == "timestamp[us, tz=UTC]"
    assert (types["duration"], types["tasks"], types["name"]) == ("int64", "int64", "string")
    assert json.loads(table.to_pylist()[0]["progress"]) is not None
    empty = tmp_path / "empty.parquet"
    empty.write_bytes(client.get("/export/workflows.parquet", params={"search": "nothing has this"}).content)
    assert parquet.read_table(empty).num_rows == 0


def test_what_is_not_there_is_told(client: TestClient) -> None:
    for path in ("nothing.csv", "workflows.xls", "workflows", "../secret.csv"):
        assert client.get(f"/export/{path}").status_code in {200, 404}, path
    assert client.get("/export/nothing.csv").json()["error"]
    assert client.get("/export/workflows.csv", params={"run": "nope"}).status_code == 404
    assert len(client.get("/export/workflows.json", params={"sort": "drop table", "after": "x"}).json()) == RUNS


def test_more_exports_than_may_run_at_once_are_told_when_to_come_again(client: TestClient) -> None:
    serve = export.Export(client.app.state.data, at_once=2).serve  # type: ignore[attr-defined]

    def asked(file: str) -> Any:
        return serve(Request({"type": "http", "query_string": b"", "path_params": {"file": file}, "headers": []}))

    first, second = asked("workflows.csv"), asked("workflows.json")
    third = asked("workflows.csv")
    assert (third.status_code, third.headers["retry-after"]) == (503, "5")
    assert asked("nothing.csv").status_code == 503, "whatever is asked for"
    apart(read(first))
    assert asked("nothing.csv").status_code == 404, "one is over, and what is refused takes no place"
    fourth = asked("workflows.csv")
    assert (fourth.status_code, asked("workflows.csv").status_code) == (200, 503)
    del second  # its browser went away before anything was sent
    gc.collect()
    assert asked("workflows.csv").status_code == 200


async def read(answer: Any) -> bytes:
    return b"".join([chunk async for chunk in answer.body_iterator])
