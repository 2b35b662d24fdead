"""The dashboard: as a role of its own, and as `heliograph view` on any database.

In: settings, for `view` a path or URL. Out: the dashboard's application, served until SIGTERM or Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from heliograph import peers
from heliograph.bus import open_consumer
from heliograph_dashboard.config import DashboardConfig
from heliograph_server import importing, storage
from heliograph_server.errors import SetupError
from heliograph_server.given import needed, placement_of, settings_of
from heliograph_server.http import listen, serve_app, url_of
from heliograph_server.placement import SCHEME
from heliograph_store.errors import NeedsMigration, NotHeliograph

if TYPE_CHECKING:
    from heliograph_hub.lag import Waiting
    from heliograph_server.settings import Settings

log = logging.getLogger("heliograph.dashboard")
DEFAULT = "runinfo/monitoring.db"
ELSEWHERE = ("runinfo/heliograph.db", "heliograph-data/heliograph.db")
"""Where a database may be when it is not where Parsl's would be, and none was named."""


def dashboard(args: argparse.Namespace) -> int:
    """The role: beside a writer and a hub, on their database."""
    settings = settings_of(args)
    needed(settings, "database")
    config = config_of(settings)
    storage.refuse_unusable(config.database_url)
    sock = None if args.listener is None else socket.socket(fileno=args.listener)
    return run(settings, config, sock=sock, locate=lambda: readable(settings))


def view(args: argparse.Namespace) -> int:
    """The dashboard alone, on a database that is there."""
    settings = settings_of(args)
    settings = settings.model_copy(update={"database": named(args.database_url), "bus": None})
    sock = listen(settings.dashboard_host, settings.dashboard_port)
    try:
        config_of(settings)  # says at once what would open a door by accident
        with ours(settings) as readable_settings:
            config = config_of(readable_settings)
            return run(readable_settings, config, sock=sock, locate=lambda: readable(readable_settings), tell=announce)
    finally:
        sock.close()


def config_of(settings: Settings) -> DashboardConfig:
    """Raises BadConfig for what would open a door by accident."""
    return DashboardConfig(
        database_url=readable(settings),
        host=settings.dashboard_host,
        port=settings.dashboard_port,
        allowed_hosts=settings.dashboard_allowed_hosts,
        password=settings.dashboard_password,
        token=settings.dashboard_token,
        signing_secret=settings.signing_secret,
        open=settings.dashboard_open,
        trusted_proxies=settings.dashboard_trusted_proxies,
        user_header=settings.dashboard_user_header,
        prefix=settings.dashboard_prefix,
        tls_certificate=settings.tls_certificate,
        tls_key=settings.tls_key,
        plain_http=settings.plain_http,
        metrics_open=settings.metrics_open,
        log_roots=settings.dashboard_log_roots,
    )


def readable(settings: Settings) -> str:
    """The database as it can be read from here now: its live file may stand elsewhere while somebody writes it."""
    placement = placement_of(settings)
    return placement.readable_url if placement is not None else needed(settings, "database")


def run(
    settings: Settings,
    config: DashboardConfig,
    *,
    locate: Callable[[], str],
    sock: socket.socket | None = None,
    tell: Callable[[str, DashboardConfig], None] | None = None,
) -> int:
    """Serve until stopped."""
    from heliograph_dashboard.app import create_app

    sock = sock or listen(config.host, config.port)
    url = url_of(sock, tls=config.tls_certificate is not None) + config.prefix
    waiting = waiting_of(settings)
    app = create_app(config, locate=locate, waiting=waiting)
    os.nice(5)  # whoever writes, and the workflow itself, come first
    log.info("the dashboard listens on %s", url)
    if config.loopback and not config.guarded and not config.open and sys.platform == "linux" and not peers.told():
        log.warning(
            "this kernel does not tell whose a connection is, so every user of this machine can look; set "
            "HELIOGRAPH_DASHBOARD_PASSWORD_FILE when there are others"
        )
    if tell is not None:
        tell(url, config)
    try:
        return serve_app(app, sock, tls_certificate=config.tls_certificate, tls_key=config.tls_key)
    finally:
        if waiting is not None:
            waiting.close()


def waiting_of(settings: Settings) -> Waiting | None:
    """How many batches wait on the bus, where one is known: so the dashboard can tell 'lost' from 'not written yet'."""
    from heliograph_hub.lag import Waiting

    bus = settings.bus
    if not bus:
        return None
    return Waiting(lambda: open_consumer(bus, name=f"dashboard-{socket.gethostname()}-{os.getpid()}-depth"))


def address_of(settings: Settings, sock: socket.socket) -> str:
    """Where a dashboard that listens on this socket is found."""
    prefix = settings.dashboard_prefix.strip("/")
    return url_of(sock, tls=settings.tls_certificate is not None) + (f"/{prefix}/" if prefix else "/")


def announce(url: str, config: DashboardConfig) -> None:
    """Tell a person where to look, also one who came here by ssh."""
    print(f"Look at  {url}", flush=True)
    if config.loopback and os.environ.get("SSH_CONNECTION"):
        port = url.rpartition(":")[2].partition("/")[0]
        print(f"From your own machine first:  ssh -L {port}:127.0.0.1:{port} {socket.gethostname()}", flush=True)


def named(given: str | None) -> str:
    """The URL of what was named, a path or a URL; of what is there when nothing was named. Raises SetupError."""
    if given is None:
        there = next((path for path in (DEFAULT, *ELSEWHERE) if Path(path).is_file()), None)
        if there is None:
            raise SetupError(
                f"there is no {DEFAULT} here (nor {' nor '.join(ELSEWHERE)}); go to the folder of a workflow, or name "
                "a database: heliograph view FILE_OR_URL"
            )
        return f"{SCHEME}{Path(there).absolute()}"
    if "://" not in given:
        given = f"{SCHEME}{Path(given).absolute()}"
    if given.startswith(SCHEME):
        path = Path(given.removeprefix(SCHEME)).absolute()
        if path.is_dir():
            raise SetupError(f"{path} is a folder; name the database file in it")
        if not path.exists():
            raise SetupError(f"{path}: there is no such file")
        return f"{SCHEME}{path}"
    return given


@contextmanager
def ours(settings: Settings) -> Iterator[Settings]:
    """The settings with a database of ours: the one that was named, or what was imported from one of Parsl's."""
    from heliograph_store.migrate import check
    from heliograph_store.store import connect

    url = readable(settings)
    try:
        with closing(connect(url, read_only=True)) as store:
            check(store)
    except NotHeliograph as error:
        with imported(settings, str(error)) as temporary:
            yield temporary
        return
    except NeedsMigration as error:
        raise SetupError(
            f"{error} (it changes the database; make a copy first if others use an older version)"
        ) from None
    yield settings


@contextmanager
def imported(settings: Settings, why_not_ours: str) -> Iterator[Settings]:
    """A temporary database with what a database of Parsl's holds; the original is only read."""
    from heliograph_store.parsl_import import NotParslDatabase, import_batches, old_runs

    source = needed(settings, "database")
    try:
        runs = old_runs(source)
    except NotParslDatabase as error:
        raise SetupError(f"{why_not_ours}; nor is it Parsl's: {error}") from None
    with tempfile.TemporaryDirectory(prefix="heliograph-view-") as folder:
        copy = settings.model_copy(update={"database": f"{SCHEME}{folder}/imported.db"})
        what = f"{len(runs)} run{'s' * (len(runs) != 1)}"
        print(f"This is a database of Parsl's own monitoring: importing {what} into a temporary one", flush=True)
        importing.write(copy, import_batches(source))
        storage.make_portable(needed(copy, "database"))
        yield copy
