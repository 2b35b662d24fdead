"""`parsl-visualize` of the Parsl release, and Parsl's pandas queries, on a Heliograph database."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pandas
import parsl.monitoring.queries.pandas as queries
import pytest
from sqlalchemy import create_engine

from heliograph_store.migrate import migrate
from heliograph_store.parsl_import import import_batches, old_runs
from heliograph_store.store import connect
from heliograph_store.write import Writer
from tests.store.parsl_run import recorded_by_parsl

pytestmark = pytest.mark.slow  # a real workflow on HTEX is recorded first


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_by_parsl(tmp_path_factory)


@pytest.fixture(scope="module")
def ours(old: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Heliograph database with the run in it."""
    path = tmp_path_factory.mktemp("visualize") / "heliograph.db"
    url = f"sqlite:///{path}"
    migrate(url)
    store = connect(url)
    try:
        Writer(store).write(list(import_batches(f"sqlite:///{old}")))
    finally:
        store.close()
    return path


@pytest.fixture(scope="module")
def run(old: Path) -> str:
    return old_runs(f"sqlite:///{old}")[0].run


@pytest.fixture(scope="module")
def site(ours: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running `parsl-visualize` on our database."""
    programs = Path(sys.executable).parent
    assert shutil.which("dot"), "its graph pages draw with Graphviz; on Debian: apt-get install graphviz"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    log = ours.with_name("visualize.log")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [programs / "parsl-visualize", f"sqlite:///{ours}", "--port", str(port)],
            cwd=ours.parent,
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(address):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(10)


def _answers(address: str) -> bool:
    try:
        urlopen(address, timeout=30).close()
    except HTTPError:
        return True
    except (URLError, OSError):
        return False
    return True


def page(url: str) -> str:
    """A page's text; any status but 200 raises."""
    with urlopen(url, timeout=60) as answer:
        text: str = answer.read().decode()
    for complaint in ("could not be found", "does not have any", "cannot be generated"):
        assert complaint not in text
    return text


def test_the_list_of_workflows(site: str, run: str) -> None:
    text = page(f"{site}/")
    assert f"workflow/{run}" in text
    assert "small" in text
    assert "Completed" in text


def test_a_workflow_with_its_apps_and_figures(site: str, run: str) -> None:
    text = page(f"{site}/workflow/{run}/")
    assert re.search(r"Number of completed tasks:</b>\s+10\b", text)
    assert re.search(r"Number of failed tasks:</b>\s+1\b", text)
    assert "Task ID: 4, app: flaky" in text
    assert "Execution tries per app" in text


def test_the_tasks_of_an_app_and_all_tasks(site: str, run: str) -> None:
    assert f"/workflow/{run}/task/1" in page(f"{site}/workflow/{run}/app/busy")
    text = page(f"{site}/workflow/{run}/task/")
    for app in ("double", "busy", "memo", "flaky", "boom", "add", "several", "shell"):
        assert f"<td>{app}</td>" in text


def test_a_task_with_its_states_and_memory(site: str, run: str) -> None:
    text = page(f"{site}/workflow/{run}/task/4")
    states = re.findall(r"<td>(pending|launched|running|running_ended|fail_retryable|exec_done)</td>", text)
    assert states.count("pending") == 2
    assert "exec_done" in states
    assert "Memory Usage" in page(f"{site}/workflow/{run}/task/1")
    depends = page(f"{site}/workflow/{run}/task/6")
    assert f'href="/workflow/{run}/task/0"' in depends
    assert f'href="/workflow/{run}/task/1"' in depends


@pytest.mark.parametrize(("path", "groups"), [("dag_group_by_apps", "several"), ("dag_group_by_states", "memo_done")])
def test_the_graph_of_tasks(site: str, run: str, path: str, groups: str) -> None:
    text = page(f"{site}/workflow/{run}/{path}")
    assert '"add:6"' in text
    assert f'"name":"{groups}"' in text


def test_the_use_of_resources(site: str, run: str) -> None:
    text = page(f"{site}/workflow/{run}/resource_usage")
    for title in (
        "CPU Time Distribution(max)",
        "Memory Distribution(avg)",
        "CPU usage",
        "Memory usage",
        "Worker efficiency",
    ):
        assert title in text


@pytest.mark.parametrize(
    "query",
    [
        queries.app_counts_for_workflow,
        queries.resources_for_workflow,
        queries.status_for_workflow,
        queries.completion_times_for_workflow,
        queries.tasks_for_workflow,
        queries.tries_for_workflow,
    ],
)
def test_parsls_pandas_queries_give_the_frames_they_give_on_parsls_own(
    query: object, old: Path, ours: Path, run: str
) -> None:
    frames = [query(run, create_engine(f"sqlite:///{path}")) for path in (ours, old)]  # type: ignore[operator]
    found, expected = (frame.sort_values(list(frame.columns), ignore_index=True) for frame in frames)
    assert len(expected) > 0
    pandas.testing.assert_frame_equal(found, expected, check_exact=False, rtol=0, atol=1e-6)


def test_nodes_and_one_tasks_resources_with_pandas(ours: Path, run: str) -> None:
    engine = create_engine(f"sqlite:///{ours}")
    (node,) = queries.nodes_for_workflow(run, engine).to_dict("records")
    assert node["worker_count"] == 2
    samples = queries.resources_for_task(run, 1, engine)
    assert len(samples) >= 2
    assert samples["psutil_process_memory_resident"].max() > 20_000_000
    assert queries.resources_for_task(run, 5, engine).empty
