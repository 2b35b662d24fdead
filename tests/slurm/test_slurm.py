"""From nothing to a monitored Parsl run on Slurm, as docs/howto/slurm.md says it, on a head and three nodes."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.stack import wait_for
from tests.slurm.cluster import NODES, ROOT, Cluster, build

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(900)]
PAGE = (ROOT / "docs" / "howto" / "slurm.md").read_text(encoding="utf-8")
TASKS = 18
ASK = """
import json, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=20)
key, run = connection.execute("SELECT id, run FROM runs ORDER BY started DESC LIMIT 1").fetchone()
print(json.dumps([connection.execute(sql, {"key": key, "run": run}).fetchall() for sql in sys.argv[2:]]))
"""
QUESTIONS = {
    "states": "SELECT task_status_name, COUNT(*) FROM status WHERE run_id = :run GROUP BY 1",
    "tries": "SELECT h.name, COUNT(*) FROM tries t LEFT JOIN hosts h ON h.id = t.host WHERE t.run = :key GROUP BY 1",
    "sampled": "SELECT DISTINCT h.name FROM samples s JOIN hosts h ON h.id = s.host WHERE s.run = :key",
    "resources": "SELECT COUNT(DISTINCT task_id) FROM resource WHERE run_id = :run",
    "nodes": "SELECT DISTINCT h.name FROM nodes n JOIN hosts h ON h.id = n.host WHERE n.run = :key",
    "watched": "SELECT DISTINCT h.name FROM node_samples s JOIN hosts h ON h.id = s.host WHERE s.run = :key",
    "blocks": "SELECT DISTINCT job_id FROM block WHERE run_id = :run",
    "agents": (
        "SELECT h.name, a.ended, a.dropped_samples + a.dropped_states FROM agents a JOIN hosts h ON h.id = a.host "
        "WHERE a.run = :key"
    ),
    "over": "SELECT COUNT(*) FROM runs WHERE id = :key AND ended IS NOT NULL",
}


class Run:
    """A run of the page's program, and what the database says of it."""

    def __init__(
        self, cluster: Cluster, folder: str, *, hub: str = "", database: str = "runinfo/monitoring.db"
    ) -> None:
        self.cluster, self.folder = cluster, folder
        self.database = database if database.startswith("/") else f"{folder}/{database}"
        program = block("python")
        if hub:
            program = program.replace("MonitoringHub(", f'MonitoringHub(hub_address="{hub}", ')
        cluster.write(f"{folder}/pi.py", program)

    def go(self, environment: str = "") -> None:
        said = self.cluster.run(f". ~/heliograph/bin/activate; cd {self.folder}; {environment}\n{block('sh', 1)}")
        assert re.search(r"pi is about 3\.\d+", said), said

    def found(self) -> dict[str, Any]:
        words = " ".join(f'"{sql}"' for sql in QUESTIONS.values())
        ran = self.cluster.attempt(f"python - {self.database} {words}", given=ASK)
        return (
            dict(zip(QUESTIONS, json.loads(ran.stdout), strict=True)) if ran.returncode == 0 else {"none": ran.stderr}
        )

    def arrived(self, *, on: tuple[str, ...] = NODES) -> dict[str, Any]:
        """Wait for everything that these nodes have to tell."""
        wait_for(lambda: complete(self.found(), on), 240, lambda: json.dumps(self.found(), indent=1) + self.logs())
        return self.found()

    def logs(self) -> str:
        tail = "tail -n 15 /tmp/heliograph-1000/*/agent.log"
        said = [f"{name}: {self.cluster.attempt(tail, on=name).stdout}" for name in ("head", *NODES)]
        return "\n".join([*said, self.cluster.attempt(f"tail -n 20 {self.folder}/runinfo/*/heliograph.log").stdout])


def complete(found: dict[str, Any], on: tuple[str, ...]) -> bool:
    if "none" in found or found["over"] != [[1]]:
        return False
    states, tries = dict(found["states"]), dict(found["tries"])
    placed = sum(count for name, count in tries.items() if name in on)
    told = {name: {row[0] for row in found[name]} for name in ("nodes", "watched")}
    ended = {name for name, is_over, _ in found["agents"] if is_over}
    return bool(
        states.get("exec_done") == states.get("launched") == states.get("pending") == TASKS
        and found["resources"] == [[placed]]
        and (placed == TASKS or on != NODES)
        and all(set(on) <= names for names in told.values())
        # Not of each node: an agent steps back behind tasks, and gets few turns where all nodes share two processors.
        and found["sampled"]
        and {"head", *on} <= ended
    )


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[number]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
    made = Cluster()
    try:
        made.start()
        made.run("chown ada: /home/ada", user="root")
        # The environment of the page is in the image, as a group would install it for everybody.
        made.run("mkdir heliograph && ln -s /opt/heliograph/bin heliograph/bin")
        yield made
    finally:
        made.remove()


def check(found: dict[str, Any], cluster: Cluster) -> None:
    assert all(dropped == 0 for _, _, dropped in found["agents"])
    (job,) = [row[0] for row in found["blocks"] if row[0]]
    assert cluster.run(f"scontrol show job {job} --oneliner").startswith(f"JobId={job} JobName=parsl")
    wait_for(lambda: not left(cluster), 180, lambda: f"still there: {left(cluster)}")


def left(cluster: Cluster) -> list[str]:
    """Agents and journals that are left on the machines."""
    look = "pgrep -af '[h]eliograph.agent'; find /tmp/heliograph-1000/*/journals -type f 2>/dev/null; true"
    return [line for name in ("head", *NODES) for line in cluster.run(look, on=name).splitlines()]


def test_a_run_with_nothing_set_up(cluster: Cluster) -> None:
    run = Run(cluster, "/home/ada/plain")
    run.go()
    check(run.arrived(), cluster)


def server(cluster: Cluster, commands: str) -> None:
    """A server on the head, in the background, until `stop`."""
    cluster.run(f". ~/heliograph/bin/activate; cd; (setsid bash -c '{commands}' > server.log 2>&1 &)")
    said = lambda: cluster.run("cat server.log")  # noqa: E731
    wait_for(lambda: "the hub listens" in said() and "look at" in said(), 60, said)


def stop(cluster: Cluster) -> None:
    cluster.run("pkill -TERM -f '[h]eliograph up'; while pgrep -f '[h]eliograph up'; do sleep 0.2; done; true")


def test_a_server_for_all_runs(cluster: Cluster) -> None:
    """Over TLS; the nodes know the hub's certificate and their token from the run's folder."""
    server(cluster, block("sh", 3))
    try:
        hub = re.findall(r'hub_address="(.*?)"', PAGE)[0]
        run = Run(cluster, "/home/ada/served", hub=hub, database="/home/ada/heliograph-data/heliograph.db")
        run.go(block("sh", 4))
        check(run.arrived(), cluster)
        for node in NODES:
            assert f"Publishing to {hub}" in cluster.run("cat /tmp/heliograph-1000/*/agent.log", on=node)
        assert not cluster.attempt("ls served/runinfo/000/.heliograph/spool").stdout
    finally:
        stop(cluster)


def test_nodes_without_a_route_to_the_head_node(cluster: Cluster) -> None:
    """The hub is on the head's loopback: nodes are refused there, and the head's agent ships their records on."""
    server(cluster, "heliograph up --data ~/local-data")
    try:
        run = Run(cluster, "/home/ada/walled", hub="127.0.0.1", database="/home/ada/local-data/heliograph.db")
        run.go()
        check(run.arrived(), cluster)
        for node in NODES:
            assert "No way to the bus" in cluster.run("cat /tmp/heliograph-1000/*/agent.log", on=node)
    finally:
        stop(cluster)


def test_an_administrator_forbids_agents_on_a_node(cluster: Cluster) -> None:
    """Its tasks run as ever; nothing of ours runs there, and what was recorded is shipped once it is allowed again."""
    cluster.run("rm -rf /tmp/heliograph-1000", on="node1")
    cluster.write("/etc/heliograph/agent.json", '{"off": true}', on="node1", user="root")
    run = Run(cluster, "/home/ada/forbidden")
    run.go()
    found = run.arrived(on=NODES[1:])
    assert "node1" not in {row[0] for row in found["agents"] + found["watched"]}
    assert "heliograph.agent" not in cluster.run("ps -ef", on="node1")
    assert cluster.run("find /tmp/heliograph-1000/*/journals -name '*.seg'", on="node1")
    cluster.run("rm /etc/heliograph/agent.json", on="node1", user="root")
