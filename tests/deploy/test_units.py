"""The systemd unit and the Quadlet files: systemd takes them, and what they start is up, closed, and ends well."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.deploy.stack import ROOT, docker, free_ports, wait_for

UNIT = ROOT / "deploy" / "systemd" / "heliograph.service"
QUADLET = ROOT / "deploy" / "quadlet" / "heliograph.container"
FLAGS = {"ReadOnly": "--read-only", "RunInit": "--init", "NoNewPrivileges": "--security-opt=no-new-privileges"}
OPTIONS = {"DropCapability": "--cap-drop", "Tmpfs": "--tmpfs", "Environment": "--env"}


def values(path: Path, section: str) -> list[tuple[str, str]]:
    """Keys with their values, in order; a key may come more than once."""
    lines = path.read_text(encoding="utf-8").partition(f"[{section}]\n")[2].partition("\n[")[0].splitlines()
    return [(k, v) for k, _, v in (line.partition("=") for line in lines if line and not line.startswith("#"))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with Heliograph where the unit looks for it."""
    (tmp_path / "heliograph" / "bin").mkdir(parents=True)
    program = tmp_path / "heliograph" / "bin" / "heliograph"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m heliograph.cli "$@"\n')
    program.chmod(0o755)
    return tmp_path


def test_systemd_has_nothing_to_say_against_the_unit(home: Path) -> None:
    environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    ran = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(UNIT)], env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def started(home: Path, **settings: str) -> subprocess.Popen[bytes]:
    """What the unit starts, on free ports."""
    service = dict(values(UNIT, "Service"))
    hub, health, dashboard = map(str, free_ports(3))
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")},
        "HELIOGRAPH_HUB_PORT": hub,
        "HELIOGRAPH_HEALTH_PORT": health,
        "HELIOGRAPH_DASHBOARD_PORT": dashboard,
        **settings,
    }
    command = shlex.split(service["ExecStart"].replace("%h", str(home)))
    with open(home / "log", "wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, umask=int(service["UMask"], 8))


@pytest.mark.slow
def test_what_the_unit_starts_keeps_its_data_to_itself_and_ends_when_told(home: Path) -> None:
    server = started(home)
    try:
        wait_for(lambda: b"the hub listens" in (home / "log").read_bytes(), 60, (home / "log").read_text)
        wait_for((home / "heliograph-data" / "heliograph.db").exists, 60, (home / "log").read_text)
        assert not [path for path in (home / "heliograph-data").rglob("*") if path.stat().st_mode & 0o077]
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()


def test_wrong_settings_end_it_for_good(home: Path) -> None:
    server = started(home, HELIOGRAPH_HUB_HOST="0.0.0.0")
    assert server.wait(60) == int(dict(values(UNIT, "Service"))["RestartPreventExitStatus"])
    assert "join_token" in (home / "log").read_text()


def test_the_quadlet_files_fit_together() -> None:
    for path in QUADLET.parent.iterdir():
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read(path)
        assert parser.sections()
    container = dict(values(QUADLET, "Container"))
    volume = container["Volume"].partition(":")[0]
    assert (QUADLET.parent / volume).exists()
    secrets = {value.partition(",")[0] for key, value in values(QUADLET, "Container") if key == "Secret"}
    named = {v.rpartition("/run/secrets/")[2] for k, v in values(QUADLET, "Container") if "/run/secrets/" in v}
    assert secrets == named
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    assert container["Image"].rpartition(":")[2] in compose


@pytest.mark.compose
@pytest.mark.slow
def test_the_quadlets_container_becomes_healthy(image: str, tmp_path: Path) -> None:
    """With the same options by Docker, which has all but the secrets: those are files in both."""
    name, words = f"heliograph-quadlet-{uuid.uuid4().hex[:8]}", []
    for key, value in values(QUADLET, "Container"):
        if key in FLAGS and value == "true":
            words.append(FLAGS[key])
        elif key in OPTIONS:
            words += [word for each in value.split() for word in (OPTIONS[key], each)]
        elif key == "Secret":
            path = tmp_path / value.partition(",")[0]
            path.write_text("0123456789abcdef" * 2)
            words += ["-v", f"{path}:/run/secrets/{path.name}:ro"]
        elif key == "PodmanArgs":
            words += value.split()
    health = dict(values(QUADLET, "Container"))["HealthCmd"]
    command = dict(values(QUADLET, "Container"))["Exec"].split()
    docker("run", "-d", "--name", name, "-v", f"{name}:/var/lib/heliograph", *words, image, *command)
    try:
        healthy = ["docker", "exec", name, *health.split()]
        wait_for(
            lambda: subprocess.run(healthy, capture_output=True, check=False).returncode == 0,
            90,
            lambda: subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=False).stderr,
        )
        assert docker("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name).split() == ["running", "0"]
    finally:
        docker("rm", "-f", "-v", name)
        docker("volume", "rm", "-f", name)
