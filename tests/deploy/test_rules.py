"""The alerts, by Prometheus's own tests, and the configurations by its own checks."""

from __future__ import annotations

import pytest

from tests.deploy.stack import ROOT, docker

pytestmark = pytest.mark.compose
FILES = ROOT / "helm" / "heliograph" / "files"


def promtool(*words: str) -> str:
    """One run of promtool, from the image of compose.yaml. Raises CalledProcessError for what it does not like."""
    mounted = (FILES / "rules.yml", FILES / "prometheus.yml", ROOT / "tests" / "deploy" / "rules_test.yml")
    volumes = [word for path in mounted for word in ("-v", f"{path}:/etc/prometheus/{path.name}:ro")]
    return docker("run", "--rm", *volumes, "--entrypoint", "/bin/promtool", "prom/prometheus:latest", *words)


def test_every_alert_rings_when_it_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", "/etc/prometheus/rules_test.yml")


def test_prometheus_takes_its_configuration() -> None:
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", "/etc/prometheus/prometheus.yml")
    assert "SUCCESS" in promtool("check", "rules", "/etc/prometheus/rules.yml")
