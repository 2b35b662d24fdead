"""TLS: the certificates that we make, and a run whose records take the way through them, to RabbitMQ and to the hub."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from heliograph_server import certificates
from heliograph_server.errors import SetupError
from heliograph_server.init_secrets import READERS, Plan, make
from tests.deploy.stack import ROOT, free_ports, wait_for
from tests.fixtures.broker import Broker

FILES = ROOT / "helm" / "heliograph" / "files"
NAMES = ("head.cluster.internal", "localhost", "127.0.0.1")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="ascii") for path in folder.iterdir()}


def openssl(*words: str) -> str:
    return subprocess.run(["openssl", *words], check=True, capture_output=True, text=True).stdout


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "heliograph_server", "make-certificates", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_client_that_knows_the_authority_trusts_every_name_and_no_other(tmp_path: Path) -> None:
    certificates.make(tmp_path, NAMES)
    verify = ("verify", "-CAfile", str(tmp_path / "ca.pem"), "-purpose", "sslserver")
    for option, name in (("-verify_hostname", NAMES[0]), ("-verify_hostname", NAMES[1]), ("-verify_ip", NAMES[2])):
        assert "OK" in openssl(*verify, option, name, str(tmp_path / "certificate.pem"))
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*verify, "-verify_hostname", "elsewhere", str(tmp_path / "certificate.pem"))


def test_keys_are_for_the_owner_only(tmp_path: Path) -> None:
    ran = command(str(tmp_path / "tls"), *NAMES)
    assert ran.returncode == 0, ran.stderr
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    for name in ("key.pem", "ca-key.pem"):
        assert stat.S_IMODE((tmp_path / "tls" / name).stat().st_mode) == 0o600
    assert certificates.fingerprint(tmp_path / "tls" / "certificate.pem") in ran.stdout


def test_what_is_good_stays_and_what_is_not_is_made_anew(tmp_path: Path) -> None:
    """The authority is never replaced: those who trust it need nothing new."""
    certificates.make(tmp_path, NAMES)
    first = contents(tmp_path)
    assert certificates.make(tmp_path, tuple(reversed(NAMES))) == []
    assert contents(tmp_path) == first
    renewed = ["key.pem", "certificate.pem", "fingerprint"]
    assert certificates.make(tmp_path, (*NAMES, "10.1.0.1"), days=29) == renewed, "a name more"
    assert certificates.make(tmp_path, (*NAMES, "10.1.0.1")) == renewed, "it ended within 30 days"
    assert certificates.make(tmp_path, (*NAMES, "10.1.0.1"), renew=True) == renewed
    after = contents(tmp_path)
    assert {name for name in first if first[name] == after[name]} == {"ca.pem", "ca-key.pem"}


@pytest.mark.parametrize("name", ["two words", "a,DNS:b", "a/b", "", "-x", "a\nb"], ids=repr)
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SetupError, match="neither a host name nor an IP address"):
        certificates.make(tmp_path, (name,))


def test_a_folder_that_cannot_be_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = command(str(tmp_path / "file"), "localhost")
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1


def test_prometheus_differs_in_the_hubs_scheme_only() -> None:
    plain, tls = (yaml.safe_load((FILES / name).read_text()) for name in ("prometheus.yml", "prometheus-tls.yml"))
    (hub,) = (job for job in tls["scrape_configs"] if job["job_name"] == "heliograph-hub")
    assert (hub.pop("scheme"), hub.pop("tls_config")) == ("https", {"insecure_skip_verify": True})
    assert tls == plain


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A deployment's secrets with TLS, and the port of its RabbitMQ for agents."""
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("secrets")
    own = dict.fromkeys(READERS, os.geteuid())
    plan = Plan(folder=folder, public_broker=f"localhost:{port}", tls=("localhost",), uids=own)
    assert make(plan)
    assert make(plan) == [], "once"
    return folder, port


@pytest.fixture(scope="module")
def secure_broker(secrets: tuple[Path, int]) -> Iterator[Broker]:
    """RabbitMQ with the deployment's own configuration of TLS."""
    folder, port = secrets
    text = (FILES / "rabbitmq-tls.conf").read_text().replace("/secrets", str(folder / "rabbitmq"))
    assert "= 5671" in text
    server = Broker(
        Path(tempfile.mkdtemp(prefix="heliograph-tls-")), extra=text.replace("= 5671", f"= 127.0.0.1:{port}")
    )
    try:
        server.start()
        server.admin("POST", "definitions", json.loads((folder / "rabbitmq" / "definitions.json").read_text()))
        yield server
    finally:
        server.close()


class Servers:
    """Writer and hub as compose starts them: the services speak to RabbitMQ in the plain, agents over TLS."""

    def __init__(self, folder: Path, secrets: Path, broker: Broker, *, public_bus: bool) -> None:
        self.hub_port, health = free_ports(2)
        self.database, self.log = folder / "heliograph.db", folder / "servers.log"
        bus = urlsplit((secrets / "heliograph" / "bus").read_text().strip())
        named = ("join-token", "read-token", "signing-secret", *(["public-bus"] if public_bus else []))
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")},
            **{f"HELIOGRAPH_{n.upper().replace('-', '_')}_FILE": str(secrets / "heliograph" / n) for n in named},
            "HELIOGRAPH_BUS": bus._replace(netloc=bus.netloc.replace("rabbitmq", f"127.0.0.1:{broker.port}")).geturl(),
            "HELIOGRAPH_DATABASE": f"sqlite:///{self.database}",
            "HELIOGRAPH_DATA": str(folder),
            "HELIOGRAPH_HUB_PORT": str(self.hub_port),
            "HELIOGRAPH_HEALTH_PORT": str(health),
            "HELIOGRAPH_TLS_CERTIFICATE": str(secrets / "heliograph" / "certificate.pem"),
            "HELIOGRAPH_TLS_KEY": str(secrets / "heliograph" / "key.pem"),
        }
        subprocess.run([*self._role("migrate")], env=self._environment, check=True, capture_output=True)
        self._processes = []
        for role in ("writer", "hub"):
            with open(self.log, "ab") as log:
                self._processes.append(
                    subprocess.Popen(self._role(role), env=self._environment, stdout=log, stderr=log)
                )
        probe = [sys.executable, "-m", "heliograph_server.probe", f"https://127.0.0.1:{self.hub_port}/readyz"]
        wait_for(
            lambda: subprocess.run(probe, check=False, capture_output=True).returncode == 0, 60, self.log.read_text
        )

    def _role(self, name: str) -> list[str]:
        return [sys.executable, "-m", "heliograph_server", name]

    def states(self) -> list[str]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as connection:
            return [row[0] for row in connection.execute("SELECT task_status_name FROM status")]

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)


def run_something(folder: Path, address: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`heliograph exec`, as a user runs it who was given two files."""
    names = {"HELIOGRAPH_STATE_DIR": str(folder / "state"), **environment}
    given = {**{k: v for k, v in os.environ.items() if not k.startswith("HELIOGRAPH_")}, **names}
    words = ["exec", "--hub", address, "--run-dir", str(folder / "run"), "--", "true"]
    (folder / "run").mkdir()
    return subprocess.run(
        [sys.executable, "-m", "heliograph.cli", *words],
        env=given,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("public_bus", [True, False], ids=["rabbitmq", "hub"])
def test_a_runs_records_arrive_over_tls(
    tmp_path: Path, secrets: tuple[Path, int], secure_broker: Broker, public_bus: bool
) -> None:
    """The user has the join token and the fingerprint; nodes need neither, nor a file of the authority."""
    folder, port = secrets[0] / "heliograph", secrets[1]
    servers = Servers(tmp_path, secrets[0], secure_broker, public_bus=public_bus)
    try:
        files = {
            f"HELIOGRAPH_{n.upper().replace('-', '_')}_FILE": str(folder / n) for n in ("join-token", "tls-fingerprint")
        }
        ran = run_something(tmp_path, f"https://localhost:{servers.hub_port}", **files)
        assert ran.returncode == 0, ran.stderr
        wait_for(lambda: "exec_done" in servers.states(), 90, lambda: f"{servers.states()} {servers.log.read_text()}")
        (route,) = tmp_path.rglob("route.json")
        bus = urlsplit(json.loads(route.read_text())["bus"])
        assert (bus.scheme, bus.port) == (("amqps", port) if public_bus else ("https", servers.hub_port))
        assert not list((tmp_path / "run").rglob("spool")), "no way around"
        shipped = lambda: not list((tmp_path / "state").glob("*/journals/*"))  # noqa: E731
        wait_for(shipped, 60, servers.log.read_text)  # else the agent waits for a hub that is gone
    finally:
        servers.stop()


@pytest.mark.slow
def test_another_certificate_gets_neither_token_nor_records(
    tmp_path: Path, secrets: tuple[Path, int], secure_broker: Broker
) -> None:
    servers = Servers(tmp_path, secrets[0], secure_broker, public_bus=True)
    try:
        files = {"HELIOGRAPH_JOIN_TOKEN_FILE": str(secrets[0] / "heliograph" / "join-token")}
        words = [sys.executable, "-m", "heliograph.cli", "doctor", "--hub", f"https://localhost:{servers.hub_port}"]
        for more, said in (({}, "not trusted"), ({"HELIOGRAPH_TLS_FINGERPRINT": "ab" * 32}, "is not the one of")):
            environment = {**os.environ, **files, **more, "HELIOGRAPH_STATE_DIR": str(tmp_path / "state")}
            ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
            assert ran.returncode == 1
            assert said in ran.stdout
        trusting = {**os.environ, **files, "SSL_CERT_FILE": str(secrets[0] / "heliograph" / "ca.pem")}
        ran = subprocess.run(words, env=trusting, capture_output=True, text=True, check=False)
        assert "answers and names amqps://localhost" in ran.stdout, "who knows the authority needs no fingerprint"
    finally:
        servers.stop()


def test_a_plain_connection_to_the_published_port_gets_nowhere(
    secrets: tuple[Path, int], secure_broker: Broker
) -> None:
    assert secure_broker.port != secrets[1]
    context = ssl.create_default_context(cafile=str(secrets[0] / "heliograph" / "ca.pem"))
    with socket.create_connection(("127.0.0.1", secrets[1]), 20) as plain:
        plain.sendall(b"AMQP\x00\x00\x09\x01")
        assert not plain.recv(8).startswith((b"\x01", b"AMQP"))
    with (
        socket.create_connection(("127.0.0.1", secrets[1]), 20) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"AMQP\x00\x00\x09\x01")
        assert secure.recv(1) == b"\x01"
