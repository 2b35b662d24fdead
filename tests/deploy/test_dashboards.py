"""The Grafana dashboards name only what there is, which needs no engine to see; `test_compose` asks a Prometheus."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from prometheus_client import CollectorRegistry

from heliograph_dashboard.health import Meters as DashboardMeters
from heliograph_filewatch.metrics import FilewatchMetrics
from heliograph_hub.meters import Meters as HubMeters
from heliograph_hub.workload import Workload
from heliograph_writer.metrics import WriterMetrics
from tests.deploy.dashboards import FOLDER, MAY_BE_EMPTY, NAMES, asked, dashboard, metrics_of
from tests.deploy.stack import ROOT

FILES = FOLDER.parent
RABBITMQ = {
    "rabbitmq_connections",
    "rabbitmq_consumers",
    "rabbitmq_detailed_queue_messages",
    "rabbitmq_detailed_queue_messages_ready",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_global_messages_delivered_total",
    "rabbitmq_global_messages_received_total",
    "rabbitmq_global_messages_redelivered_total",
    "rabbitmq_process_resident_memory_bytes",
    "rabbitmq_resident_memory_limit_bytes",
}
"""What we use of RabbitMQ's; that it exports these, the test against a real one shows."""
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """The names of all series of our services, and of our recording rules."""
    hub, writer = HubMeters().registry, WriterMetrics()
    Workload(hub, store=lambda: pytest.fail("no store"), lag=lambda: 0, label_values=1)
    writer.watch_disk(ROOT)
    parts: dict[str, Any] = {
        "live": SimpleNamespace(viewers=0),
        "versions": SimpleNamespace(trouble=None, looks=0),
        "data": SimpleNamespace(asked=0, given=0),
        "answers": SimpleNamespace(made=0, given=0),
    }
    registries: list[CollectorRegistry] = [hub, writer.registry, FilewatchMetrics().registry]
    registries.append(DashboardMeters(**cast(Any, parts)).registry)
    names = {family.name + s for r in registries for family in r.collect() for s in SUFFIXES[family.type]}
    rules = yaml.safe_load((FILES / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return names | {rule["record"] for group in rules for rule in group["rules"] if "record" in rule} | {"up"}


def test_there_is_one_for_operators_and_one_for_users() -> None:
    assert NAMES == ["pipeline.json", "workflows.json"]
    assert len({dashboard(name)["uid"] for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_expression_names_metrics_that_are_exported(name: str, exported: set[str]) -> None:
    for question in asked(name):
        metrics = metrics_of(question.query)
        assert metrics, question
        assert metrics <= exported | RABBITMQ, question


@pytest.mark.parametrize("name", NAMES)
def test_every_job_is_one_that_is_scraped(name: str) -> None:
    scraped = yaml.safe_load((FILES / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    jobs = [job["job_name"] for job in scraped]
    for question in asked(name):
        for operator, value in re.findall(r'\bjob(=~|=)"([^"]*)"', question.query):
            assert any(re.fullmatch(value, job) if operator == "=~" else value == job for job in jobs), question


@pytest.mark.parametrize("name", NAMES)
def test_panels_stand_beside_each_other_and_say_what_they_are(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    panels = dashboard(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        places = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not places & taken, panel["title"]
        taken |= places
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]


def test_what_may_be_empty_is_still_asked() -> None:
    assert MAY_BE_EMPTY.keys() <= {question.query for name in NAMES for question in asked(name)}
