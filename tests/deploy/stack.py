"""A deployment by compose.yaml for a test: a project of its own on free ports, from a clean copy of the checkout.

In: a folder, profiles, settings as they would stand in `.env`. Out: `Stack`, which starts, hurts, asks and removes it.
Uses the Docker engine that it finds, and the images by the names in compose.yaml.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PORTS = ("HUB_PORT", "AMQP_PORT", "DASHBOARD_PORTS", "RABBITMQ_MANAGEMENT_PORT", "PROMETHEUS_PORT")
QUERY = """
import json, sys
from sqlalchemy import text
from heliograph_server.settings import load
from heliograph_store.store import connect
with connect(load().database, read_only=True).connection() as connection:
    answers = [[list(row) for row in connection.execute(text(sql))] for sql in sys.argv[1:]]
    print(json.dumps(answers, default=int))  # PostgreSQL's sums are decimals
"""
READS = {"dashboard-password": "dashboard", "dashboard-token": "dashboard"}
"""Which service has a secret that the hub has not."""
KILL_ALL = "import os; os.kill(-1, 9)"


class Stack:
    """One project. `settings` are the lines of its `.env`."""

    def __init__(self, folder: Path, *, profiles: Sequence[str] = (), **settings: str) -> None:
        self.checkout = clean_copy(folder / "checkout")
        self.project = f"heliograph-test-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        self.settings = {**ports, "COMPOSE_PROFILES": ",".join(profiles), **settings}
        self._write_settings()

    def change(self, **settings: str) -> None:
        self.settings.update(settings)
        self._write_settings()

    def _write_settings(self) -> None:
        lines = [f"{name}={value}\n" for name, value in self.settings.items()]
        (self.checkout / ".env").write_text("".join(lines), encoding="utf-8")

    def compose(self, *words: str, check: bool = True, given: str | None = None) -> str:
        """One `docker compose` command; its standard output."""
        ran = self.attempt(*words, given=given)
        if check and ran.returncode != 0:
            raise AssertionError(f"docker compose {' '.join(words)}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
        return ran.stdout

    def attempt(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", "--ansi=never", "--progress=plain", "-p", self.project, *words],
            cwd=self.checkout,
            env=self.environment(),
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def environment(self) -> dict[str, str]:
        """What a shell has in which nothing of ours is set: it would outrank `.env`."""
        return {k: v for k, v in os.environ.items() if k not in self.settings and k[:11] != "HELIOGRAPH_"}

    def up(self, *words: str) -> None:
        try:
            self.compose("up", "-d", "--wait", "--wait-timeout", "400", *words)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.compose('logs', '--tail=40', check=False)}") from None

    def down(self) -> None:
        """Stop and remove the containers; the volumes stay."""
        self.compose("down", "--timeout", "30")

    def remove(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "1", check=False)

    def run_in(self, service: str, *words: str, index: int = 1) -> str:
        return self.compose("exec", "-T", "--index", str(index), service, *words)

    def python_in(self, service: str, code: str, *words: str, index: int = 1) -> str:
        return self.run_in(service, "python", "-c", code, *words, index=index)

    def crash(self, service: str, *, index: int = 1) -> None:
        """Kill what runs in a container, as a crash would: the restart policy has to bring it back."""
        before = self.started(service, index=index)
        shell = ["bash", "-c", "kill -9 -1"] if service in {"rabbitmq", "postgres"} else ["python", "-c", KILL_ALL]
        self.attempt("exec", "-T", "--index", str(index), service, *shell)  # the command dies with the container
        wait_for(lambda: self.started(service, index=index) != before, 120, lambda: f"{service} did not start again")

    def healthy(self, service: str, *, index: int = 1) -> bool:
        state = self.inspect(service, index=index)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    def started(self, service: str, *, index: int = 1) -> str:
        return str(self.inspect(service, index=index)["State"]["StartedAt"])

    def inspect(self, service: str, *, index: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = docker_json("inspect", f"{self.project}-{service}-{index}")[0]
        return found

    def containers(self) -> list[dict[str, Any]]:
        names = self.compose("ps", "-a", "-q").split()
        found: list[dict[str, Any]] = docker_json("inspect", *names) if names else []
        return found

    def rows(self, sql: str) -> list[list[Any]]:
        return self.ask(sql)[0]

    def ask(self, *sql: str) -> list[list[list[Any]]]:
        """Rows of the deployment's database, whichever it is, as a role of it sees them: a list for each question."""
        found: list[list[list[Any]]] = json.loads(self.python_in("hub", QUERY, *sql))
        return found

    def secret(self, name: str) -> str:
        return self.run_in(READS.get(name, "hub"), "cat", f"/secrets/{name}").strip()

    def get(self, port: str, path: str, *, token: str | None = None, user: str = "reader") -> tuple[int, str]:
        """GET from a published port; status and body. A token goes as a password, as a browser sends it."""
        connection = http.client.HTTPConnection("127.0.0.1", int(self.settings[port]), timeout=20)
        basic = base64.b64encode(f"{user}:{token}".encode()).decode()
        connection.request("GET", path, headers={"authorization": f"Basic {basic}"} if token else {})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def prometheus(self, path: str) -> Any:
        status, body = self.get("PROMETHEUS_PORT", f"/api/v1/{path}")
        assert status == 200, body
        return json.loads(body)["data"]


def clean_copy(folder: Path) -> Path:
    """The files that git knows of, as they are now: nothing that lies about in a working folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout


def docker_json(*words: str) -> Any:
    return json.loads(docker(*words))


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def wait_for(condition: Callable[[], bool], patience: float, told: Callable[[], str]) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.3)
