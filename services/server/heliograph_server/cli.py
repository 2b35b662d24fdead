"""The server's commands, added to `heliograph` when this distribution is installed.

In: argparse's subparsers. Out: one parser a command; what a command needs is imported when it runs, not before.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heliograph.doctor import options

Subparsers = Any  # argparse has no public name for it


def register(subparsers: Subparsers) -> None:
    """Add every command of the server. Each sets `handler`: parsed arguments → exit status."""
    for add in (
        _up,
        _writer,
        _filewatch,
        _hub,
        _dashboard,
        _view,
        _migrate,
        _backup,
        _restore,
        _embedded,
        _runs,
        _import,
        _dead,
        _doctor,
        _init_secrets,
        _make_certificates,
    ):
        add(subparsers)


def _handler(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    def handle(args: argparse.Namespace) -> int:
        from heliograph_server.errors import guarded

        def action() -> int:
            return int(getattr(importlib.import_module(f"heliograph_server.{module}"), function)(args))

        return guarded(action)

    return handle


def _command(subparsers: Subparsers, name: str, summary: str, module: str, function: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=summary, description=summary)
    parser.set_defaults(handler=_handler(module, function))
    return parser


def _database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", metavar="URL", help="sqlite:///file or postgresql://… (HELIOGRAPH_DATABASE)")


def _bus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bus", metavar="URL", help="spool:/folder or amqp://… (HELIOGRAPH_BUS)")


def _hub_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", dest="hub_host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", dest="hub_port", type=int, help="port of the hub (default: 55055; 0: a free one)")


def _dashboard_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", dest="dashboard_host", metavar="ADDRESS", help="address to listen on (default: 127.0.0.1)"
    )
    port = "port to listen on (default: 8080; 0: a free one)"
    parser.add_argument("--port", dest="dashboard_port", type=int, help=port)


def _watch_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--watch-file",
        dest="filewatch_config",
        type=Path,
        metavar="FILE",
        help="TOML file: what is watched, what may be asked for (HELIOGRAPH_FILEWATCH_CONFIG)",
    )


def _mounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mounts", type=Path, default=None, help=argparse.SUPPRESS)


def _health(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--health-port", type=int, help="port of /metrics, /healthz, /readyz (default: 55056; 0: free)")


def _up(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers, "up", "start everything here, on SQLite and a folder unless told otherwise", "up", "up"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder for database, spool and logs")
    _watch_file(parser)
    _database(parser)
    _bus(parser)
    _hub_address(parser)
    _health(parser)
    _mounts(parser)


def _writer(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "writer", "write what the bus brings into the database", "roles", "writer")
    _database(parser)
    _bus(parser)
    _health(parser)
    _mounts(parser)


def _filewatch(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers, "filewatch", "watch files for runs that ask for it, and as a watch file says", "roles", "filewatch"
    )
    _watch_file(parser)
    _database(parser)
    _bus(parser)
    _health(parser)
    _mounts(parser)


def _hub(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "hub", "the front door: handshake, intake, REST API, metrics", "roles", "hub")
    _database(parser)
    _bus(parser)
    _hub_address(parser)
    _mounts(parser)
    parser.add_argument("--address-file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dashboard-url", help=argparse.SUPPRESS)


def _dashboard(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "dashboard", "what runs are doing, in the browser", "looking", "dashboard")
    _database(parser)
    _dashboard_address(parser)
    _mounts(parser)
    parser.add_argument("--listener", type=int, metavar="FD", help=argparse.SUPPRESS)


def _view(subparsers: Subparsers) -> None:
    summary = "the dashboard alone, on any Heliograph database or on a monitoring.db that Parsl wrote"
    parser = _command(subparsers, "view", summary, "looking", "view")
    parser.add_argument(
        "database_url",
        nargs="?",
        metavar="DATABASE_URL",
        help="a file, sqlite:///file or postgresql://… (default: runinfo/monitoring.db)",
    )
    _dashboard_address(parser)
    _mounts(parser)


def _migrate(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "migrate", "bring a database to this version's schema", "roles", "migrate")
    _database(parser)
    _mounts(parser)


def _backup(subparsers: Subparsers) -> None:
    summary = "copy a SQLite database into one file, while everything runs"
    parser = _command(subparsers, "backup", summary, "backup", "backup")
    parser.add_argument("file", type=Path, metavar="FILE", help="replaced, if it is there, when the new one is whole")
    _database(parser)
    _mounts(parser)


def _restore(subparsers: Subparsers) -> None:
    summary = "put a backup in the place of a SQLite database; stop everything that uses it first"
    parser = _command(subparsers, "restore", summary, "backup", "restore")
    parser.add_argument("file", type=Path, metavar="FILE", help="what `backup` wrote")
    parser.add_argument("--replace", action="store_true", help="also when there is a database")
    _database(parser)
    _mounts(parser)


def _embedded(subparsers: Subparsers) -> None:
    parser = _command(
        subparsers,
        "embedded",
        "writer and API beside one workflow; started by the workflow itself",
        "roles",
        "embedded",
    )
    _database(parser)
    parser.add_argument("--spool", type=Path, metavar="DIR", help="spool of a database that is on a server")
    parser.add_argument("--run", required=True, metavar="RUN_ID")
    parser.add_argument("--run-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--owner-pid", type=int, required=True, metavar="PID")
    parser.add_argument("--owner-start", type=int, default=None, metavar="TICKS")
    _mounts(parser)


def _runs(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "runs", "the runs of a database", "runs", "list_runs")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _database(_command(actions, "list", "all runs, the latest first", "runs", "list_runs"))
    show = _command(actions, "show", "one run: what it is and what its tasks are doing", "runs", "show_run")
    tag = _command(actions, "tag", "set or remove tags of a run", "runs", "tag_run")
    delete = _command(actions, "delete", "remove a run with all that belongs to it", "runs", "delete_run")
    for one in (show, tag, delete):
        one.add_argument("run", help="the run's id, or the beginning of it")
        _database(one)
    tag.add_argument("tags", nargs="+", metavar="KEY=VALUE", help="KEY= removes the tag")
    delete.add_argument("--yes", action="store_true", help="do not ask")


def _import(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "import", "take over a monitoring.db that Parsl wrote", "importing", "import_old")
    parser.add_argument(
        "source", metavar="FILE_OR_URL", help="monitoring.db, or the URL of the database that Parsl wrote"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--database", metavar="URL", help="write straight into this database")
    target.add_argument("--bus", metavar="URL", help="publish to this bus (HELIOGRAPH_BUS)")
    parser.add_argument("--zone", help="time zone of the old times, such as Europe/Berlin (default: this machine's)")


def _dead(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "dead", "messages that were put aside", "dead", "list_dead")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = _command(actions, "list", "which they are, and why", "dead", "list_dead")
    listing.add_argument("--limit", type=int, default=100)
    show = _command(actions, "show", "one of them, as JSON", "dead", "show_dead")
    show.add_argument("id")
    replay = _command(actions, "replay", "give them to the writers again", "dead", "replay_dead")
    drop = _command(actions, "drop", "delete them for good", "dead", "drop_dead")
    for one in (replay, drop):
        one.add_argument("ids", nargs="*", metavar="ID")
        one.add_argument("--all", action="store_true", dest="everything")
    for one in (listing, show, replay, drop):
        _bus(one)


def _doctor(subparsers: Subparsers) -> None:
    parser = _command(subparsers, "doctor", "what is reachable from here and what is not", "doctor", "doctor")
    _database(parser)
    _bus(parser)
    options(parser)


def _init_secrets(subparsers: Subparsers) -> None:
    summary = "make a deployment's passwords and tokens, each in a file for its reader; what is there stays"
    parser = _command(subparsers, "init-secrets", summary, "init_secrets", "init_secrets")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where each reader gets a folder of its own")
    parser.add_argument("--broker", default="rabbitmq", metavar="HOST", help="RabbitMQ as the servers reach it")
    parser.add_argument("--public-broker", metavar="HOST:PORT", help="RabbitMQ as agents reach it (none: by the hub)")
    parser.add_argument("--postgres", metavar="HOST", help="use this PostgreSQL instead of SQLite")
    parser.add_argument("--owner", action="append", default=[], metavar="READER=UID", help="who reads (as root only)")
    parser.add_argument(
        "--data", action="append", default=[], metavar="READER=FOLDER", help="give a data folder to a reader (as root)"
    )
    parser.add_argument(
        "--tls", action="append", default=[], metavar="NAME", help="a certificate for this name of the machine, too"
    )
    parser.add_argument(
        "--services", action="store_true", help="for each service a folder with only what it reads, too"
    )


def _make_certificates(subparsers: Subparsers) -> None:
    summary = "make an authority and a certificate for hub and broker; what is there and still good stays"
    parser = _command(subparsers, "make-certificates", summary, "certificates", "make_certificates")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where they go, keys readable by you only")
    parser.add_argument("names", nargs="+", metavar="NAME", help="host name or address by which others reach them")
    parser.add_argument("--days", type=int, default=825, help="how long the certificate holds (default: 825)")
    parser.add_argument("--renew", action="store_true", help="make a new certificate even if this one is still good")
