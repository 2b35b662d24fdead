"""What a run's start sets in motion: one detached process that finds out where records go, or starts what takes them.

In: what the user configured (bus, hub, database) and the run directory. Out: the run's route file; where nothing
answers, the embedded writer for this run, which this process becomes. The caller waits for nothing but a shell's fork.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from heliograph import background, settings, state
from heliograph.bus import BadUrl, hidden
from heliograph.handshake import NoHub, Refused, connect
from heliograph.modest import step_back
from heliograph.route import RouteFile, environment_route, write_route

log = logging.getLogger("heliograph.launch")

PLAN = "HELIOGRAPH_LAUNCH"
"""Variable that carries the plan to the detached process. Not the command line: others can read that, and URLs in
the plan may hold passwords."""
HUB_PATIENCE = 6.0
"""Seconds that a hub has to answer before the embedded writer takes its place."""
SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the detached process needs to know."""

    run: str
    run_dir: str
    config_run_dir: str
    owner_pid: int
    owner_start: int | None
    interval: float = 10.0
    hub: str | None = None
    bus: str | None = field(default=None, repr=False)
    database: str | None = field(default=None, repr=False)


def start(
    run: str,
    run_dir: str,
    *,
    bus: str | None = None,
    hub: str | None = None,
    database: str | None = None,
    config_run_dir: str | None = None,
    interval: float = 10.0,
    owner_pid: int | None = None,
) -> bool:
    """Start the launcher for this run. Takes milliseconds and never raises; False when it could not be started."""
    pid = os.getpid() if owner_pid is None else owner_pid
    plan = Plan(
        run=run,
        run_dir=run_dir,
        config_run_dir=config_run_dir or os.path.dirname(run_dir),
        owner_pid=pid,
        owner_start=state.process_start(pid),
        interval=interval,
        hub=hub,
        bus=f"spool:{os.path.abspath(bus[6:])}" if bus and bus.startswith("spool:") else bus,
        # What is relative is relative to here, and the launcher runs elsewhere.
        database=f"sqlite:///{_sqlite_path(database)}" if database and _sqlite_path(database) else database,
    )
    try:
        background.start("heliograph.launch", environ={**os.environ, PLAN: json.dumps(asdict(plan))})
    except Exception as error:
        log.warning("Nothing could be started that takes this run's records (%s); they wait in the state folder", error)
        return False
    return True


def main() -> None:
    """The detached process. It steps back behind the workflow's own, and so does the server that it may become."""
    step_back(settings.site().nice, detached=True)
    plan = Plan(**json.loads(os.environ.pop(PLAN)))
    _log_to(Path(plan.run_dir))
    try:
        command = carry_out(plan)
    except Exception:
        log.exception("The route of this run could not be set up; its records wait in the state folder of this user")
        return
    if command:
        logging.shutdown()
        os.execv(command[0], command)  # noqa: S606 - a fixed list


def carry_out(plan: Plan) -> list[str] | None:
    """Write the route file; the command to become when this run needs an embedded writer."""
    route = _configured(plan) or _from_hub(plan)
    if route is not None:
        write_route(plan.run_dir, route)
        log.info("Records of run %s go to %s", plan.run, hidden(route.bus))
        return None
    return _embedded(plan)


def _configured(plan: Plan) -> RouteFile | None:
    found = RouteFile(bus=plan.bus, interval=plan.interval) if plan.bus else None
    given = environment_route()
    if found is None and given is not None:
        found = RouteFile(
            bus=given.bus, token=given.token, tls_fingerprint=given.tls_fingerprint, interval=plan.interval
        )
    if found is not None and urlsplit(found.bus).scheme not in {"amqp", "amqps", "http", "https", "spool"}:
        log.error(
            "%s", BadUrl(f"bus URL {hidden(found.bus)!r} has no known scheme; an embedded writer is used instead")
        )
        return None
    return found


def _from_hub(plan: Plan) -> RouteFile | None:
    """Ask the hub, several times: it may be starting, too."""
    if plan.hub is None:
        return None
    deadline = time.monotonic() + HUB_PATIENCE
    while True:
        try:
            return connect(plan.hub, run=plan.run, run_dir=plan.run_dir, interval=plan.interval)
        except Refused as error:
            log.warning(
                "The hub at %s does not take this run (%s); an embedded writer is used instead", plan.hub, error
            )
            return None
        except NoHub as error:
            if time.monotonic() >= deadline:
                log.warning("No hub answers at %s (%s); an embedded writer is used instead", plan.hub, error)
                return None
            time.sleep(0.5)


def _embedded(plan: Plan) -> list[str] | None:
    url, spool = database_and_spool(plan.database, Path(plan.config_run_dir))
    write_route(plan.run_dir, RouteFile(bus=f"spool:{spool}", interval=plan.interval))
    if importlib.util.find_spec("heliograph_server") is None:
        log.warning(
            "heliograph-server is not installed here, so nothing writes a database: records of run %s wait in %s. "
            "`heliograph up` with --bus spool:%s on a machine that has it loads them.",
            plan.run, spool, spool,
        )  # fmt: skip
        return None
    log.info("Records of run %s go to %s, written by an embedded server", plan.run, hidden(url))
    command = [sys.executable, "-m", "heliograph.cli", "embedded"]
    if url.startswith("sqlite:"):
        command += ["--database", url]
    else:
        os.environ.pop("HELIOGRAPH_DATABASE_FILE", None)
        os.environ["HELIOGRAPH_DATABASE"] = url  # not the command line: it can hold a password
        command += ["--spool", str(spool)]
    command += ["--run", plan.run, "--run-dir", plan.run_dir, "--owner-pid", str(plan.owner_pid)]
    return command if plan.owner_start is None else [*command, "--owner-start", str(plan.owner_start)]


def database_and_spool(endpoint: str | None, config_run_dir: Path) -> tuple[str, Path]:
    """URL of the database of the embedded writer, and its spool. A database that Parsl made is left alone."""
    scheme, _, rest = (endpoint or "").partition("://")
    if scheme.split("+")[0] in {"postgresql", "postgres"} and rest:
        url = f"postgresql://{rest}"
        key = hashlib.sha256(hidden(url).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return url, config_run_dir / f"heliograph-{key}.spool"
    default = config_run_dir / "monitoring.db"
    path = _sqlite_path(endpoint or "") or default
    if endpoint and not _sqlite_path(endpoint):
        log.error("%s is neither a SQLite file nor PostgreSQL; this run is recorded in %s", hidden(endpoint), path)
    elif path != default and not _may_write(path.parent):
        log.error("Nothing can be written into %s; this run is recorded in %s", path.parent, default)
        path = default
    if is_parsls(path):
        ours = path.with_name("heliograph.db")
        log.warning("%s was made by Parsl and is left as it is; this run is recorded in %s", path, ours)
        path = ours
    return f"sqlite:///{path}", path.with_name(path.name + ".spool")


def _may_write(folder: Path) -> bool:
    """Whether files can be made in this folder, or in the nearest one above it that can be seen."""
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _sqlite_path(url: str) -> Path | None:
    """The file of sqlite:///relative or sqlite:////absolute, absolute; None for anything else."""
    path = url.removeprefix("sqlite:///")
    return None if path == url or not path or path == ":memory:" or "?" in path else Path(os.path.abspath(path))


def is_parsls(path: Path) -> bool:
    """Whether this is an SQLite database with Parsl's tables, where ours has views of these names."""
    import sqlite3

    try:
        with path.open("rb") as file:
            if file.read(len(SQLITE)) != SQLITE:
                return False
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            found = database.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'workflow'"
            ).fetchone()
            return found is not None
    except (OSError, sqlite3.Error):
        return False


def _log_to(run_dir: Path) -> None:
    """The log of what happens to this run's records; what a later exec prints lands there, too."""
    with contextlib.suppress(OSError):
        run_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(run_dir / "heliograph.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


if __name__ == "__main__":
    main()
