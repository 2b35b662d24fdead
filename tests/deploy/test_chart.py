"""The chart, without a cluster: every example is valid, wrong values are refused in words, and pods have no rights."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.chart import CHART, EXAMPLES, Object, containers, helm, pods, refused, rendered, template

CUSTOM = {"Cluster", "RabbitmqCluster", "ServiceMonitor", "PrometheusRule"}
"""Kinds that operators bring, of which the validator has no schema."""


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_passes_the_linter(example: str) -> None:
    ran = helm("lint", "--strict", CHART, "-f", CHART / "examples" / f"{example}.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_object_of_every_example_is_valid(example: str) -> None:
    known = [each for each in rendered(example) if each["kind"] not in CUSTOM]
    assert len(known) > 10
    for each in known:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("example", "settings"),
    [
        ("external", ("hub.service.type=NodePort", "hub.service.nodePort=30055", "hub.tls.existingSecret=hub-tls")),
        ("external", ("filewatch.enabled=false", "networkPolicy.enabled=false", "migration.enabled=false")),
        ("builtin", ("broker.publicAddress=head:5672", "broker.builtin.service.type=LoadBalancer")),
        ("builtin", ("database.builtin.storage.enabled=false", "broker.builtin.storage.storageClass=fast")),
        ("builtin", ("serviceMonitor.enabled=true", "networkPolicy.brokerFrom[0].podSelector.matchLabels.a=b")),
        ("operators", ("ingress.enabled=true", "ingress.hub.host=hub.example.org")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_variations_are_valid(example: str, settings: tuple[str, ...]) -> None:
    for each in rendered(example, *settings):
        if each["kind"] not in CUSTOM:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_the_validator_would_notice() -> None:
    wrong = next(each for each in rendered("external") if each["kind"] == "Service")
    wrong = {**wrong, "spec": {**wrong["spec"], "prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError, match="prots"):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("writer.replicas=two", "/writer/replicas': got string, want integer"),
        ("writer.replica=2", "/writer': additional properties 'replica' not allowed"),
        ("databse.mode=builtin", "additional properties 'databse' not allowed"),
        ("database.mode=sqlite", "/database/mode': value must be one of 'external', 'builtin', 'cloudnativepg'"),
        ("broker.operator.replicas=2", "/broker/operator/replicas': value must be one of 1, 3, 5"),
        ("log.level=loud", "/log/level': value must be one of 'debug', 'info', 'warning', 'error'"),
        ("dashboard.prefix=monitoring", "/dashboard/prefix': 'monitoring' does not match pattern"),
        ("auth.existingSecret=My_Secret", "/auth/existingSecret': 'My_Secret' does not match pattern"),
        ("database.external.url=postgresql://x", "both url and existingSecret.name are set; keep one of them"),
        ("broker.external.url=amqp://x", "both URLs and existingSecret.name are set; keep one of them"),
        ("broker.publicAddress=head:5672", "with an external broker set broker.external.publicUrl"),
        ("ingress.enabled=true", "neither ingress.dashboard.host nor ingress.hub.host is set"),
        ("dashboard.userHeader=X-User", "dashboard.userHeader needs dashboard.trustedProxies"),
    ],
    ids=lambda value: value.partition("=")[0] if "=" in value else None,
)
def test_wrong_values_are_refused_with_what_is_wrong(setting: str, said: str) -> None:
    assert said in refused("external", setting)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "no database: set database.external.url"),
        (("database.external.url=sqlite:///secret.db",), "must begin with postgresql:// (pods cannot share a SQLite"),
        (("database.mode=builtin",), "no broker: set broker.external.url"),
        (("database.mode=builtin", "broker.external.url=http://u:secret@h"), "must begin with amqp:// or amqps://"),
    ],
    ids=["no database", "sqlite", "no broker", "no amqp"],
)
def test_a_missing_or_impossible_url_is_said_and_not_shown(settings: tuple[str, ...], said: str) -> None:
    ran = template(*(word for setting in settings for word in ("--set", setting)))
    assert ran.returncode != 0
    assert said in ran.stderr
    assert "secret" not in ran.stderr


def test_every_value_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    named = [number for number, line in enumerate(lines) if re.match(r"\s*[A-Za-z]+:( |$)", line)]
    assert len(named) > 100
    unexplained = [lines[number] for number in named if not _explained(lines, number)]
    assert unexplained == []


def _explained(lines: list[str], number: int) -> bool:
    """A comment above it, or it is a group or a part of a value that is explained."""
    group = lines[number].endswith(":")
    part = re.match(r"\s+(requests|limits): ", lines[number])
    return group or part is not None or lines[number - 1].lstrip().startswith("#")


def test_the_schema_knows_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert _names(schema, schema["definitions"]) - {"global"} == _given(values)


def _names(schema: Object, definitions: Object, prefix: str = "") -> set[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    names: set[str] = set()
    for name, part in schema.get("properties", {}).items():
        if prefix.endswith("resources."):
            continue
        names |= {prefix + name} | _names(part, definitions, f"{prefix}{name}.")
    assert not names or schema["additionalProperties"] is False, prefix
    return names


def _given(values: Any, prefix: str = "") -> set[str]:
    free = prefix.endswith(("resources.", "labels.", "spec."))
    if not isinstance(values, dict) or free:
        return set()
    return {n for name, v in values.items() for n in ({prefix + name} | _given(v, f"{prefix}{name}."))}


@pytest.mark.parametrize("example", EXAMPLES)
def test_pods_have_no_rights_that_they_do_not_need(example: str) -> None:
    found = dict(pods(rendered(example)))
    assert len(found) >= 6
    for name, spec in found.items():
        security = spec["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["runAsUser"] == (999 if name.endswith(("-postgresql", "-rabbitmq")) else 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, f"{name}: HELIOGRAPH_HUB_PORT would be a Service's"
        for container in containers(spec):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name


def test_packaging_leaves_out_what_other_deployments_use(tmp_path: Any) -> None:
    ran = helm("package", CHART, "-d", tmp_path)
    assert ran.returncode == 0, ran.stderr
    (package,) = tmp_path.glob("heliograph-*.tgz")
    listed = subprocess.run(["tar", "tzf", package], capture_output=True, text=True, check=True).stdout.split()
    files = {name.removeprefix("heliograph/files/") for name in listed if name.startswith("heliograph/files/")}
    assert {"rules.yml", "rabbitmq.conf"} <= files
    assert not [name for name in files if "prometheus" in name or "tls" in name]
    assert "heliograph/values.schema.json" in listed
