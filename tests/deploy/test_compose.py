"""The deployment as most people start it: `docker compose up -d --wait`, SQLite on a volume, a workflow on the host."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from heliograph_server.init_secrets import SERVICES
from tests.deploy.browser import look
from tests.deploy.dashboards import MAY_BE_EMPTY, NAMES, asked, metrics_of
from tests.deploy.host import Workflow, arrived
from tests.deploy.stack import Stack, wait_for

pytestmark = pytest.mark.compose
OF_TLS = {"ca.pem", "certificate.pem", "key.pem", "tls-fingerprint"}
METRICS = {
    "hub": ("55055", "read-token"),
    "dashboard": ("8080", "dashboard-token"),
    "writer": ("55056", None),
    "filewatch": ("55056", None),
}
"""Port and token of each role's /metrics."""


@pytest.fixture(scope="module")
def stack(stacks: Callable[..., Stack]) -> Stack:
    made = stacks("observability")
    made.up()
    return made


@pytest.fixture(scope="module")
def running(stack: Stack) -> Iterator[Workflow]:
    """A workflow on the host that is at work."""
    made = Workflow(stack, "workflow")
    try:
        made.at_work(120)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def workflow(running: Workflow) -> Workflow:
    """The same, which ran to its end."""
    running.finish()
    return running


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_every_expression_of_a_dashboard_has_an_answer_while_a_workflow_runs(
    stack: Stack, running: Workflow, name: str
) -> None:
    """Comes first, while the workflow runs: what is told of a single run is told while it is alive."""
    questions = [question for question in asked(name) if question.query not in MAY_BE_EMPTY]
    assert len(questions) > 30

    def silent() -> list[str]:
        return [f"{question.where}: {question.query}" for question in questions if not question.result(stack)]

    # A run is told of from its second minute on, a try half a minute after its end, and a rate takes two scrapes.
    wait_for(lambda: not silent(), 300, lambda: "no data:\n" + "\n".join(silent()))
    for question in asked(name):
        question.result(stack)  # also what may be empty is understood
    used = {metric for question in asked(name) for metric in metrics_of(question.query)}
    scraped = set(stack.prometheus("label/__name__/values"))
    assert not {metric for metric in used if metric.startswith("rabbitmq_")} - scraped
    assert not running.ended(), running.output()


def test_a_workflow_on_the_host_is_recorded_whole_and_once(stack: Stack, workflow: Workflow) -> None:
    arrived(stack, workflow)
    assert stack.rows(f"SELECT COUNT(*) FROM resource WHERE run_id = '{workflow.run}'")[0][0] > 0


def test_the_workflow_was_given_a_credential_that_may_only_publish(stack: Stack, workflow: Workflow) -> None:
    route = workflow.route()
    bus = urlsplit(route["bus"])
    assert (bus.username, bus.hostname, str(bus.port)) == ("agent", "127.0.0.1", stack.settings["AMQP_PORT"])
    (rights,) = (
        line.split("\t")[1:]
        for line in stack.run_in(
            "rabbitmq", "rabbitmqctl", "-q", "--no-table-headers", "list_user_permissions", "agent"
        ).splitlines()
    )
    assert rights == ["^$", r"^heliograph\.v1$", "^$"]


def test_the_hub_answers_and_only_with_its_token(stack: Stack, workflow: Workflow) -> None:
    assert stack.get("HUB_PORT", "/healthz")[0] == 200
    assert stack.get("HUB_PORT", "/v1/runs")[0] == 401
    status, body = stack.get("HUB_PORT", "/v1/runs", token=stack.secret("read-token"))
    assert status == 200
    assert workflow.run in body


def test_the_dashboard_answers_and_only_to_those_who_may_look(stack: Stack, workflow: Workflow) -> None:
    assert stack.get("DASHBOARD_PORTS", "/healthz")[0] == 200
    status, body = stack.get("DASHBOARD_PORTS", f"/runs/{workflow.run}")
    assert status in {302, 303, 307, 401}, body[:300]
    status, body = stack.get("DASHBOARD_PORTS", f"/runs/{workflow.run}", token=stack.secret("dashboard-password"))
    assert status == 200
    assert "Heliograph" in body


@pytest.mark.slow
def test_a_browser_shows_the_run(stack: Stack, workflow: Workflow) -> None:
    arrived(stack, workflow)
    assert look(stack, workflow)["Tasks"] == len(workflow.ledger())


def test_every_log_line_is_an_object_and_names_the_run_that_it_is_about(stack: Stack, workflow: Workflow) -> None:
    lines = [
        json.loads(line) for role in METRICS for line in stack.compose("logs", "--no-log-prefix", role).splitlines()
    ]
    assert {line["logger"].split(".")[1] for line in lines} >= METRICS.keys() - {"dashboard"}
    assert [line for line in lines if line.get("run") == workflow.run and line["logger"] == "heliograph.hub"]


def test_ports_are_open_on_loopback_only(stack: Stack) -> None:
    bound = {
        binding["HostIp"]
        for container in stack.containers()
        for bindings in (container["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    }
    assert bound == {"127.0.0.1"}


def test_containers_have_no_rights_that_they_do_not_need(stack: Stack) -> None:
    containers = stack.containers()
    assert len(containers) >= 8
    for container in containers:
        host, config = container["HostConfig"], container["Config"]
        name = config["Labels"]["com.docker.compose.service"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert 0 < host["Memory"] <= 1 << 30, name
        assert host["PidsLimit"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}, name
        if name == "init":
            assert host["NetworkMode"] == "none"
            assert {cap.removeprefix("CAP_") for cap in host["CapAdd"]} == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
        else:
            assert not host["CapAdd"], name
            assert config["User"].partition(":")[0] not in {"", "0", "root"}, name
        once = name in {"init", "migrate"}
        assert host["RestartPolicy"]["Name"] == ("no" if once else "unless-stopped"), name


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_sees_only_the_secrets_that_it_reads(stack: Stack, service: str) -> None:
    assert set(stack.run_in(service, "ls", "/secrets").split()) == {n for n in SERVICES[service] if n not in OF_TLS}


def test_no_secret_stands_in_an_environment_command_or_log(stack: Stack) -> None:
    folder = ("bus", "public-bus", "join-token", "read-token", "signing-secret")
    folder += ("dashboard-password", "dashboard-token")
    secrets = {urlsplit(text).password or text for text in map(stack.secret, folder)}
    assert len(secrets) == len(folder)
    logs = stack.compose("logs")
    for container in stack.containers():
        shown = f"{container['Config']['Env']} {container['Config']['Cmd']} {container['Args']}"
        assert not [secret for secret in secrets if secret in shown]
    assert not [secret for secret in secrets if secret in logs]


def test_prometheus_scrapes_every_service_and_every_metric_of_the_rules_exists(stack: Stack) -> None:
    def health() -> dict[str, str]:
        targets = stack.prometheus("targets")["activeTargets"]
        return {t["labels"]["job"]: f"{t['health']} {t['lastError']}" for t in targets}

    jobs = {f"heliograph-{role}" for role in METRICS} | {"rabbitmq", "rabbitmq-queues", "prometheus"}
    wait_for(lambda: health() == dict.fromkeys(jobs, "up "), 60, lambda: f"targets: {health()}")
    rules = (stack.checkout / "helm" / "heliograph" / "files" / "rules.yml").read_text(encoding="utf-8")
    expressions = re.sub(r"(?m)^ *(#|(summary|description|- name|- alert|- record):).*$", "", rules)
    used = set(re.findall(r"\b(?:heliograph|rabbitmq)_\w+", expressions))
    assert len(used) > 10
    assert not used - stack.prometheus("metadata").keys()
    loaded = [rule for group in stack.prometheus("rules")["groups"] for rule in group["rules"]]
    assert len(loaded) == len(re.findall(r"(?m)^ +- (?:alert|record):", rules))
    assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}


@pytest.mark.parametrize("role", METRICS)
def test_metrics_are_valid(stack: Stack, workflow: Workflow, role: str) -> None:
    assert workflow.ledger()
    port, name = METRICS[role]
    token = stack.secret(name) if name else ""
    code = (
        "import sys, urllib.request as u; "
        f"r = u.Request('http://127.0.0.1:{port}/metrics', headers={{'Authorization': 'Bearer ' + sys.argv[1]}}); "
        "sys.stdout.write(u.urlopen(r).read().decode())"
    )
    text = stack.python_in(role, code, token)
    assert "heliograph_" in text
    checked = stack.attempt("exec", "-T", "prometheus", "promtool", "check", "metrics", given=text)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_down_and_up_again_keep_everything(stack: Stack, workflow: Workflow) -> None:
    arrived(stack, workflow)
    names = ("join-token", "read-token", "bus")
    before = [stack.secret(name) for name in names]
    tasks = "SELECT COUNT(*) FROM tasks"
    counted = stack.rows(tasks)
    stack.down()
    assert stack.containers() == []
    stack.up()
    assert [stack.secret(name) for name in names] == before
    assert stack.rows(tasks) == counted
    again = Workflow(stack, "again")
    try:
        again.at_work(40)
        again.finish()
        arrived(stack, again)
    finally:
        again.stop()
    arrived(stack, workflow)
