"""The files of the deployment agree with each other, which needs no engine to see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from heliograph.bus import MAX_BODY
from heliograph_server.init_secrets import READERS, SERVICES
from heliograph_server.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "heliograph" / "files"


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(read("compose.yaml"))
    return found


def test_every_setting_is_explained_with_its_default() -> None:
    used: dict[str, set[str]] = {}
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", read("compose.yaml") + read("compose.tls.yaml")):
        used.setdefault(name, set()).add(default)
    explained = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", read(".env.example")))
    assert explained.keys() == used.keys() | {"COMPOSE_PROFILES", "COMPOSE_FILE"}
    watch = {"watched", "/watched"}  # empty in the example: a volume stands for the folder
    assert {name: used[name] for name in used if used[name] != {explained[name]}} == {"WATCH_FOLDER": watch}
    paragraphs = re.split(r"\n\s*\n", read(".env.example"))
    for name in explained:
        (paragraph,) = (p for p in paragraphs if re.search(rf"(?m)^{name}=", p))
        assert paragraph.startswith("#"), name


def test_every_variable_of_a_role_is_a_setting() -> None:
    known = {f"HELIOGRAPH_{name.upper()}" for name in Settings.model_fields}
    for name, service in compose()["services"].items():
        for variable in service.get("environment", {}):
            if variable.startswith("HELIOGRAPH_"):
                assert variable.removesuffix("_FILE") in known, f"{name}: {variable}"


def test_a_service_sees_the_secrets_that_it_reads_and_no_others() -> None:
    """A volume for each, filled with what `SERVICES` says; what the setting of a role names is in it."""
    services = compose()["services"]
    once = {"init", "use-postgres", "migrate"}
    volumes = {name: secret_volumes(service) for name, service in services.items() if name not in once}
    shared = {f"for-{name}" for name in SERVICES}
    assert volumes == {
        **{name: [f"for-{name}"] for name in SERVICES},
        "postgres": ["postgres"],
        "prometheus": ["prometheus"],
    }
    for name in ("init", "use-postgres"):
        assert set(secret_volumes(services[name])) == shared | READERS.keys(), name
        assert "--services" in services[name]["command"]
    assert secret_volumes(services["migrate"]) == ["heliograph"], (
        "the gate looks at the settings of all roles, and ends"
    )
    assert {f"secrets-{name}" for name in shared | READERS.keys()} <= compose()["volumes"].keys()
    for name, files in SERVICES.items():
        environment = services[name].get("environment", {})
        named = {value.removeprefix("/secrets/") for value in environment.values() if value.startswith("/secrets/")}
        secret = set(files) - {"ca.pem", "certificate.pem", "key.pem", "tls-fingerprint"}
        assert named == (set() if name == "rabbitmq" else secret), name


def secret_volumes(service: dict[str, Any]) -> list[str]:
    named = [volume.partition(":")[0] for volume in service["volumes"] if isinstance(volume, str)]
    return [name.removeprefix("secrets-") for name in named if name.startswith("secrets-")]


@pytest.mark.parametrize("file", ["compose.yaml", "compose.tls.yaml"])
def test_only_what_agents_reach_can_be_opened_to_others(file: str) -> None:
    """Prometheus asks for no login, and the dashboard is spoken to in the open: no setting puts them on a network."""
    text = read(file).replace("!override", "")
    for name, service in yaml.safe_load(text)["services"].items():
        for port in service.get("ports", []):
            agents = name in {"hub", "rabbitmq"} and not port.endswith(":15672")
            assert port.startswith("${AGENTS_ADDRESS:-127.0.0.1}:" if agents else "127.0.0.1:"), f"{name}: {port}"


def test_prometheus_scrapes_every_service_that_answers() -> None:
    services = compose()["services"]
    answering = {name for name, service in services.items() if "heliograph_server.probe" in str(service)}
    jobs = {job["job_name"]: job for job in yaml.safe_load((FILES / "prometheus.yml").read_text())["scrape_configs"]}
    assert {f"heliograph-{name}" for name in answering} == {name for name in jobs if name.startswith("heliograph-")}
    for name in answering:
        (target,) = jobs[f"heliograph-{name}"]["dns_sd_configs"]
        assert target["names"] == [name], "by its name, which stands for all of its copies"


def test_services_that_scale_have_no_fixed_name_or_port() -> None:
    for name in ("writer", "dashboard"):
        service = compose()["services"].get(name, {})
        assert not service.keys() & {"container_name", "hostname"}
        for port in service.get("ports", []):
            assert "-" in re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", port), port


def test_both_builders_can_build_the_image_and_no_registry_of_builders_is_asked() -> None:
    text = read("Dockerfile")
    assert not re.search(r"(?mi)^#\s*syntax=|--mount=|--chmod=", text)
    assert "--require-hashes" in text


def test_only_what_is_named_gets_into_the_build() -> None:
    lines = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} == {"!agents", "!services", "!requirements/server.txt"}


def test_every_alert_is_tested_in_both_directions() -> None:
    rules = yaml.safe_load((FILES / "rules.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tested = [
        t for case in yaml.safe_load(read("tests/deploy/rules_test.yml"))["tests"] for t in case["alert_rule_test"]
    ]
    assert {t["alertname"] for t in tested if t.get("exp_alerts")} == alerts
    assert {t["alertname"] for t in tested if not t.get("exp_alerts")} == alerts


def test_the_broker_takes_what_agents_send_and_no_more() -> None:
    assert f"\nmax_message_size = {MAX_BODY}\n" in read("helm/heliograph/files/rabbitmq.conf")
