"""A namespace of a real cluster for a test: releases in it, volumes for them, and a way in from this machine.

In: the cluster that kubectl reaches, our image in it. Out: `Namespace`, `Release` and `Forward`, which leave nothing.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart import CHART, tool
from tests.deploy.stack import QUERY, free_ports, wait_for

IMAGE = os.environ.get("HELIOGRAPH_TEST_IMAGE", "heliograph:kubernetes-test")
WRITTEN = {"postgresql": 999, "rabbitmq": 999, "filewatch": 10001}
"""What has a volume, and as which uid it writes."""


def ran(
    name: str, *words: str | Path, given: str | None = None, patience: float = 900
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool(name), *map(str, words)],
        input=given,
        stdin=None if given is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience,
    )


def kubectl(*words: str | Path, given: str | None = None) -> str:
    done = ran("kubectl", *words, given=given)
    assert done.returncode == 0, f"kubectl {' '.join(map(str, words))}: {done.stderr}"
    return done.stdout


class Namespace:
    """A namespace of its own, with a volume for each thing that wants one where the cluster makes none by itself."""

    def __init__(self) -> None:
        self.name = f"heliograph-test-{uuid.uuid4().hex[:8]}"
        self.path = f"/var/tmp/{self.name}"  # on the node
        self.storage_class = ""
        kubectl("create", "namespace", self.name)

    def apply(self, *objects: dict[str, Any]) -> None:
        kubectl("apply", "-n", self.name, "-f", "-", given=yaml.safe_dump_all(objects))

    def make_volumes(self, release: str) -> None:
        classes = json.loads(kubectl("get", "storageclasses", "-o", "json"))["items"]
        default = "storageclass.kubernetes.io/is-default-class"
        if any(each["metadata"].get("annotations", {}).get(default) == "true" for each in classes):
            return
        self.storage_class = self.name
        self.on_node(f"cd {self.path} && for d in {' '.join(f'{w}:{u}' for w, u in WRITTEN.items())}; "
                     "do mkdir -m 700 ${d%:*} && chown ${d#*:}:${d#*:} ${d%:*}; done")  # fmt: skip
        for what in WRITTEN:
            claim = {"namespace": self.name, "name": f"data-{release}-{what}-0"}
            spec = {"capacity": {"storage": "50Gi"}, "accessModes": ["ReadWriteOnce"], "claimRef": claim}
            spec |= {"storageClassName": self.storage_class, "hostPath": {"path": f"{self.path}/{what}"}}
            metadata = {"name": f"{self.name}-{what}"}
            self.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec})

    def on_node(self, command: str) -> None:
        """Run a command as root in the folder of the volumes."""
        name = f"node-{uuid.uuid4().hex[:6]}"
        container = {"name": "c", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-ec", command]}
        container["securityContext"] = {"runAsUser": 0}
        container["volumeMounts"] = [{"name": "node", "mountPath": self.path}]
        volume = {"name": "node", "hostPath": {"path": self.path, "type": "DirectoryOrCreate"}}
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})

        def phase() -> str:
            return str(self.get("pod", name)["status"]["phase"])

        wait_for(lambda: phase() in {"Succeeded", "Failed"}, 120, lambda: f"{command}: {phase()}")
        assert phase() == "Succeeded", kubectl("logs", "-n", self.name, name)

    def get(self, kind: str, *name: str) -> Any:
        return json.loads(kubectl("get", kind, *name, "-n", self.name, "-o", "json"))

    def pods(self) -> dict[str, Any]:
        """Pods that are meant to go on, by name."""
        found = self.get("pods")["items"]
        return {p["metadata"]["name"]: p for p in found if p["spec"]["restartPolicy"] == "Always"}

    def remove(self) -> None:
        # Failed ones, too: Helm 3 leaves them out unless it is told, Helm 4 knows no such option.
        every = [] if ran("helm", "version", "--short").stdout.startswith("v4") else ["--all"]
        for release in json.loads(ran("helm", "list", "-n", self.name, *every, "-o", "json").stdout):
            ran("helm", "uninstall", release["name"], "-n", self.name, "--no-hooks", "--wait", "--timeout", "2m")
        if self.storage_class:
            kubectl("delete", "pods", "--all", "-n", self.name, "--timeout=240s")  # a claim stays as long as its pod
            kubectl("delete", "pvc", "--all", "-n", self.name, "--timeout=120s")
            self.on_node(f"rm -rf {self.path}/*")
        kubectl("delete", "namespace", self.name, "--timeout=240s")
        if self.storage_class:
            kubectl("delete", "pv", *(f"{self.name}-{what}" for what in WRITTEN))


class Release:
    """An installation of the chart. `tests.deploy.host` asks it for folder, settings, secret and rows."""

    def __init__(self, space: Namespace, name: str, folder: Path, *settings: str | Path) -> None:
        self.space, self.name, self.folder = space, name, folder
        repository, _, tag = IMAGE.rpartition(":")
        self._given = [*settings, "--set", f"image.repository={repository}", "--set", f"image.tag={tag}"]
        self.settings: dict[str, str] = {}

    def install(self) -> subprocess.CompletedProcess[str]:
        # The old way, which servers of any age take.
        old = ["--server-side=false"] if ran("helm", "version", "--short").stdout.startswith("v4") else []
        return self.helm("install", self.name, CHART, *self._given, "--wait", "--timeout", "8m", *old)

    def upgrade(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.helm("upgrade", self.name, CHART, *self._given, *more, "--wait", "--timeout", "8m")

    def helm(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return ran("helm", *words, "-n", self.space.name)

    def must(self, done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr}\n{self.told()}"
        return done.stdout

    def told(self) -> str:
        """What is going on, for a failure's report."""
        events = kubectl("get", "events", "-n", self.space.name, "--sort-by=.lastTimestamp")
        logs = ran(
            "kubectl",
            "logs",
            "-n",
            self.space.name,
            "-l",
            f"app.kubernetes.io/instance={self.name}",
            "--tail=5",
            "--prefix",
        )
        return kubectl("get", "pods", "-n", self.space.name) + events[-3000:] + logs.stdout[-3000:]

    def ready(self) -> bool:
        """Whether every pod of the release is, and as many are there as should be."""
        wanted = 0
        for kind in ("deployments", "statefulsets"):
            wanted += sum(each["spec"]["replicas"] for each in self.space.get(kind)["items"] if self._ours(each))
        pods = [each for each in self.space.pods().values() if self._ours(each)]
        conditions = [{c["type"]: c["status"] for c in p["status"].get("conditions", [])} for p in pods]
        gone = any("deletionTimestamp" in pod["metadata"] for pod in pods)
        return not gone and len(pods) == wanted and all(c.get("Ready") == "True" for c in conditions)

    def _ours(self, each: dict[str, Any]) -> bool:
        return bool(each["metadata"].get("labels", {}).get("app.kubernetes.io/instance") == self.name)

    def secret(self, name: str) -> str:
        data = self.space.get("secret", f"{self.name}-auth")["data"]
        return base64.b64decode(data[name]).decode()

    def secrets(self) -> dict[str, Any]:
        return {s["metadata"]["name"]: s["data"] for s in self.space.get("secrets")["items"] if s["type"] == "Opaque"}

    def run_in(self, pod: str, *words: str) -> str:
        return kubectl("exec", "-n", self.space.name, pod, "--", *words)

    def ask(self, *sql: str) -> list[list[list[Any]]]:
        """Rows of the database as a role sees them; pods that come and go meanwhile are waited for."""
        answers: list[str] = []

        def answered() -> bool:
            words = ("exec", "-n", self.space.name, f"deploy/{self.name}-hub", "--", "python", "-c", QUERY, *sql)
            done = ran("kubectl", *words)
            answers.append(done.stdout if done.returncode == 0 else "")
            return done.returncode == 0

        wait_for(answered, 120, self.told)
        found: list[list[list[Any]]] = json.loads(answers[-1])
        return found


class Forward:
    """A port of this machine that leads to a Service, and is led there again when its pod goes."""

    def __init__(self, space: Namespace, service: str, port: int) -> None:
        (self.port,) = free_ports(1)
        self._command = [tool("kubectl"), "port-forward", "-n", space.name, f"service/{service}", f"{self.port}:{port}"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()
        wait_for(lambda: self.answers() is not None, 60, lambda: f"nothing answers behind {' '.join(self._command)}")

    def _keep(self) -> None:
        while not self._stop.is_set():
            process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            lost = 0
            while not self._stop.wait(1) and process.poll() is None and lost < 5:
                lost = 0 if self.answers() is not None else lost + 1
            process.kill()
            process.wait()

    def answers(self) -> int | None:
        try:
            return self.get("/healthz")[0]
        except (OSError, http.client.HTTPException):
            return None

    def get(self, path: str, *, token: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        basic = base64.b64encode(f"reader:{token}".encode()).decode()
        try:
            connection.request("GET", path, headers={"authorization": f"Basic {basic}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


def settle(release: Release, patience: float = 300) -> None:
    time.sleep(1)  # what was just deleted still counts as ready for a moment
    wait_for(release.ready, patience, release.told)
