"""The agent's process: `python -m heliograph.agent`, also as `heliograph agent`.

In: arguments, the site's settings. Out: exit code 0 when the work is done, another agent does it, or agents are off; 1
when the state folder cannot be used.
"""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import os
import queue
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from heliograph import settings, state
from heliograph.agent.detach import be_modest, detach
from heliograph.agent.elect import Election

log = logging.getLogger("heliograph.agent")

LOG_BYTES = 1 << 20
PAUSE = 20.0
"""Seconds after a failure: else every recorder of the node would start the next agent at once, to fail as this one."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="heliograph agent", description="Ship the journals of this node.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detached", action="store_true", help="run as a daemon, with a log file in the state folder")


def run(arguments: argparse.Namespace) -> int:
    site = settings.site()
    if settings.agent_off() or site.off:
        sys.stderr.write("Agents are turned off here (HELIOGRAPH_AGENT, or the site's settings).\n")
        return 0
    if arguments.detached:
        detach(nice=site.nice)
    else:
        be_modest(site.nice)
    try:
        namespace = state.namespace_folder()
        _log_to(namespace / "agent.log" if arguments.detached else None)
        election = Election(namespace)
        if not election.won():
            log.info("Another agent is at work here")
            return 0
    except OSError as error:
        log.warning("The state folder cannot be used: %s", error)
        return 1
    try:
        return _work(namespace, election, site)
    except Exception:  # the border of the process: what it could not do, the next one may
        log.exception("The agent failed. Its lock is kept for %.0f s, so that nobody starts the next one sooner", PAUSE)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        time.sleep(PAUSE)
        _end(1)


def _work(namespace: Path, election: Election, site: settings.Site) -> int:
    told: list[int] = []  # to end, while what follows is being loaded
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    # Here, so that who loses the election has loaded neither psutil nor a bus.
    from heliograph.agent.followed import Journals
    from heliograph.agent.loop import Agent
    from heliograph.agent.persist import Progress, Tries, load
    from heliograph.agent.routes import Resolver
    from heliograph.agent.runs import Means
    from heliograph.agent.sample_node import NodeSampler
    from heliograph.agent.sample_tasks import TaskSampler
    from heliograph.agent.ship import open_bus
    from heliograph.agent.watch import Watch

    name = f"{state.host()}-{os.getpid()}-{os.urandom(3).hex()}"
    progress = load(namespace / "agent.progress", Progress)
    node = NodeSampler()
    watch = Watch(TaskSampler(), node, load(namespace / "agent.tries", Tries))
    watch.ended_runs.update(progress.ended)
    means = Means(
        agent=name,
        state=namespace.parent,
        limits=site.limits(),
        outcomes=queue.SimpleQueue(),
        open_publisher=open_bus,
        resolver=Resolver,
    )
    journals = Journals(namespace, name, progress.cursors, least_interval=site.interval)
    agent = Agent(
        means=means, journals=journals, watch=watch, election=election, memory=_resident, memory_cap=site.memory
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    if told:
        agent.stop()
    log.info("Agent %s watches over %s", name, namespace)
    try:
        reason = agent.run()
    finally:
        node.close()
    log.info("Agent %s ends: %s", name, reason)
    _end(0)


def _end(status: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)  # a shipping thread may hang in a bus's library; everything of ours is on the disk


def _resident() -> int:
    """Resident memory in bytes."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _log_to(path: Path | None) -> None:
    logging.raiseExceptions = False  # a full disk must not become a stream of tracebacks
    handler: logging.Handler
    if path is None:
        handler = logging.StreamHandler()
    else:
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("heliograph").setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
