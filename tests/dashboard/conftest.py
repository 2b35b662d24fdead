"""A real run, recorded once; the real dashboard on a free port; a real browser that notices every fault.

`recorded` (session): the run and its database. `dashboard`: a dashboard on it. `open_dashboard`: one on any database.
`page`: a Chromium page that fails its test on console errors, uncaught exceptions, failed requests, error answers and
requests that leave the machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

WORKFLOW = Path(__file__).with_name("workflow.py")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A run that is over, in a database that nobody writes."""

    run: str
    database: Path
    folder: Path
    """Where the workflow ran: its stdout files are here."""


def heliograph(*arguments: str, log: Path, **variables: str) -> subprocess.Popen[bytes]:
    """A command of ours in the background, with none of this process's own settings."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")}
    environment |= {f"HELIOGRAPH_{name.upper()}": value for name, value in variables.items()}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "heliograph.cli", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


@contextmanager
def running(*arguments: str, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """As `heliograph`, until the end of the block."""
    process = heliograph(*arguments, log=log, **variables)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(reached: Callable[[], Any], *, seconds: float = 60, log: Path | None = None) -> Any:
    """What `reached` gives once it is true."""
    end = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < end, log.read_text() if log is not None else "it did not come"
        time.sleep(0.05)
    return found


def until(page: Any, expression: str, arg: Any = None, *, seconds: float = 30) -> None:
    """Until JavaScript says so in the page. (`wait_for_function` makes code from text, which the pages forbid.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(50)


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """One recording for all processes of this test session."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "dashboard-recording"
    with open(shared / "dashboard-recording.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            record(folder)
            (folder / "complete").touch()
    run = (folder / "run-id").read_text(encoding="utf-8")
    return Recorded(run=run, database=folder / "heliograph.db", folder=folder)


def record(folder: Path) -> None:
    """Run the workflow to its end, and leave when everything of it is in the database."""
    bus, database = f"spool:{folder / 'spool'}", folder / "heliograph.db"
    variables = {"bus": bus, "database": f"sqlite:///{database}"}
    log = folder / "writer.log"
    assert heliograph("migrate", log=log, **variables).wait(60) == 0, log.read_text()
    with running("writer", "--health-port", "0", log=log, **variables):
        with (folder / "workflow.log").open("wb") as output:
            environment = {**os.environ, "HELIOGRAPH_STATE_DIR": str(folder / "state")}
            command = [sys.executable, str(WORKFLOW), str(folder), bus]
            code = subprocess.run(
                command, env=environment, cwd=folder, check=False, timeout=120, stdout=output, stderr=output
            ).returncode
            assert code == 0, (folder / "workflow.log").read_text()[-4000:]
        wait_for(lambda: _over(database), log=log)


def _over(database: Path) -> bool:
    """The run's end is there, and every agent said that it ended, so nothing more comes."""
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=30)) as connection:
        ended = connection.execute("SELECT ended FROM runs").fetchone()
        agents = connection.execute("SELECT COUNT(*), SUM(COALESCE(ended, 0)) FROM agents").fetchone()
    return bool(ended and ended[0] and agents[0] and agents[0] == agents[1])


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """What runs beside a test, stopped after its page is closed: a page whose server goes away complains."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def open_dashboard(tmp_path: Path, servers: ExitStack) -> Callable[..., str]:
    """Start a dashboard on a database; returns its URL. Settings as keyword arguments."""

    def start(database: Path | str, *arguments: str, **variables: str) -> str:
        log = tmp_path / f"dashboard-{time.monotonic_ns()}.log"
        return servers.enter_context(viewing(database, *arguments, log=log, **variables))

    return start


@contextmanager
def viewing(database: Path | str, *arguments: str, log: Path, **variables: str) -> Iterator[str]:
    """`heliograph view` on a free port, until the end of the block; gives its URL."""
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    with running("view", url, "--port", "0", *arguments, log=log, **variables) as process:

        def address() -> str | None:
            assert process.poll() is None, log.read_text()
            for line in log.read_text().splitlines():
                if line.startswith("Look at"):
                    return line.split()[2]
            return None

        yield str(wait_for(address, log=log)).rstrip("/")


@pytest.fixture(scope="session")
def dashboard(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a dashboard on the recorded run, without a slash at its end; one for all tests."""
    log = tmp_path_factory.mktemp("dashboard") / "view.log"
    with viewing(recorded.database, log=log, dashboard_log_roots=f'["{recorded.folder}"]') as url:
        yield url


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One browser for all tests."""
    from playwright.sync_api import sync_playwright

    path = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
"""Chromium drops what is under way when an interface of the machine comes or goes, as when a container starts."""


class Faults:
    """What a page did that it should not. `allow` a text that a test provokes on purpose."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.dropped = 0
        """Requests that the machine's network took away: no fault of the page."""
        self._allowed: list[str] = []

    def allow(self, text: str) -> None:
        self._allowed.append(text)

    def add(self, fault: str) -> None:
        if NETWORK_CHANGED in fault:
            self.dropped += 1
        else:
            self.found.append(fault)

    @property
    def left(self) -> list[str]:
        return [fault for fault in self.found if not any(text in fault for text in self._allowed)]


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def page(chromium: Any, faults: Faults, servers: ExitStack) -> Iterator[Any]:
    """A page in a context of its own, 1360 x 850, light, in the zone of New York."""
    del servers  # they end after the page
    context = chromium.new_context(
        viewport={"width": 1360, "height": 850}, color_scheme="light", timezone_id="America/New_York", locale="en-US"
    )
    page = context.new_page()
    watch(page, faults)
    _load_again(page, faults)
    yield page
    context.close()
    assert not faults.left


def watch(page: Any, faults: Faults) -> None:
    """Note every fault of a page."""
    page.set_default_timeout(20_000)
    page.on("console", lambda m: faults.add(f"{m.type}: {m.text}") if m.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: faults.add(f"exception: {error}"))
    # A visit of another page ends the requests of the one before: that is no fault.
    page.on(
        "requestfailed",
        lambda r: None if "ERR_ABORTED" in (r.failure or "") else faults.add(f"failed: {r.url} {r.failure}"),
    )
    page.on("response", lambda r: faults.add(f"answer {r.status}: {r.url}") if r.status >= 400 else None)
    page.on("request", lambda r: None if _local(r.url) else faults.add(f"leaves the machine: {r.url}"))
    page.on("dialog", lambda dialog: (faults.add(f"dialog: {dialog.message}"), dialog.dismiss()))


def _load_again(page: Any, faults: Faults) -> None:
    """Have `goto` load a page once more when the machine's network took a part of it away."""
    goto = page.goto

    def patient(url: str, **options: Any) -> Any:
        for _ in range(5):
            before, kept = faults.dropped, len(faults.found)
            answer = goto(url, **options)
            if faults.dropped == before:
                break
            del faults.found[kept:]  # what a page without some of its scripts complained of
        return answer

    page.goto = patient


def _local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"data", "blob", "about"} or parts.hostname in {"127.0.0.1", "localhost"}
