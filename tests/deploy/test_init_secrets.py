"""`heliograph init-secrets`: what it makes, for whom, and that it never makes a secret twice."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from heliograph.bus import BusUnavailable, Outgoing, open_consumer, open_publisher
from heliograph.messages import Class
from heliograph_server.errors import SetupError
from heliograph_server.init_secrets import READERS, SERVICES, Plan, definitions, make
from heliograph_server.settings import SECRETS, load
from tests.fixtures.broker import Broker

UIDS = {"heliograph": 12001, "rabbitmq": 12002, "postgres": 12003, "prometheus": 12004}
SIGHT = {"read-token", "dashboard-token"}
FILES = {
    "heliograph": {"bus", "public-bus", "database", "join-token", "signing-secret", "dashboard-password", *SIGHT},
    "rabbitmq": {"definitions.json", "admin-password", "server-password", "agent-password"},
    "postgres": {"password"},
    "prometheus": SIGHT,
}


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file()}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "heliograph_server", "init-secrets", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_every_file_is_there_and_for_its_reader_only(tmp_path: Path) -> None:
    owners = [f"--owner={reader}={uid}" for reader, uid in UIDS.items()]
    ran = run(str(tmp_path), "--public-broker=head:5672", *owners)
    assert ran.returncode == 0, ran.stderr
    assert {p.name: {f.name for f in p.iterdir()} for p in tmp_path.iterdir()} == FILES
    for path in tmp_path.rglob("*"):
        about = path.stat()
        assert stat.S_IMODE(about.st_mode) == (0o700 if path.is_dir() else 0o400), path
        wanted = UIDS[path.relative_to(tmp_path).parts[0]] if os.geteuid() == 0 else os.geteuid()
        assert about.st_uid == wanted, path


def test_a_service_gets_copies_of_what_it_reads_and_of_nothing_else(tmp_path: Path) -> None:
    owners = [f"--owner={reader}={uid}" for reader, uid in UIDS.items()]
    ran = run(str(tmp_path), "--public-broker=head:5672", "--services", *owners)
    assert ran.returncode == 0, ran.stderr
    made = contents(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == FILES.keys() | {f"for-{name}" for name in SERVICES}
    for service, names in SERVICES.items():
        reader, folder = "rabbitmq" if service == "rabbitmq" else "heliograph", tmp_path / f"for-{service}"
        assert {p.name for p in folder.iterdir()} == FILES[reader] & set(names), service
        for path in (folder, *folder.iterdir()):
            wanted = UIDS[reader] if os.geteuid() == 0 else os.geteuid()
            assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode) & 0o077) == (wanted, 0), path
        for name in FILES[reader] & set(names):
            assert made[f"for-{service}/{name}"] == made[f"{reader}/{name}"]
    assert {p.name for p in (tmp_path / "for-writer").iterdir()} == {"database", "bus"}
    assert {p.name for p in (tmp_path / "for-rabbitmq").iterdir()} == {"definitions.json"}, "hashes, no passwords"


def test_copies_follow_and_what_a_service_no_longer_reads_goes(tmp_path: Path) -> None:
    plan = Plan(folder=tmp_path, uids=dict.fromkeys(READERS, os.geteuid()), services=True)
    make(plan)
    (tmp_path / "for-writer" / "join-token").write_text("of an older version")
    (tmp_path / "heliograph" / "join-token").unlink()
    changed = ["heliograph/join-token", "for-hub/join-token", "for-writer/join-token"]
    assert make(plan) == changed
    made = contents(tmp_path)
    assert made["for-hub/join-token"] == made["heliograph/join-token"]
    assert "for-writer/join-token" not in made
    assert make(plan) == []


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    ran = run(str(tmp_path), "--postgres=db", HELIOGRAPH_DATABASE="")
    said = ran.stdout + ran.stderr
    for name, text in contents(tmp_path).items():
        if name.endswith(("password", "token", "secret")):
            assert len(text.strip()) == 64
            assert text.strip() not in said


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    plan = Plan(folder=tmp_path, uids=dict.fromkeys(READERS, os.geteuid()), public_broker="head:5672")
    assert make(plan)
    before = contents(tmp_path)
    assert make(plan) == []
    assert contents(tmp_path) == before


def test_no_two_deployments_share_a_secret(tmp_path: Path) -> None:
    uids = dict.fromkeys(READERS, os.geteuid())
    for name in ("one", "two"):
        make(Plan(folder=tmp_path / name, uids=uids))
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    same = {name for name in one if one[name] == two[name]}
    assert same == {"heliograph/database", "heliograph/public-bus"}


def test_what_follows_from_settings_follows_them_and_the_secrets_stay(tmp_path: Path) -> None:
    uids = dict.fromkeys(READERS, os.geteuid())
    make(Plan(folder=tmp_path, uids=uids, public_broker="127.0.0.1:5672"))
    before = contents(tmp_path)
    assert make(Plan(folder=tmp_path, uids=uids, public_broker="head:5673")) == ["heliograph/public-bus"]
    after = contents(tmp_path)
    password = after["rabbitmq/agent-password"].strip()
    assert after.pop("heliograph/public-bus") == f"amqp://agent:{password}@head:5673/heliograph\n"
    assert after == {name: text for name, text in before.items() if name != "heliograph/public-bus"}


def test_the_database_changes_only_when_it_is_said(tmp_path: Path) -> None:
    uids = dict.fromkeys(READERS, os.geteuid())
    name = tmp_path / "heliograph" / "database"

    def after(**more: str) -> str:
        make(Plan(folder=tmp_path, uids=uids, **more))  # type: ignore[arg-type]
        return name.read_text(encoding="utf-8").strip()

    assert after() == "sqlite:////var/lib/heliograph/heliograph.db"
    password = (tmp_path / "postgres" / "password").read_text(encoding="utf-8").strip()
    postgres = f"postgresql://heliograph:{password}@postgres/heliograph"
    assert after(postgres="postgres") == postgres
    assert after() == postgres, "without the profile it does not silently become an empty SQLite"
    assert after(database="postgresql://me:pw@elsewhere/db") == "postgresql://me:pw@elsewhere/db"
    assert after() == "postgresql://me:pw@elsewhere/db"
    with pytest.raises(SetupError, match="remove the file") as refused:
        after(postgres="postgres")
    assert ":pw@" not in str(refused.value)


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    uids = dict.fromkeys(READERS, os.geteuid())
    make(Plan(folder=tmp_path, uids=uids))
    broken = tmp_path / "heliograph" / "join-token"
    broken.chmod(0o600)
    broken.write_text("")
    ran = run(str(tmp_path))
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "join-token is empty" in ran.stderr


@pytest.mark.parametrize(
    "words", [["--owner=nobody=1"], ["--owner=rabbitmq"], ["--owner=rabbitmq=x"], ["--data=rabbitmq=/no/such/folder"]]
)
def test_wrong_arguments_get_one_line(tmp_path: Path, words: list[str]) -> None:
    ran = run(str(tmp_path / "secrets"), *words)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "heliograph").mkdir()
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "heliograph" / "bus").symlink_to(tmp_path / "elsewhere")
    assert run(str(tmp_path)).returncode == 2
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_the_settings_take_every_file(tmp_path: Path) -> None:
    make(Plan(folder=tmp_path, uids=dict.fromkeys(READERS, os.geteuid()), public_broker="head:5672"))
    folder = tmp_path / "heliograph"
    named = {f"HELIOGRAPH_{name.upper()}_FILE": str(folder / name.replace("_", "-")) for name in SECRETS}
    there = {variable: path for variable, path in named.items() if Path(path).exists()}
    settings = load(environment=there)
    assert {path.name for path in folder.iterdir()} == {Path(path).name for path in there.values()}
    assert urlsplit(settings.bus or "").username == "server"


def test_rabbitmq_takes_the_definitions_and_agents_may_only_publish(broker: Broker) -> None:
    passwords = {"admin": "a" * 20, "server": "s" * 20, "agent": "g" * 20}
    broker.admin("POST", "definitions", json.loads(definitions(passwords)))
    urls = {user: broker.url("heliograph", user=user, password=word) for user, word in passwords.items()}
    with closing(open_consumer(urls["server"], name="server")) as server:
        server.receive(1, 0.0)  # declares
        with closing(open_publisher(urls["agent"], name="agent")) as agent:
            agent.publish([Outgoing(cls=Class.STATES, run="r", body=b"x")])
        received = server.receive(1, 10.0)
        assert [delivery.body for delivery in received] == [b"x"]
        server.ack(received)
    with closing(open_consumer(urls["agent"], name="agent")) as spy, pytest.raises(BusUnavailable, match="403"):
        spy.receive(1, 1.0)
    wrong = broker.url("heliograph", user="agent", password="guess")
    with closing(open_publisher(wrong, name="agent")) as stranger, pytest.raises(BusUnavailable, match="password"):
        stranger.publish([Outgoing(cls=Class.STATES, run="r", body=b"x")])
