"""The chart on a real cluster: installed, tested by itself, hurt, upgraded and rolled back while a workflow goes on."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heliograph_server import certificates
from tests.deploy.chart import CHART, tool
from tests.deploy.host import Workflow, arrived
from tests.deploy.pages import block, run
from tests.kubernetes.cluster import Forward, Namespace, Release, kubectl, ran, settle

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1500)]
SERVERS = ("heliograph-rabbitmq-0", "heliograph-postgresql-0")


@contextmanager
def running(release: Release, name: str) -> Iterator[Workflow]:
    """A workflow on this machine, which reaches the hub through a port-forward."""
    workflow = Workflow(release, name)  # type: ignore[arg-type]
    try:
        workflow.at_work()
        yield workflow
    finally:
        workflow.stop()


def test_all_pods_are_ready_and_none_had_to_be_started_again(release: Release, space: Namespace) -> None:
    assert release.ready(), release.told()
    pods = space.pods()
    assert len(pods) == 8, "two hubs, two writers, dashboard, filewatch, RabbitMQ, PostgreSQL"
    again = {n: p["status"]["containerStatuses"][0]["restartCount"] for n, p in pods.items()}
    assert set(again.values()) == {0}, again


def test_no_pod_is_root_or_can_write_its_image(release: Release, space: Namespace) -> None:
    for name in space.pods():
        uid = release.run_in(name, "sh", "-c", "id -u; ! touch /usr/written 2>/dev/null").strip()
        assert uid == ("999" if name in SERVERS else "10001"), name


def test_helm_test_passes(release: Release) -> None:
    said = release.must(release.helm("test", release.name, "--logs", "--timeout", "5m"))
    assert said.count('"ready":') + said.count('"status":') >= 4, said
    assert "has this version's schema" in said
    assert "FAIL" not in said


def test_a_workflow_arrives_through_a_port_forward(release: Release) -> None:
    with running(release, "first") as workflow:
        workflow.at_work(120)
        workflow.finish()
        arrived(release, workflow)  # type: ignore[arg-type]


def test_the_dashboard_answers_and_only_to_those_who_may_look(release: Release, space: Namespace) -> None:
    forward = Forward(space, "heliograph-dashboard", 8080)
    try:
        assert forward.get("/")[0] in {302, 303, 307, 401}
        status, body = forward.get("/", token=release.secret("dashboard-password"))
        assert status == 200
        assert "Heliograph" in body
    finally:
        forward.close()


def test_pods_are_deleted_one_by_one_and_nothing_is_lost(release: Release, space: Namespace) -> None:
    with running(release, "deleted") as workflow:
        before = {name: pod["metadata"]["uid"] for name, pod in space.pods().items()}
        for name in before:
            kubectl("delete", "pod", "-n", space.name, name, "--wait=false")
            workflow.at_work()
            settle(release)
        after = {pod["metadata"]["uid"] for pod in space.pods().values()}
        assert not after & set(before.values())
        workflow.finish()
        arrived(release, workflow)  # type: ignore[arg-type]


def test_a_rolling_restart_loses_nothing(release: Release, space: Namespace) -> None:
    """By the commands of the page: every workload of the release, the built-in servers too, one after the other."""
    script = block("kubernetes.md", "kubectl rollout restart")
    tools = f"{Path(tool('kubectl')).parent}:{os.environ['PATH']}"
    with running(release, "rolled") as workflow:
        before = {pod["metadata"]["uid"] for pod in space.pods().values()}
        run(script.replace("-n heliograph", f"-n {space.name}"), release.folder, {**os.environ, "PATH": tools})
        settle(release)
        assert not before & {pod["metadata"]["uid"] for pod in space.pods().values()}
        workflow.at_work()
        workflow.finish()
        arrived(release, workflow)  # type: ignore[arg-type]


def test_the_server_took_a_policy_for_every_workload(release: Release, space: Namespace) -> None:
    """That it has an effect is up to the cluster's network; here is only shown what it is told."""
    workloads = [each for kind in ("deployments", "statefulsets") for each in space.get(kind)["items"]]
    labels = [each["spec"]["template"]["metadata"]["labels"].items() for each in workloads]
    policies = space.get("networkpolicies")["items"]
    assert len(policies) == len(workloads) == 6
    for policy in policies:
        wanted = policy["spec"]["podSelector"]["matchLabels"].items()
        assert len([each for each in labels if wanted <= each]) == 1, policy["metadata"]["name"]


def test_an_upgrade_and_a_rollback_keep_secrets_and_lose_nothing(release: Release, space: Namespace) -> None:
    def writers() -> int:
        return int(space.get("deployment", "heliograph-writer")["spec"]["replicas"])

    secrets = release.secrets()
    with running(release, "upgraded") as workflow:
        release.must(release.upgrade("--set", "writer.replicas=3", "--set", "log.level=debug"))
        assert writers() == 3
        assert release.secrets() == secrets
        jobs = [each["metadata"]["name"] for each in space.get("jobs")["items"]]
        assert jobs == [], "the first Job went with its revision, the hook's when it succeeded"
        workflow.at_work()
        release.must(release.helm("rollback", release.name, "1", "--wait", "--timeout", "8m"))
        assert writers() == 2
        assert release.secrets() == secrets
        settle(release)
        workflow.finish()
        arrived(release, workflow)  # type: ignore[arg-type]
    assert "rolled back" in release.helm("history", release.name).stdout.lower().replace("rollback to", "rolled back")


def url(release: Release, name: str, **changed: str) -> str:
    """An address out of the release's Secret, with another database or virtual host at its end."""
    text = base64.b64decode(release.space.get("secret", f"{release.name}-addresses")["data"][name]).decode()
    return text.rpartition("/")[0] + "/" + changed["path"]


def test_a_release_on_servers_that_are_there_is_migrated_before_it_starts_and_speaks_tls(
    release: Release, space: Namespace
) -> None:
    release.run_in(SERVERS[1], "createdb", "-U", "heliograph", "second")
    release.run_in(SERVERS[0], "rabbitmqctl", "-q", "add_vhost", "second")
    release.run_in(SERVERS[0], "rabbitmqctl", "-q", "set_permissions", "-p", "second", "server", ".*", ".*", ".*")
    data = {"database": url(release, "database", path="second"), "bus": url(release, "bus", path="second")}
    space.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "heliograph-urls"}, "stringData": data})
    certificates.make(release.folder / "tls", ["second-hub"])
    files = ("--cert", release.folder / "tls" / "certificate.pem", "--key", release.folder / "tls" / "key.pem")
    kubectl("create", "secret", "tls", "hub-tls", "-n", space.name, *files)
    words = ["-f", CHART / "examples" / "external.yaml", "--set", "filewatch.storage.enabled=false"]
    words += ["--set", "hub.tls.existingSecret=hub-tls"]
    words += ["--set", "fullnameOverride=second", "--set", "writer.replicas=1", "--set", "migration.tries=1"]
    second = Release(space, "second", release.folder, *words)
    second.must(second.install())
    assert second.ready()
    assert [each for each in space.get("jobs")["items"] if each["metadata"]["name"] == "second-migrate"] == []
    second.must(second.helm("test", "second", "--timeout", "5m"))
    second.must(second.upgrade("--set", "log.level=debug"))
    refuses_an_older_version(second)
    second.must(second.helm("uninstall", "second", "--wait", "--timeout", "3m"))
    assert "second-auth" in second.secrets(), "workflows hold its token"


def refuses_an_older_version(second: Release) -> None:
    """As when a newer version migrated the database: the Job of a rollback says so, and no pod is touched."""
    settle(second)  # those of the revision before have gone
    pods = {pod["metadata"]["uid"] for pod in second.space.pods().values()}
    newer = "UPDATE alembic_version SET version_num = '9999'"
    second.run_in(SERVERS[1], "psql", "-U", "heliograph", "-d", "second", "-c", newer)
    assert second.helm("rollback", "second", "1", "--wait", "--timeout", "5m").returncode != 0
    log = kubectl("logs", "-n", second.space.name, "-l", "job-name=second-migrate", "--tail=1")
    assert "the database was written by a newer Heliograph" in log
    assert {pod["metadata"]["uid"] for pod in second.space.pods().values()} == pods


def test_a_secret_that_is_missing_or_lacks_a_key_is_said_and_nothing_is_made(
    space: Namespace, release: Release
) -> None:
    words = ["-f", CHART / "examples" / "external.yaml", "--set", "fullnameOverride=third"]
    missing = Release(space, "third", release.folder, *words, "--set", "auth.existingSecret=nowhere").install()
    assert missing.returncode != 0
    assert "auth.existingSecret names the Secret nowhere, which is not in the namespace" in missing.stderr
    data = {"join-token": "x" * 32}
    space.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "half"}, "stringData": data})
    half = Release(space, "third", release.folder, *words, "--set", "auth.existingSecret=half").install()
    assert half.returncode != 0
    assert "names the Secret half, which has no key read-token" in half.stderr
    assert "third-hub" not in {each["metadata"]["name"] for each in space.get("deployments")["items"]}


def test_a_database_that_does_not_let_us_in_stops_the_installation_with_one_line(
    space: Namespace, release: Release
) -> None:
    wrong = url(release, "database", path="nowhere")
    words = ["--set", f"database.external.url={wrong}", "--set", f"broker.external.url={url(release, 'bus', path='x')}"]
    words += ["--set", "fullnameOverride=fourth", "--set", "migration.tries=1"]
    fourth = Release(space, "fourth", release.folder, *words)
    failed = fourth.install()
    assert failed.returncode != 0
    assert "pre-install" in failed.stderr
    log = ran("kubectl", "logs", "-n", space.name, "job/fourth-migrate").stdout.strip().splitlines()
    assert len(log) == 1, log
    assert "nowhere" in log[0]
    assert "fourth-hub" not in {each["metadata"]["name"] for each in space.get("deployments")["items"]}
