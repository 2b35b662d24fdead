"""`heliograph init-secrets`: makes what a deployment must keep secret, before anything else of it starts.

In: a folder, where broker and database will be, and which uid reads what. Out: a folder for each reader, closed to all
others: passwords and tokens, made once and never again; and what follows from them (URLs, RabbitMQ's definitions),
brought up to date. Nothing secret is printed.

    heliograph/   bus  public-bus  database  join-token  read-token  signing-secret  dashboard-password  dashboard-token
    rabbitmq/     definitions.json  admin-password  server-password  agent-password
    postgres/     password
    prometheus/   read-token  dashboard-token

With names for a certificate (`--tls`) also ca.pem, certificate.pem and key.pem for heliograph and rabbitmq, the
fingerprint for heliograph, and `authority/` with the key that signs, which is for nobody who serves. With `--services`
a folder `for-…` for each service that shares a reader with others, with copies of only what that service reads.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from heliograph.bus import hidden
from heliograph_server import certificates
from heliograph_server.errors import SetupError
from heliograph_server.settings import load

READERS = {"heliograph": 10001, "rabbitmq": 999, "postgres": 999, "prometheus": 65534}
"""Who reads, and as which uid in the image of this project and in the official ones."""
_TLS = ("ca.pem", "certificate.pem", "key.pem")
SERVICES = {
    "hub": ("database", "bus", "public-bus", "join-token", "read-token", "signing-secret", "tls-fingerprint", *_TLS),
    "writer": ("database", "bus"),
    "dashboard": ("database", "bus", "signing-secret", "dashboard-password", "dashboard-token"),
    "filewatch": ("database", "bus"),
    "rabbitmq": ("definitions.json", *_TLS),
}
"""What each service reads, of RabbitMQ's folder or of ours. Its folder is `for-<service>`."""
VHOST = "heliograph"
SERVER, AGENT, ADMIN = "server", "agent", "admin"
NOTHING, OURS = "^$", r"^heliograph\.v1(\..*)?$"
_OWNER_ONLY = 0o077


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where things will be. Hosts may have a port; `public_broker` is the broker as agents reach it."""

    folder: Path
    broker: str = "rabbitmq"
    public_broker: str | None = None
    postgres: str | None = None
    sqlite: str = "sqlite:////var/lib/heliograph/heliograph.db"
    database: str | None = field(default=None, repr=False)
    tls: tuple[str, ...] = ()
    """Names and addresses of this machine in its certificate; none: no TLS."""
    services: bool = False
    """Whether each service gets a folder of its own, too."""
    uids: dict[str, int] = field(default_factory=lambda: dict(READERS))


def init_secrets(args: argparse.Namespace) -> int:
    plan = Plan(
        folder=args.folder,
        broker=args.broker,
        public_broker=args.public_broker or None,
        postgres=args.postgres,
        database=load().database,
        tls=tuple(args.tls),
        services=args.services,
        uids={**READERS, **_owners(args.owner)},
    )
    made = make(plan)
    for reader, folder in _pairs(args.data, "--data", "READER=FOLDER"):
        _known([reader], "--data")
        _give(Path(folder), plan.uids[reader])
    print(f"{plan.folder}: {', '.join(made) if made else 'everything was there'}")
    return 0


def make(plan: Plan) -> list[str]:
    """Make what is missing and bring up to date what follows from it; returns what changed, as 'reader/name'."""
    files = Files(plan)
    users = {user: files.keep("rabbitmq", f"{user}-password", _secret()) for user in (ADMIN, SERVER, AGENT)}
    files.follow("rabbitmq", "definitions.json", definitions(users))
    files.follow("heliograph", "bus", _amqp(SERVER, users[SERVER], plan.broker))
    # Always there, because a setting may not name a file that is absent; empty means: through the hub.
    public = _amqp(AGENT, users[AGENT], plan.public_broker) if plan.public_broker else ""
    if plan.tls:
        known_by = _certificates(plan, files)
        # Agents have no file of ours, so the broker's certificate is made known to them together with its address.
        public = f"{public.replace('amqp:', 'amqps:', 1)}?fingerprint={known_by}" if public else ""
    files.follow("heliograph", "public-bus", public)
    for name in ("join-token", "signing-secret", "dashboard-password"):
        files.keep("heliograph", name, _secret())
    for name in ("read-token", "dashboard-token"):
        files.follow("prometheus", name, files.keep("heliograph", name, _secret()))
    password = files.keep("postgres", "password", _secret())
    _database(plan, files, password)
    if plan.services:
        _share(files)
    return files.changed


class Files:
    """The files of all readers: each belongs to its reader, and `changed` says which were written."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.changed: list[str] = []
        for reader in [*READERS, *(f"for-{service}" for service in SERVICES if plan.services)]:
            folder = plan.folder / reader
            folder.mkdir(parents=True, exist_ok=True)
            _close(folder, self._uid(reader), mode=0o700)

    def path(self, reader: str, name: str) -> Path:
        return self._plan.folder / reader / name

    def read(self, reader: str, name: str) -> str | None:
        return _read(self.path(reader, name))

    def keep(self, reader: str, name: str, first: str) -> str:
        """What stands there; `first` is written where nothing does."""
        text = self.read(reader, name)
        if text is None:
            self._write(reader, name, first)
            return first
        if first and not text:
            raise SetupError(f"{self.path(reader, name)} is empty; remove it to have it made anew")
        _close(self.path(reader, name), self._uid(reader))
        return text

    def follow(self, reader: str, name: str, text: str) -> None:
        """Have this stand there, whatever did before."""
        if self.read(reader, name) != text:
            self._write(reader, name, text)
        else:
            _close(self.path(reader, name), self._uid(reader))

    def have_only(self, reader: str, texts: Mapping[str, str]) -> None:
        """Have these stand there and nothing else: what a service of an older version read goes."""
        for name, text in texts.items():
            self.follow(reader, name, text)
        for name in sorted({path.name for path in (self._plan.folder / reader).iterdir()} - texts.keys()):
            self.path(reader, name).unlink()
            self.changed.append(f"{reader}/{name}")

    def _uid(self, reader: str) -> int:
        return self._plan.uids[_source(reader.removeprefix("for-"))]

    def _write(self, reader: str, name: str, text: str) -> None:
        _write(self.path(reader, name), text, self._uid(reader))
        self.changed.append(f"{reader}/{name}")


def _source(service: str) -> str:
    """Of whose files a service, or a reader itself, gets its own."""
    return service if service in READERS else "heliograph"


def _share(files: Files) -> None:
    for service, names in SERVICES.items():
        there = {name: files.read(_source(service), name) for name in names}
        files.have_only(f"for-{service}", {name: text for name, text in there.items() if text is not None})


def definitions(passwords: dict[str, str]) -> str:
    """What RabbitMQ loads at every start: its users, by hashes, and what each may do. The servers declare the rest,
    because arguments of queues differ between versions of RabbitMQ."""
    rights = {
        ADMIN: {"configure": ".*", "write": ".*", "read": ".*"},
        SERVER: {"configure": OURS, "write": OURS, "read": OURS},
        AGENT: {"configure": NOTHING, "write": r"^heliograph\.v1$", "read": NOTHING},
    }
    users = [
        {
            "name": user,
            "password_hash": password_hash(user, password),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "administrator" if user == ADMIN else "",
        }
        for user, password in passwords.items()
    ]
    permissions = [{"user": user, "vhost": VHOST, **rights[user]} for user in passwords]
    return json.dumps({"users": users, "vhosts": [{"name": VHOST}], "permissions": permissions}, indent=2)


def password_hash(user: str, password: str) -> str:
    """RabbitMQ's: base64 of a salt of 4 bytes and the SHA-256 of salt and password.

    The salt follows from user and password, so that the same passwords give the same file; they are random already.
    """
    salt = hashlib.sha256(f"salt\0{user}\0{password}".encode()).digest()[:4]
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _certificates(plan: Plan, files: Files) -> str:
    """Certificate and key for those who serve; returns the certificate's fingerprint."""
    authority = plan.folder / "authority"
    files.changed += [f"authority/{name}" for name in certificates.make(authority, plan.tls)]
    for reader in ("heliograph", "rabbitmq"):
        for name in ("ca.pem", "certificate.pem", "key.pem"):
            files.follow(reader, name, (authority / name).read_text(encoding="ascii").strip())
    known_by = certificates.fingerprint(authority / "certificate.pem")
    files.follow("heliograph", "tls-fingerprint", known_by)
    return known_by


def _database(plan: Plan, files: Files, password: str) -> None:
    """Which database: the one that the operator names, else PostgreSQL when it is asked for, else the one of last
    time (never silently another), else SQLite."""
    if plan.database:
        files.follow("heliograph", "database", plan.database)
        return
    if plan.postgres is None:
        files.keep("heliograph", "database", plan.sqlite)
        return
    start, end = "postgresql://heliograph:", f"@{plan.postgres}/heliograph"
    before = files.read("heliograph", "database") or plan.sqlite
    if before != plan.sqlite and not (before.startswith(start) and before.endswith(end)):
        raise SetupError(
            f"{files.path('heliograph', 'database')} names {hidden(before)}; remove the file to use the PostgreSQL at "
            f"{plan.postgres} instead"
        )
    files.follow("heliograph", "database", f"{start}{quote(password, safe='')}{end}")


def _amqp(user: str, password: str, at: str) -> str:
    return f"amqp://{user}:{quote(password, safe='')}@{at}/{VHOST}"


def _secret() -> str:
    return secrets.token_hex(32)


def _give(folder: Path, uid: int) -> None:
    """A data folder goes to who writes it, once: what is in it is not looked at."""
    if not folder.is_dir():
        raise SetupError(f"{folder} is not a folder")
    if os.geteuid() == 0 and folder.stat().st_uid != uid:
        os.chown(folder, uid, uid)


def _read(path: Path) -> str | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(handle, encoding="utf-8") as file:
        return file.read().rstrip("\n")


def _write(path: Path, text: str, uid: int) -> None:
    """Whole or not at all, and never for a moment readable by others."""
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(f"{text}\n" if text else "")
            file.flush()
            os.fsync(file.fileno())
        _close(passing, uid)
        passing.replace(path)
    except BaseException:
        passing.unlink(missing_ok=True)
        raise


def _close(path: Path, uid: int, *, mode: int = 0o400) -> None:
    """For its reader only. Who is not root cannot give it away, and is then the reader."""
    about = path.lstat()
    if stat.S_IMODE(about.st_mode) & _OWNER_ONLY or stat.S_IMODE(about.st_mode) != mode:
        path.chmod(mode)
    if os.geteuid() == 0 and (about.st_uid, about.st_gid) != (uid, uid):
        os.chown(path, uid, uid, follow_symlinks=False)


def _pairs(given: list[str], option: str, form: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    if any(not (name and value) for name, _, value in pairs):
        raise SetupError(f"{option} takes {form}")
    return [(name, value) for name, _, value in pairs]


def _owners(given: list[str]) -> dict[str, int]:
    try:
        owners = {name: int(uid) for name, uid in _pairs(given, "--owner", "READER=UID")}
    except ValueError:
        raise SetupError("--owner takes READER=UID, a number") from None
    _known(owners, "--owner")
    return owners


def _known(readers: Iterable[str], option: str) -> None:
    for reader in readers:
        if reader not in READERS:
            raise SetupError(f"{option}: {reader!r} reads nothing here; readers are {', '.join(READERS)}")
