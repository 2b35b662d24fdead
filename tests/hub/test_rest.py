"""The API gives back what was written, page by page, to whoever may read; and takes any parameter without breaking."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heliograph_hub.app import create_app
from heliograph_hub.config import HubConfig
from heliograph_hub.cursors import encode_cursor
from heliograph_store.migrate import migrate
from tests.hub.conftest import JOIN, LOCKED, READ, Serving, batch, bearer
from tests.hub.recorded import SECOND, Recorder, ended, now, started, surroundings, task

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NASTY = "<script>alert('x')</script>&\"run\" ü"


@pytest.fixture
def recorder(config: HubConfig) -> Iterator[Recorder]:
    made = Recorder(config)
    yield made
    made.close()


def pages(client: httpx.Client, path: str, **params: Any) -> list[list[dict[str, Any]]]:
    """All pages of a list."""
    found = []
    after: dict[str, Any] = {}
    while True:
        answer = client.get(path, params={**params, **after})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        assert len(found) < 1000
        if answer.json()["next"] is None:
            return found
        after = {"after": answer.json()["next"]}


def everything(client: httpx.Client, path: str, **params: Any) -> list[dict[str, Any]]:
    return [item for page in pages(client, path, **params) for item in page]


def test_a_run_and_all_that_belongs_to_it(serving: Serving, recorder: Recorder) -> None:
    begin = now() - 100 * SECOND
    recorder.write("r-1", [*started(begin), *surroundings(begin)])
    for number in range(3):
        recorder.write("r-1", task(number, begin, final="failed" if number == 2 else "exec_done"))
    recorder.write("r-1", ended(begin + 50 * SECOND, failed=1))
    client = serving()
    (item,) = everything(client, "/v1/runs")
    assert (item["run"], item["name"], item["liveness"], item["owner"]) == ("r-1", "flow", "failed", "ada")
    assert item["tags"] == {"k": "v"}
    assert RFC3339.fullmatch(item["started"])
    detail = client.get("/v1/runs/r-1").json()
    assert detail["tasks"] == 3
    assert detail["states"] == {"exec_done": 2, "failed": 1}
    assert detail["apps"] == [{"app": "work", "total": 3, "states": {"exec_done": 2, "failed": 1}}]
    assert detail["failures"] == [{"exc_type": "ValueError", "tries": 1}]
    tasks = everything(client, "/v1/runs/r-1/tasks")
    assert [(t["task"], t["try"], t["state"], t["host"]) for t in tasks] == [
        (0, 0, "exec_done", "n1"), (1, 0, "exec_done", "n1"), (2, 0, "failed", "n1"),
    ]  # fmt: skip
    assert [t["task"] for t in everything(client, "/v1/runs/r-1/tasks", state="failed")] == [2]
    assert everything(client, "/v1/runs/r-1/tasks", app="nothing") == []
    whole = client.get("/v1/runs/r-1/tasks/1").json()
    assert whole["origin"] == "parsl"
    assert [n["task"] for n in whole["depends_on"]] == [0]
    assert [n["task"] for n in whole["needed_by"]] == [2]
    (one,) = everything(client, "/v1/runs/r-1/tasks/2/tries")
    assert (one["exc_type"], one["traceback"], one["waited"], one["elapsed"]) == (
        "ValueError", "Traceback …", 2 * SECOND, 3 * SECOND,
    )  # fmt: skip
    assert RFC3339.fullmatch(one["states"]["launched"])
    assert [t["task"] for t in everything(client, "/v1/runs/r-1/tries", limit=2)] == [0, 1, 2]
    assert [t["task"] for t in everything(client, "/v1/runs/r-1/failures")] == [2]
    assert [s["rss"] for s in everything(client, "/v1/runs/r-1/tasks/1/samples", limit=1)] == [500, 600]
    assert {n["host"] for n in everything(client, "/v1/runs/r-1/nodes", limit=1)} == {"n0", "n1", "n2"}
    percents = [s["cpu_percent"] for s in everything(client, "/v1/runs/r-1/node-samples", host="n1", limit=3)]
    assert percents == [0.0, 1.0, 2.0, 3.0]
    blocks = everything(client, "/v1/runs/r-1/blocks", limit=1)
    assert [(b["block"], b["status"], b["job_id"], len(b["history"])) for b in blocks] == [
        (str(n), "RUNNING", f"job{n}", 2) for n in range(3)
    ]
    assert [f["path"] for f in everything(client, "/v1/runs/r-1/files", watch="w", limit=2)] == [
        f"/data/{n}.h5" for n in range(5)
    ]


def test_paging_is_complete_and_stable_while_rows_arrive(serving: Serving, recorder: Recorder) -> None:
    """What was there when the paging began comes once, in order; what arrives meanwhile disturbs nothing."""
    begin = now()
    for number in range(0, 60, 2):
        recorder.write("r-1", task(number, begin))
    for number in range(20):
        recorder.write(f"old-{number:02}", started(begin - number * SECOND))
    client = serving()
    for path, key, before in (
        ("/v1/runs/r-1/tasks", "task", list(range(0, 60, 2))),
        ("/v1/runs/r-1/tries", "task", list(range(0, 60, 2))),
        ("/v1/runs", "run", [f"old-{n:02}" for n in range(20)]),
    ):
        seen: list[Any] = []
        after: dict[str, Any] = {}
        fresh = iter(range(1, 1000, 2))
        while True:
            answer = client.get(path, params={"limit": 7, **after}).json()
            seen += [item[key] for item in answer["items"]]
            if answer["next"] is None:
                break
            after = {"after": answer["next"]}
            recorder.write("r-1", task(next(fresh), begin))
            recorder.write(f"new-{path}-{len(seen)}", started(begin + 60 * SECOND))
        assert len(seen) == len(set(seen))
        assert [value for value in seen if value in before] == before


def test_a_page_that_ends_with_the_list_has_no_next(serving: Serving, recorder: Recorder) -> None:
    for number in range(4):
        recorder.write("r-1", task(number, now()))
    assert [len(page) for page in pages(serving(), "/v1/runs/r-1/tasks", limit=2)] == [2, 2]


def test_limits_are_capped(serving: Serving, recorder: Recorder) -> None:
    recorder.write("r-1", [record for number in range(1002) for record in task(number, now())[:1]])
    answer = serving().get("/v1/runs/r-1/tasks", params={"limit": 10**30}).json()
    assert len(answer["items"]) == 1000
    assert answer["next"]


def test_liveness_is_derived(serving: Serving, recorder: Recorder) -> None:
    moment = now()
    recorder.write("alive", started(moment))
    recorder.write("dead", started(moment - 3600 * SECOND))
    recorder.write("well", [*started(moment), *ended(moment)])
    recorder.write("ill", [*started(moment), *ended(moment, failed=2)])
    client = serving()
    found = {run["run"]: run["liveness"] for run in everything(client, "/v1/runs")}
    assert found == {"alive": "running", "dead": "lost", "well": "completed", "ill": "failed"}
    assert [run["run"] for run in everything(client, "/v1/runs", liveness="lost")] == ["dead"]
    assert client.get("/v1/runs/dead").json()["liveness"] == "lost"
    recorder.write("dead", started(moment))
    assert client.get("/v1/runs/dead").json()["liveness"] == "running"


def test_while_batches_wait_a_silent_run_is_unknown(serving: Serving, recorder: Recorder) -> None:
    """Nobody consumes the spool: signs of life may be in it."""
    recorder.write("silent", started(now() - 3600 * SECOND))
    client = serving()
    token = client.post("/v1/connect", json={"run": "silent"}).json()["token"]
    assert client.post("/v1/intake/control/silent", content=batch("silent"), headers=bearer(token)).status_code == 204
    assert client.get("/v1/runs/silent").json()["liveness"] == "unknown"


READABLE = ["/", "/v1/runs", "/v1/runs/r-1", "/v1/runs/r-1/tasks", "/v1/runs/r-1/tasks/0", "/metrics"]


@pytest.mark.parametrize("path", READABLE)
def test_reading_takes_the_read_token(serving: Serving, recorder: Recorder, path: str) -> None:
    recorder.write("r-1", task(0, now()))
    client = serving(**LOCKED)
    for headers in ({}, bearer(JOIN), bearer(READ[:-1]), {"authorization": "Basic !"}, {"authorization": "Bearer"}):
        assert client.get(path, headers=headers).status_code == 401
    basic = base64.b64encode(f"anyone:{READ}".encode()).decode()
    for headers in (bearer(READ), {"authorization": f"Basic {basic}"}):
        assert client.get(path, headers=headers).status_code == 200


def test_metrics_can_be_opened_alone(serving: Serving) -> None:
    client = serving(metrics_open=True, **LOCKED)
    assert client.get("/metrics").status_code == 200
    assert client.get("/v1/runs").status_code == 401


def test_texts_of_runs_cannot_become_markup(serving: Serving, recorder: Recorder) -> None:
    recorder.write(NASTY, [*started(now(), name=NASTY), *task(0, now(), app=NASTY)])
    client = serving()
    text = client.get("/").text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert f'href="/v1/runs/{quote(NASTY, safe="")}"' in text


def test_the_docs_list_every_request_and_load_nothing_from_elsewhere(serving: Serving) -> None:
    client = serving()
    schema = client.get("/openapi.json").json()
    text = client.get("/docs").text
    assert len(schema["paths"]) > 15
    for path in schema["paths"]:
        assert path in text
    for page in (text, client.get("/").text):
        assert "<script" not in page
        assert not re.search(r"""(?:src|href)=["'](?!/)""", page)
    assert client.get("/style.css").headers["content-type"].startswith("text/css")


def test_unknown_runs_and_tasks_are_404(serving: Serving, recorder: Recorder) -> None:
    recorder.write("r-1", task(0, now()))
    client = serving()
    for path in ("/v1/runs/none", "/v1/runs/none/tasks", "/v1/runs/r-1/tasks/99"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["what_to_do"]


def test_without_a_database_the_api_says_so(serving: Serving) -> None:
    client = serving(database_url="sqlite:////nonexistent/folder/x.db")
    answer = client.get("/v1/runs")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "nonexistent" not in answer.text
    assert client.get("/").status_code == 200
    metrics = client.get("/metrics")
    assert metrics.status_code == 200
    assert "heliograph_store_up 0.0" in metrics.text


LISTS = ["runs", "tasks", "tries", "failures", "samples", "nodes", "node-samples", "blocks", "files"]
PATHS = {
    "runs": "/v1/runs",
    "samples": "/v1/runs/r-1/tasks/0/samples",
    "node-samples": "/v1/runs/r-1/node-samples?host=n1",
}
INTS = st.integers(min_value=-(2**70), max_value=2**70) | st.integers(min_value=-(2**63), max_value=2**63 - 1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A hub over a database with something in every list, on both databases: they refuse different values."""
    folder = tmp_path_factory.mktemp("filled")
    url = f"sqlite:///{folder}/h.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create()
    migrate(url)
    config = HubConfig(bus_url=f"spool:{folder}/spool", database_url=url)
    made = Recorder(config)
    made.write("r-1", [*started(now()), *surroundings(now()), *task(0, now()), *task(1, now(), final="failed")])
    made.close()
    with TestClient(create_app(config), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def test_every_list_has_something_to_page(filled: TestClient) -> None:
    for name in LISTS:
        path, _, fixed = PATHS.get(name, f"/v1/runs/r-1/{name}").partition("?")
        assert everything(filled, path, limit=1, **dict(httpx.QueryParams(fixed))), name
    assert "heliograph_store_up 1.0" in filled.get("/metrics").text
    assert filled.get("/v1/runs/r-1").json()["failures"]


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(name=st.sampled_from(LISTS), of=st.sampled_from(LISTS), key=st.lists(INTS | st.text(max_size=20), max_size=5))
def test_forged_cursors_are_400_or_a_page(filled: TestClient, name: str, of: str, key: list[int | str]) -> None:
    try:
        cursor = encode_cursor(of, tuple(key))
    except (OverflowError, UnicodeEncodeError):
        return  # cannot be written as MessagePack at all
    check(filled, name, {"after": cursor})


@FUZZ
@given(name=st.sampled_from(LISTS), after=st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True))
def test_garbage_cursors_are_400(filled: TestClient, name: str, after: str) -> None:
    check(filled, name, {"after": after})


@FUZZ
@given(
    name=st.sampled_from(LISTS),
    params=st.dictionaries(
        st.sampled_from(["search", "liveness", "limit", "app", "state", "executor", "host", "exc_type", "watch"]),
        st.text(max_size=400) | INTS.map(str) | st.sampled_from(["lost", "failed", "%", "'; DROP TABLE runs", "\0"]),
    ),
)
def test_any_parameter_is_answered(filled: TestClient, name: str, params: dict[str, str]) -> None:
    check(filled, name, params)


@FUZZ
@given(run=st.text(min_size=1, max_size=400), number=INTS.map(str) | st.text(min_size=1, max_size=20))
def test_any_path_is_answered(filled: TestClient, run: str, number: str) -> None:
    safe = quote(run.encode("utf-8", "replace"), safe="")
    last = quote(number.encode("utf-8", "replace"), safe="")
    for path in (f"/v1/runs/{safe}", f"/v1/runs/r-1/tasks/{last}", f"/v1/runs/{safe}/tasks/{last}/tries"):
        assert filled.get(path).status_code in {200, 307, 400, 404, 405}


def check(client: TestClient, name: str, params: dict[str, str]) -> None:
    """Never a mistake of the hub: a page, or an error in the one shape."""
    path, _, fixed = PATHS.get(name, f"/v1/runs/r-1/{name}").partition("?")
    query = httpx.QueryParams(fixed).merge({k: v.encode("utf-8", "replace").decode() for k, v in params.items()})
    answer = client.get(path, params=query)
    assert answer.status_code in {200, 400}, answer.text
    assert ("items" in answer.json()) if answer.status_code == 200 else answer.json()["error"]["what"]
