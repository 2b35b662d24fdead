"""The warden: starts the watches that are planned on this node, each in a process of its own.

In: the folder of plans. Out: a forked process for each; a WatchClosed for those that died without one. There is one for
each Python that opens watches; it starts with the first plan and ends soon after the last watch. A task that opens a
watch so writes one small file, and never waits for a Python to start.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
import time
from pathlib import Path

from heliograph import journal as journals
from heliograph import watchman
from heliograph.agent.detach import detach
from heliograph.filewatch.memory import left_by
from heliograph.filewatch.owner import owner_alive, owner_of_this
from heliograph.filewatch.plan import LOCK, TAKEN, Plan, forget_old, places, remove, take
from heliograph.filewatch.told import watch_closed
from heliograph.filewatch.watching import Watching, reporter

log = logging.getLogger("heliograph.filewatch")

NICE = 10
NOTIFY = "heliograph.filewatch.notify"
TURN = 0.25
"""Seconds between looks at the folder."""
IDLE = 10.0
"""Seconds without a watch after which it ends."""


class Warden:
    """Looks at the folder in turns. `watch(place)` starts a watch's process and returns its pid."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: dict[int, Path] = {}
        self._quiet_since = time.monotonic()

    def run(self) -> None:
        """Until nothing is left to do. The lock is given back before the last look, so that a plan which was laid down
        while it was still held is seen by somebody."""
        while True:
            lock = watchman.open_lock(self._folder / LOCK)
            if not watchman.try_lock(lock):
                os.close(lock)
                return
            os.ftruncate(lock, 0)  # whoever finds it free from now on may start another at once
            self._quiet_since = time.monotonic()
            while self._children or time.monotonic() - self._quiet_since < IDLE:
                self._turn(lock)
                time.sleep(TURN)
            os.close(lock)
            if not places(self._folder):
                return

    def _turn(self, lock: int) -> None:
        self._reap()
        mine = set(self._children.values())
        for place in [one for one in places(self._folder) if one not in mine]:
            self._quiet_since = time.monotonic()
            try:
                owner = (place / TAKEN).read_text(encoding="utf-8")
            except OSError:
                self._start(place, lock)
                continue
            if not owner_alive(owner):
                abandoned(place, owner)

    def _start(self, place: Path, lock: int) -> None:
        try:
            plan = take(place)
        except Exception as error:
            log.warning("The plan %s cannot be used: %s", place.name, error)
            remove(place)
            return
        _get_ready(plan)
        pid = os.fork()
        if pid:
            self._children[pid] = place
            return
        code = 1
        try:
            os.close(lock)
            _watch(plan, place)
            code = 0
        except BaseException:
            log.exception("Watch %s failed", plan.config.watch)
            remove(place)  # or it would be started again and again
        finally:
            logging.shutdown()
            os._exit(code)

    def _reap(self) -> None:
        for pid, place in list(self._children.items()):
            done, _ = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._children[pid]
                self._quiet_since = time.monotonic()
                with contextlib.suppress(OSError):  # where the watch ended in order, its folder is gone
                    abandoned(place, (place / TAKEN).read_text(encoding="utf-8"))


def abandoned(place: Path, owner: str) -> None:
    """A watch died without an end of its own: say so in its run, with what its memory says was undone."""
    try:
        plan = take(place)
        memory = plan.config.memory
        found, left = (0, 0) if memory is None else left_by(memory, owner)
        reporter(plan)(watch_closed(plan.config.watch, "killed", files=found, unfinished=left))
        if plan.route is not None:
            journals.close_run(plan.route.run)
        log.warning("Watch %s was killed; of %d files %d were not done with", plan.config.watch, found, left)
    except Exception as error:
        log.warning("A watch was killed, and its plan cannot be read: %s", error)
    remove(place)


def _get_ready(plan: Plan) -> None:
    """Import once, here, what this watch and those after it would each import for themselves."""
    names = [
        *(["watchfiles"] if plan.config.events is not False else []),
        *([NOTIFY] if plan.email or plan.webhook else []),
    ]
    for name in names:
        with contextlib.suppress(Exception):  # the watch says itself what it lacks
            importlib.import_module(name)


def _watch(plan: Plan, place: Path) -> None:
    """In the watch's own process, from its beginning to its end."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(plan.environ)
    (place / TAKEN).write_text(owner_of_this(), encoding="utf-8")
    with contextlib.suppress(OSError):  # else what there is to say goes to the warden's log
        log_to(plan.log)
    Watching(plan, place).run()
    remove(place)


def log_to(path: str) -> None:
    """Our log, and what callbacks print."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def main(folder: str) -> None:
    detach(nice=NICE)
    with contextlib.suppress(OSError, AttributeError):
        # What wakes up here, and in callbacks, waits for its turn instead of taking it from a task.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    top = Path(folder)
    log_to(str(top / "warden.log"))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    with contextlib.suppress(OSError):
        forget_old(time.time())
    gc.freeze()
    Warden(top).run()


if __name__ == "__main__":
    main(sys.argv[1])
