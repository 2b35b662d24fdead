"""What the chart makes of its values: settings, secrets, the migration, monitoring, and who may reach whom."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from heliograph_server.init_secrets import SERVICES, Plan, definitions, make
from heliograph_server.settings import Settings
from tests.deploy.chart import CHART, EXAMPLES, FILES, ROLES, Object, containers, objects, of_kind, pods, rendered

TOKENS = {"join-token", "read-token", "signing-secret", "dashboard-password", "dashboard-token"}
OF_TLS = {"ca.pem", "certificate.pem", "key.pem", "tls-fingerprint"}
HOOK = "helm.sh/hook"


def environment(container: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container.get("env", [])}


def mounted(spec: Object) -> set[str]:
    """Files of the volume of secrets."""
    (volume,) = (v for v in spec["volumes"] if v["name"] == "secrets" and "projected" in v)
    return {item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]}


def ours(found: tuple[Object, ...]) -> dict[str, Object]:
    """Pods of the roles, by role."""
    return {name.removeprefix("heliograph-"): spec for name, spec in pods(found) if name[11:] in ROLES}


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_variable_is_a_setting_and_every_file_is_there(example: str) -> None:
    known = {f"HELIOGRAPH_{name.upper()}" for name in Settings.model_fields}
    seen = 0
    for name, spec in pods(rendered(example)):
        for container in containers(spec):
            for variable, value in environment(container).items():
                if not variable.startswith("HELIOGRAPH_"):
                    continue
                seen += 1
                assert variable.removesuffix("_FILE") in known, f"{name}: {variable}"
                if value.startswith("/secrets/"):
                    assert value.removeprefix("/secrets/") in mounted(spec), f"{name}: {variable}"
    assert seen > 25


def test_a_role_is_given_the_secrets_that_it_needs_and_no_others() -> None:
    needed = {
        "hub": {"database", "bus", "public-bus", "join-token", "read-token", "signing-secret"},
        "writer": {"database", "bus"},
        "filewatch": {"database", "bus"},
        "dashboard": {"database", "bus", "signing-secret", "dashboard-password", "dashboard-token"},
    }
    assert {role: mounted(spec) for role, spec in ours(rendered("full")).items()} == needed
    assert {role: set(SERVICES[role]) - OF_TLS for role in needed} == needed, "as with compose.yaml"


@pytest.mark.parametrize("example", EXAMPLES)
def test_roles_are_probed_and_only_filewatch_is_alone_and_remembers(example: str) -> None:
    found = rendered(example)
    for role, spec in ours(found).items():
        (container,) = spec["containers"]
        assert container["startupProbe"]["httpGet"]["path"] == "/healthz", role
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", role
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz", role
    assert set(of_kind(found, "Deployment")) == {"heliograph-dashboard", "heliograph-hub", "heliograph-writer"}
    filewatch = of_kind(found, "StatefulSet")["heliograph-filewatch"]["spec"]
    assert filewatch["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in filewatch["volumeClaimTemplates"]] == ["data"]


def test_secrets_are_made_once_for_all_who_read_them() -> None:
    secrets = of_kind(rendered("builtin"), "Secret")
    tokens = secrets["heliograph-auth"]["stringData"]
    assert tokens.keys() == TOKENS
    rabbitmq = secrets["heliograph-rabbitmq"]["stringData"]
    postgres = secrets["heliograph-postgresql"]["stringData"]
    addresses = secrets["heliograph-addresses"]["stringData"]
    passwords = {user: rabbitmq[f"{user}-password"] for user in ("admin", "server", "agent")}
    made = [*tokens.values(), *passwords.values(), postgres["password"]]
    assert len(set(made)) == len(made)
    assert min(map(len, made)) >= 32
    assert addresses["bus"] == f"amqp://server:{passwords['server']}@heliograph-rabbitmq/heliograph"
    assert addresses["database"] == f"postgresql://heliograph:{postgres['password']}@heliograph-postgresql/heliograph"
    for name in ("auth", "rabbitmq", "postgresql"):
        assert secrets[f"heliograph-{name}"]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    others = [each for each in rendered("builtin") if each["kind"] != "Secret"]
    assert not [secret for secret in made if secret in json.dumps(others)]


def test_rabbitmq_is_told_the_same_as_by_compose() -> None:
    secret = of_kind(rendered("builtin"), "Secret")["heliograph-rabbitmq"]["stringData"]
    told = json.loads(secret["definitions.json"])
    wanted = json.loads(definitions({user: secret[f"{user}-password"] for user in ("admin", "server", "agent")}))

    def by_user(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
        return sorted(tuple(each[name] for name in names) for each in found)

    rights = ("user", "vhost", "configure", "write", "read")
    assert by_user(told["permissions"], *rights) == by_user(wanted["permissions"], *rights)
    assert by_user(told["users"], "name", "tags") == by_user(wanted["users"], "name", "tags")
    assert told["vhosts"] == wanted["vhosts"]
    assert {each["password"] for each in told["users"]} == {
        secret[f"{u}-password"] for u in ("admin", "server", "agent")
    }


def test_agents_outside_get_a_credential_that_may_only_publish() -> None:
    found = rendered("builtin", "broker.publicAddress=head.example.org:30672")
    secrets = of_kind(found, "Secret")
    password = secrets["heliograph-rabbitmq"]["stringData"]["agent-password"]
    address = f"amqp://agent:{password}@head.example.org:30672/heliograph"
    assert secrets["heliograph-addresses"]["stringData"]["public-bus"] == address
    assert "public-bus" in mounted(ours(found)["hub"])
    assert "public-bus" not in mounted(ours(rendered("builtin"))["hub"])


def test_with_secrets_of_somebody_elses_none_is_made() -> None:
    given = ("auth.existingSecret=a", "database.builtin.existingSecret=b", "broker.builtin.existingSecret=c")
    found = rendered("builtin", *given)
    assert of_kind(found, "Secret") == {}
    (volume,) = (v for v in ours(found)["hub"]["volumes"] if v["name"] == "secrets")
    sources = {s["secret"]["items"][0]["path"]: s["secret"]["name"] for s in volume["projected"]["sources"]}
    assert sources == {"database": "b", "bus": "c", "join-token": "a", "read-token": "a", "signing-secret": "a"}
    assert list(of_kind(rendered("full"), "Secret")) == ["heliograph-migrate"], "only the hook's, with the watch file"
    assert of_kind(rendered("full"), "Secret")["heliograph-migrate"]["stringData"].keys() == {"watch.toml"}


def test_a_database_that_is_there_is_migrated_before_anything_is_changed() -> None:
    found = rendered("external")
    job = of_kind(found, "Job")["heliograph-migrate"]
    hooked = [
        e["metadata"]["name"] for e in found if "pre-install" in e["metadata"].get("annotations", {}).get(HOOK, "")
    ]
    assert job["metadata"]["annotations"][HOOK] == "pre-install,pre-upgrade,pre-rollback"
    volumes = json.dumps(job["spec"]["template"]["spec"]["volumes"])
    named = set(re.findall(r'"(?:name|secretName)": "(heliograph-[a-z-]+)"', volumes))
    assert named - {"heliograph-urls"} <= set(hooked), "what a hook mounts must be there before the release"
    assert int(of_kind(found, "Secret")["heliograph-migrate"]["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0


@pytest.mark.parametrize("example", ["builtin", "operators"])
def test_a_database_that_the_release_brings_is_migrated_beside_the_roles(example: str) -> None:
    (name, job), *others = of_kind(rendered(example), "Job").items()
    assert others == []
    assert HOOK not in job["metadata"].get("annotations", {})
    (again,) = of_kind(rendered(example, "writer.replicas=5"), "Job")
    assert again == name, "a Job cannot be changed, so what changes nothing for it keeps its name"
    (newer,) = of_kind(rendered(example, "image.tag=9.9.9"), "Job")
    assert newer != name


def test_pods_are_replaced_when_what_they_read_at_their_start_changes() -> None:
    def sums(*settings: str) -> dict[str, Object]:
        given = ("auth.existingSecret=a", "broker.mode=builtin", "broker.builtin.existingSecret=b", *settings)
        found = objects(*(word for setting in given for word in ("--set", setting)))
        kinds = {**of_kind(found, "Deployment"), **of_kind(found, "StatefulSet")}
        return {name: each["spec"]["template"]["metadata"]["annotations"] for name, each in kinds.items()}

    before = sums("database.external.url=postgresql://u:p@h/d")
    assert sums("database.external.url=postgresql://u:p@h/d") == before
    after = sums("database.external.url=postgresql://u:q@h/d")
    assert {name for name in before if before[name] != after[name]} == {f"heliograph-{role}" for role in ROLES}
    watched = sums("database.external.url=postgresql://u:p@h/d", "filewatch.watchFile=# new")
    assert {name for name in before if before[name] != watched[name]} == {"heliograph-filewatch"}


def test_prometheus_knows_the_roles_by_the_names_in_the_alerts() -> None:
    found = rendered("builtin", "serviceMonitor.enabled=true")
    monitors = of_kind(found, "ServiceMonitor")
    services = of_kind(found, "Service")
    compose = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    told = {job["job_name"]: "authorization" in job for job in compose if job["job_name"].startswith("heliograph-")}
    keys = {"heliograph-hub": "read-token", "heliograph-dashboard": "dashboard-token"}
    seen = {}
    for name, monitor in monitors.items():
        assert monitor["spec"]["jobLabel"] == "heliograph-job"
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = (s for s in services.values() if wanted <= s["metadata"]["labels"].items())
        job = service["metadata"]["labels"]["heliograph-job"]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports, name
        credentials = monitor["spec"]["endpoints"][0].get("authorization", {}).get("credentials")
        assert credentials == ({"name": "heliograph-auth", "key": keys[job]} if job in keys else None)
        seen[job] = credentials is not None
    assert seen == {**told, "rabbitmq": False}


def test_the_alerts_are_those_of_the_one_copy() -> None:
    (rule,) = of_kind(rendered("full"), "PrometheusRule").values()
    assert rule["spec"] == yaml.safe_load((FILES / "rules.yml").read_text(encoding="utf-8"))
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert of_kind(rendered("external"), "PrometheusRule") == {}


def test_every_dashboard_of_the_files_gets_to_grafana_as_it_is(tmp_path: Path) -> None:
    chart = shutil.copytree(CHART, tmp_path / "heliograph")
    (chart / "files" / "dashboards").mkdir(exist_ok=True)
    text = json.dumps({"title": "Made up", "panels": [{"legendFormat": "{{job}} {{ `x` }}"}]}, indent=2)
    (chart / "files" / "dashboards" / "made_up.json").write_text(text + "\n", encoding="utf-8")
    maps = of_kind(objects("-f", chart / "examples" / "full.yaml", chart=chart), "ConfigMap")
    labelled = [each["data"] for each in maps.values() if "grafana_dashboard" in each["metadata"]["labels"]]
    boards = {file: text for data in labelled for file, text in data.items()}
    there = {path.name: path.read_text(encoding="utf-8") for path in (chart / "files" / "dashboards").glob("*.json")}
    assert "heliograph-grafana-made-up" in maps
    assert {file: json.loads(text) for file, text in boards.items()} == {f: json.loads(t) for f, t in there.items()}


def test_only_those_who_need_it_get_to_database_and_broker() -> None:
    policies = of_kind(rendered("builtin"), "NetworkPolicy")
    assert policies.keys() == {f"heliograph-{name}" for name in (*ROLES, "postgresql", "rabbitmq")}
    labels = {"app.kubernetes.io/name": "heliograph", "app.kubernetes.io/instance": "heliograph"}
    own = {"podSelector": {"matchLabels": labels}}
    assert policies["heliograph-postgresql"]["spec"]["ingress"] == [
        {"ports": [{"protocol": "TCP", "port": 5432}], "from": [own]}
    ]
    assert policies["heliograph-rabbitmq"]["spec"]["ingress"][0]["from"] == [own]
    opened = of_kind(rendered("builtin", "broker.publicAddress=head:5672"), "NetworkPolicy")
    assert "from" not in opened["heliograph-rabbitmq"]["spec"]["ingress"][0]
    full = of_kind(rendered("full"), "NetworkPolicy")
    assert "heliograph-postgresql" not in full
    peers = full["heliograph-hub"]["spec"]["ingress"][0]["from"]
    assert [next(iter(peer)) for peer in peers] == ["podSelector", "namespaceSelector"]


def test_copies_are_drained_one_at_a_time_and_single_pods_hold_no_node_up() -> None:
    assert set(of_kind(rendered("external"), "PodDisruptionBudget")) == {"heliograph-writer"}
    full = of_kind(rendered("full"), "PodDisruptionBudget")
    assert set(full) == {"heliograph-hub", "heliograph-writer", "heliograph-dashboard"}
    assert {each["spec"]["maxUnavailable"] for each in full.values()} == {1}


def test_the_ingress_leads_to_services_and_the_hub_says_its_url() -> None:
    found = rendered("full")
    (ingress,) = of_kind(found, "Ingress").values()
    services = of_kind(found, "Service")
    for rule in ingress["spec"]["rules"]:
        backend = rule["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]["spec"]["ports"]}
    (hub,) = ours(found)["hub"]["containers"]
    assert environment(hub)["HELIOGRAPH_PUBLIC_URL"] == "https://heliograph-hub.example.org"
    (dashboard,) = ours(found)["dashboard"]["containers"]
    assert json.loads(environment(dashboard)["HELIOGRAPH_DASHBOARD_TRUSTED_PROXIES"]) == ["10.0.0.0/8"]


def test_operators_are_asked_for_what_the_roles_expect() -> None:
    found = rendered(
        "operators", "broker.operator.spec.tls.secretName=x", "database.cloudnativepg.spec.backup.target=y"
    )
    (cluster,) = of_kind(found, "Cluster").values()
    assert cluster["spec"]["instances"] == 3
    assert cluster["spec"]["backup"] == {"target": "y"}
    assert cluster["spec"]["bootstrap"] == {"initdb": {"database": "heliograph", "owner": "heliograph"}}
    (rabbitmq,) = of_kind(found, "RabbitmqCluster").values()
    assert rabbitmq["spec"]["tls"] == {"secretName": "x"}
    assert rabbitmq["spec"]["replicas"] == 3
    template = rabbitmq["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]
    (mount,) = template["containers"][0]["volumeMounts"]
    assert (
        f"definitions.local.path = {mount['mountPath']}/definitions.json"
        in rabbitmq["spec"]["rabbitmq"]["additionalConfig"]
    )
    assert template["volumes"][0]["secret"]["secretName"] == "heliograph-rabbitmq"
    (volume,) = (v for v in ours(found)["writer"]["volumes"] if v["name"] == "secrets")
    assert {"name": "heliograph-postgresql-app", "items": [{"key": "uri", "path": "database"}]} in [
        source["secret"] for source in volume["projected"]["sources"]
    ]
    address = of_kind(found, "Secret")["heliograph-addresses"]["stringData"]["bus"]
    assert address.endswith(f"@{rabbitmq['metadata']['name']}/heliograph")


def test_images_are_ours_and_the_official_ones() -> None:
    specs = [spec for example in EXAMPLES for _, spec in pods(rendered(example))]
    images = {container["image"] for spec in specs for container in containers(spec)}
    digest = "sha256:" + "0" * 64
    assert images == {
        "heliograph:0.1.0",
        "registry.example.org/monitoring/heliograph:0.1.0",
        "postgres:15",
        "rabbitmq:3-management",
    }
    (hub,) = ours(rendered("external", f"image.digest={digest}"))["hub"]["containers"]
    assert hub["image"] == f"heliograph@{digest}"


def test_long_names_of_releases_fit() -> None:
    for each in rendered("builtin", "serviceMonitor.enabled=true", release="a" * 53):
        assert len(each["metadata"]["name"]) <= 52, "a Job's or StatefulSet's pods append to it"
        for value in each["metadata"]["labels"].values():
            assert len(value) <= 63


def test_secrets_are_taken_as_init_secrets_makes_them(tmp_path: Path) -> None:
    """The keys of `existingSecret` are the names of its files, so that each folder can become a Secret as it is."""
    make(Plan(folder=tmp_path, broker="b", public_broker="b", postgres="p"))
    made = {path.name for path in (tmp_path / "heliograph").iterdir()}
    full = ("broker.publicAddress=b", "database.builtin.existingSecret=x", "broker.builtin.existingSecret=x")
    found = rendered("builtin", "auth.existingSecret=x", *full)
    assert {path for spec in ours(found).values() for path in mounted(spec)} == made
    assert (tmp_path / "rabbitmq" / "definitions.json").is_file()
    assert (tmp_path / "postgres" / "password").is_file()
